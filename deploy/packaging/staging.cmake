# Run by cpack when all is in its staging directory, before it is packed: what packages and archives have and an install
# has not.

# add_text(FILE TEXT): a file of its own, compressed if its name ends with .gz.
function(add_text file text)
  string(REGEX REPLACE "\\.gz$" "" plain ${file})
  file(WRITE ${plain} "${text}")
  if(NOT plain STREQUAL file)
    compress(${plain})
  endif()
endfunction()

# compress(FILE): without name and time, so that the same content makes the same file.
function(compress file)
  execute_process(COMMAND gzip -9 --no-name --force ${file} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

# stage_documents(DIRECTORY PACKAGE): copyright and changelogs, which every Debian package has.
function(stage_documents directory package)
  set(documents ${directory}/usr/share/doc/${package})
  set(version ${CPACK_PACKAGE_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE})
  configure_file(${CPACK_A8A_SOURCE_DIR}/deploy/packaging/copyright ${documents}/copyright COPYONLY)
  file(READ ${CPACK_A8A_SOURCE_DIR}/CHANGELOG.md changes)
  add_text(${documents}/changelog.gz "${changes}")
  set(entry "a8a (${version}) unstable; urgency=medium\n\n")
  string(APPEND entry "  * Packages of a8a ${CPACK_PACKAGE_VERSION}; changelog.gz says what is new.\n\n")
  string(APPEND entry " -- ${CPACK_PACKAGE_CONTACT}  ${CPACK_A8A_DATE}\n")
  add_text(${documents}/changelog.Debian.gz "${entry}")
  set(overrides ${CPACK_A8A_SOURCE_DIR}/deploy/packaging/${package}.lintian-overrides)
  if(EXISTS ${overrides})
    configure_file(${overrides} ${directory}/usr/share/lintian/overrides/${package} COPYONLY)
  endif()
endfunction()

# stage_debian(): each component has a directory of its own.
function(stage_debian)
  foreach(component IN LISTS CPACK_COMPONENTS_ALL)
    string(TOUPPER ${component} key)
    set(directory ${CPACK_TEMPORARY_INSTALL_DIRECTORY}/${component})
    stage_documents(${directory} ${CPACK_DEBIAN_${key}_PACKAGE_NAME})
    file(GLOB pages ${directory}/usr/share/man/man*/*)
    foreach(page IN LISTS pages)
      compress(${page})
    endforeach()
    file(GLOB_RECURSE archives ${directory}/usr/lib/*.a)
    foreach(archive IN LISTS archives)
      execute_process(COMMAND strip --strip-debug --remove-section=.comment --enable-deterministic-archives ${archive}
                      COMMAND_ERROR_IS_FATAL ANY)
    endforeach()
  endforeach()
  configure_file(${CPACK_A8A_SOURCE_DIR}/deploy/README.md
    ${CPACK_TEMPORARY_INSTALL_DIRECTORY}/daemon/usr/share/doc/a8a-daemon/README.md COPYONLY)
endfunction()

# stage_archive(): unpacked in /usr/local, its units work; elsewhere the service names a daemon that is not there.
function(stage_archive)
  set(directory ${CPACK_TEMPORARY_INSTALL_DIRECTORY})
  set(A8A_BINDIR /usr/local/bin)
  configure_file(${CPACK_A8A_SOURCE_DIR}/deploy/systemd/a8a.service.in
    ${directory}/${CPACK_A8A_SYSTEMD_DIR}/systemd/system/a8a.service @ONLY)
  foreach(name IN ITEMS LICENSE CHANGELOG.md)
    configure_file(${CPACK_A8A_SOURCE_DIR}/${name} ${directory}/${name} COPYONLY)
  endforeach()
endfunction()

if(CPACK_GENERATOR STREQUAL "DEB")
  stage_debian()
else()
  stage_archive()
endif()
