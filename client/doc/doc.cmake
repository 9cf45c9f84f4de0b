# The reference of the public headers, where there is a Doxygen: target `doc`, built with everything else, since it takes a second.
find_package(Doxygen QUIET)
if(NOT DOXYGEN_FOUND)
  return()
endif()
set(doxyfile ${CMAKE_CURRENT_BINARY_DIR}/doc/Doxyfile)
set(reference ${CMAKE_CURRENT_BINARY_DIR}/doc/html)
configure_file(doc/Doxyfile.in ${doxyfile} @ONLY)
list(TRANSFORM public_headers PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/ OUTPUT_VARIABLE documented)
add_custom_command(OUTPUT ${reference}/index.html COMMAND Doxygen::doxygen ${doxyfile}
  DEPENDS ${doxyfile} ${documented} doc/filter.sed doc/mainpage.md VERBATIM)
add_custom_target(doc ALL DEPENDS ${reference}/index.html)
install(DIRECTORY ${reference} DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT doc)
