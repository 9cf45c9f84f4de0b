# Headers, both libraries, the CMake package and the pkg-config file.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/a8a)

install(FILES ${public_headers} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/a8a COMPONENT dev)
install(TARGETS a8a_client EXPORT a8a_shared
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT lib NAMELINK_COMPONENT dev)
install(TARGETS a8a_client_archive EXPORT a8a_static
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dev)
# Two export files: a program that links the shared library needs no gRPC of its own to configure.
install(EXPORT a8a_shared FILE a8aSharedTargets.cmake NAMESPACE a8a:: DESTINATION ${package_dir} COMPONENT dev)
install(EXPORT a8a_static FILE a8aStaticTargets.cmake NAMESPACE a8a:: DESTINATION ${package_dir} COMPONENT dev)

configure_package_config_file(${CMAKE_CURRENT_SOURCE_DIR}/cmake/a8aConfig.cmake.in
  ${CMAKE_CURRENT_BINARY_DIR}/a8aConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/a8aConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/a8aConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/a8aConfigVersion.cmake
  DESTINATION ${package_dir} COMPONENT dev)

# Relative to the file itself, so that an installed tree can be moved, unless the directories are not below the prefix.
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}" OR IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
  set(pc_prefix ${CMAKE_INSTALL_PREFIX})
  set(pc_libdir ${CMAKE_INSTALL_FULL_LIBDIR})
  set(pc_includedir ${CMAKE_INSTALL_FULL_INCLUDEDIR})
else()
  file(RELATIVE_PATH up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
  string(REGEX REPLACE "/$" "" up "${up}")
  set(pc_prefix "\${pcfiledir}/${up}")
  set(pc_libdir "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
  set(pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
if(A8A_HAS_CUDA)
  set(a8a_pc_cuda_libs " -lcudart_static -lrt")
endif()
configure_file(${CMAKE_CURRENT_SOURCE_DIR}/cmake/a8a.pc.in ${CMAKE_CURRENT_BINARY_DIR}/a8a.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/a8a.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT dev)
