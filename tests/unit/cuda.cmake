# Tests of GPU memory in daemon and client, against the fake driver: they need no GPU and no toolkit.
add_subdirectory(${PROJECT_SOURCE_DIR}/tests/fakes/fake_libcuda ${CMAKE_CURRENT_BINARY_DIR}/fake_libcuda)
a8a_add_test(cuda_memory_unit_test
  SOURCES kernels/cuda_driver_test.cc daemon/cuda_memory_test.cc client/cuda_device_test.cc
  LIBS a8a::daemon_cuda a8a_client_cuda a8a::cuda_driver ${CMAKE_DL_LIBS} DEPENDS a8a_fake_libcuda)
target_compile_definitions(cuda_memory_unit_test PRIVATE A8A_FAKE_LIBCUDA_PATH="$<TARGET_FILE:a8a_fake_libcuda>")

a8a_add_test(backend_test SOURCES daemon/backend_test.cc LIBS a8a::daemon_server ${CMAKE_DL_LIBS}
             DEPENDS a8a_fake_libcuda)
target_compile_definitions(backend_test PRIVATE A8A_FAKE_LIBCUDA_PATH="libcuda.so.1")
# Not a run path, which holds for calls out of the program itself only: sanitizers put their own dlopen in between.
target_link_options(backend_test PRIVATE -Wl,-rpath,$<TARGET_FILE_DIR:a8a_fake_libcuda> -Wl,--disable-new-dtags)
