# GPU memory from provider to client, in real processes on a real driver. Needs the toolkit's runtime to touch it.
find_package(CUDAToolkit QUIET)
if(CUDAToolkit_FOUND)
  a8a_add_test(gpu_memory_test SOURCES memory_test.cc memory_lifetime_test.cc child_process.cc gpu_usage.cc LABELS gpu
               LIBS a8a::daemon_cuda a8a_client_cuda a8a::cuda_driver CUDA::cudart_static ${CMAKE_DL_LIBS})
endif()
