# Tests of daemon/core and daemon/memory.
add_library(a8a_fakes STATIC ${PROJECT_SOURCE_DIR}/tests/fakes/fake_memory_provider.cc)
target_link_libraries(a8a_fakes PUBLIC a8a::daemon_core PRIVATE a8a_build_flags)

foreach(test IN ITEMS core_sessions core_buffers core_groups core_windows core_leaving core_quota core_events core_restore core_stress memory system_memory)
  a8a_add_test(${test}_test SOURCES ${test}_test.cc LIBS a8a_fakes a8a::daemon_core a8a::kernels)
endforeach()
target_link_libraries(core_restore_test PRIVATE a8a::daemon_snapshot)
