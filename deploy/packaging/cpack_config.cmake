# Read by cpack for each generator. Packages lie below /usr; an archive can be unpacked anywhere.
if(CPACK_GENERATOR STREQUAL "DEB")
  set(CPACK_SET_DESTDIR ON)
  set(CPACK_INSTALL_PREFIX /usr)
  # The description of each package begins with a summary of its own.
  set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "")
else()
  set(CPACK_SET_DESTDIR OFF)
  set(CPACK_PACKAGE_FILE_NAME ${CPACK_A8A_ARCHIVE_NAME})
endif()
