# a8a_man_page(PROGRAM PAGE FLAG COMPONENT): makes and installs the manual page that PROGRAM prints on FLAG (man_page.h).
function(a8a_man_page program page flag component)
  # A page is no place for what a sanitizer finds.
  if(A8A_SANITIZER)
    return()
  endif()
  set(file ${PROJECT_BINARY_DIR}/man/${page})
  file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/man)
  add_custom_command(OUTPUT ${file} COMMAND ${program} ${flag} > ${file} DEPENDS ${program} VERBATIM)
  add_custom_target(man-${page} ALL DEPENDS ${file})
  string(REGEX REPLACE ".*\\." "" section ${page})
  install(FILES ${file} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section} COMPONENT ${component})
endfunction()
