# CPack: Debian packages, one for each component of the install, and an archive of all of it. deploy/package runs it.
#
#   daemon -> a8a-daemon   lib -> liba8a1   dev -> liba8a-dev   tools -> a8a-tools   doc -> a8a-doc
set(A8A_PACKAGE_MAINTAINER "a8a maintainers <maintainers@a8a.invalid>" CACHE STRING
    "Who makes the packages: NAME <ADDRESS>, as Debian has it")
set(A8A_PACKAGE_REVISION 1 CACHE STRING "Debian revision of the packages")
set(A8A_PACKAGE_SECTION misc)

set(CPACK_PACKAGE_NAME a8a)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
# So that packages with failpoints are told apart, and give way to those that have none.
if(A8A_FAILPOINTS)
  string(APPEND CPACK_PACKAGE_VERSION "~failpoints")
endif()
set(CPACK_PACKAGE_VENDOR a8a)
set(CPACK_PACKAGE_CONTACT ${A8A_PACKAGE_MAINTAINER})
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_GENERATOR DEB TGZ)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL daemon lib dev tools doc)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_PROJECT_CONFIG_FILE ${CMAKE_CURRENT_LIST_DIR}/cpack_config.cmake)
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_LIST_DIR}/staging.cmake)

# What cpack_config.cmake and staging.cmake want to know; CPack passes on what begins with CPACK_.
set(CPACK_A8A_SOURCE_DIR ${PROJECT_SOURCE_DIR})
set(CPACK_A8A_SYSTEMD_DIR ${A8A_SYSTEMD_DIR})
set(CPACK_A8A_ARCHIVE_NAME a8a-${CPACK_PACKAGE_VERSION}-${CMAKE_SYSTEM_NAME}-${CMAKE_SYSTEM_PROCESSOR})
# The day of the packages: SOURCE_DATE_EPOCH where it is set, so that the same source makes the same packages.
string(TIMESTAMP CPACK_A8A_DATE "%a, %d %b %Y %H:%M:%S +0000" UTC)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE ${A8A_PACKAGE_REVISION})
set(CPACK_DEBIAN_PACKAGE_SECTION ${A8A_PACKAGE_SECTION})
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SOURCE a8a)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(version_of_all "(= ${CPACK_PACKAGE_VERSION}-${A8A_PACKAGE_REVISION})")

# a8a_debian_package(COMPONENT NAME SECTION SUMMARY LINE...): each LINE one of the description's.
function(a8a_debian_package component name section summary)
  string(TOUPPER ${component} key)
  list(JOIN ARGN "\n" description)
  set(CPACK_DEBIAN_${key}_PACKAGE_NAME ${name} PARENT_SCOPE)
  set(CPACK_DEBIAN_${key}_PACKAGE_SECTION ${section} PARENT_SCOPE)
  set(CPACK_DEBIAN_${key}_DESCRIPTION "${summary}\n${description}" PARENT_SCOPE)
endfunction()

set(what_a8a_is "a8a moves rows between the processes of one machine that run a model"
    "together: all-to-alls whose split sizes are read when they run, on host" "memory or GPUs, where a peer's death is an error and never a hang.")
a8a_debian_package(daemon a8a-daemon ${A8A_PACKAGE_SECTION} "node daemon of a8a, an all-to-all for LLM inference"
  ${what_a8a_is} ""
  "This package contains the daemon, which owns the memory that processes" "share and brings them together, and its units for systemd.")
a8a_debian_package(lib liba8a1 libs "client library of a8a, an all-to-all for LLM inference"
  ${what_a8a_is} "" "This package contains the shared library.")
a8a_debian_package(dev liba8a-dev libdevel "client library of a8a, development files"
  ${what_a8a_is} ""
  "This package contains the headers for C++ and C, the static library, the" "packages for CMake and pkg-config, and the protocol of the daemon.")
a8a_debian_package(tools a8a-tools ${A8A_PACKAGE_SECTION} "tools for a8a, an all-to-all for LLM inference"
  ${what_a8a_is} ""
  "This package contains a8actl, which looks at a daemon and administrates it," "the benchmarks (a8a-bench) and a demonstration on a real load (a8a-dp-mla).")
a8a_debian_package(doc a8a-doc doc "documentation of a8a, an all-to-all for LLM inference"
  ${what_a8a_is} "" "This package contains the reference of the interfaces for C++ and C.")

# systemd-sysusers makes the daemon's user.
set(CPACK_DEBIAN_DAEMON_PACKAGE_DEPENDS "systemd | systemd-standalone-sysusers | systemd-sysusers")
set(CPACK_DEBIAN_DAEMON_PACKAGE_SUGGESTS "a8a-tools, a8a-doc")
set(CPACK_DEBIAN_DAEMON_PACKAGE_CONTROL_EXTRA
    ${CMAKE_CURRENT_LIST_DIR}/daemon/postinst ${CMAKE_CURRENT_LIST_DIR}/daemon/prerm
    ${CMAKE_CURRENT_LIST_DIR}/daemon/postrm)
# liba8a.so.1 changes its name when its interface breaks; until then it only gains.
# CPack can make this file for all packages only.
file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/packaging/shlibs CONTENT "liba8a 1 liba8a1 (>= ${CPACK_PACKAGE_VERSION})\n")
set(CPACK_DEBIAN_LIB_PACKAGE_CONTROL_EXTRA
    ${CMAKE_CURRENT_BINARY_DIR}/packaging/shlibs ${CMAKE_CURRENT_LIST_DIR}/lib/triggers
    ${CMAKE_CURRENT_LIST_DIR}/lib/postinst ${CMAKE_CURRENT_LIST_DIR}/lib/postrm)
set(CPACK_DEBIAN_LIB_PACKAGE_SUGGESTS "a8a-daemon")
# The headers need Abseil; only who links the static library needs the rest.
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "liba8a1 ${version_of_all}, libabsl-dev")
set(CPACK_DEBIAN_DEV_PACKAGE_SUGGESTS "a8a-doc, libgrpc++-dev, libgrpc-dev, libprotobuf-dev")
set(CPACK_DEBIAN_DEV_PACKAGE_SHLIBDEPS OFF)
set(CPACK_DEBIAN_TOOLS_PACKAGE_RECOMMENDS "a8a-daemon ${version_of_all}")
set(CPACK_DEBIAN_DOC_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_DOC_PACKAGE_SHLIBDEPS OFF)

include(CPack)
