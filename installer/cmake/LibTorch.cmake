# LibTorch from a PyTorch wheel: the target atlas::torch.
#
# The wheel's own TorchConfig.cmake adds RPATHs and definitions, and a CUDA wheel asks for a
# toolkit; this finder only needs include/ and lib/. Headers come by -idirafter because the
# wheel carries copies of fmt, protobuf and dnnl that would shadow the system's.
set(ATLASSCOPE_TORCH_DIR "" CACHE PATH "The torch package folder of a PyTorch wheel")
if(NOT ATLASSCOPE_TORCH_DIR)
  set(_pythons "${CMAKE_SOURCE_DIR}/.venv/bin/python" python3)
  foreach(_python IN LISTS _pythons)
    execute_process(
      COMMAND "${_python}" -c "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
      OUTPUT_VARIABLE _dir OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE _rc)
    if(_rc EQUAL 0 AND EXISTS "${_dir}/lib")
      set(ATLASSCOPE_TORCH_DIR "${_dir}" CACHE PATH "The torch package folder of a PyTorch wheel" FORCE)
      break()
    endif()
  endforeach()
endif()
if(NOT EXISTS "${ATLASSCOPE_TORCH_DIR}/include/ATen/core/Tensor.h")
  message(FATAL_ERROR "No LibTorch found. Run `installer/setup.sh deps`, or give -DATLASSCOPE_TORCH_DIR=.../site-packages/torch")
endif()
message(STATUS "LibTorch: ${ATLASSCOPE_TORCH_DIR}")
set(ATLASSCOPE_TORCH_LIB "${ATLASSCOPE_TORCH_DIR}/lib")

add_library(atlas_torch INTERFACE)
add_library(atlas::torch ALIAS atlas_torch)
target_compile_definitions(atlas_torch INTERFACE AT_PER_OPERATOR_HEADERS)
target_compile_options(atlas_torch INTERFACE
  "SHELL:-idirafter ${ATLASSCOPE_TORCH_DIR}/include"
  "SHELL:-idirafter ${ATLASSCOPE_TORCH_DIR}/include/torch/csrc/api/include")
# at::parallel_for is a template of the headers: without OpenMP it would quietly use one thread.
# The wheel's own libgomp is linked, so that the program has one.
file(GLOB _gomp "${ATLASSCOPE_TORCH_LIB}/libgomp*.so*" "${ATLASSCOPE_TORCH_DIR}.libs/libgomp*.so*")
if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang" AND _gomp)
  target_compile_options(atlas_torch INTERFACE -fopenmp)
  list(GET _gomp 0 _gomp)
  target_link_libraries(atlas_torch INTERFACE "${_gomp}")
else()
  find_package(OpenMP REQUIRED COMPONENTS CXX)
  target_link_libraries(atlas_torch INTERFACE OpenMP::OpenMP_CXX)
endif()
set(_torch_libs torch torch_cpu c10)
foreach(_extra torch_cuda c10_cuda)
  if(EXISTS "${ATLASSCOPE_TORCH_LIB}/lib${_extra}.so")
    list(APPEND _torch_libs ${_extra})
  endif()
endforeach()
list(TRANSFORM _torch_libs PREPEND "-l")
target_link_directories(atlas_torch INTERFACE "${ATLASSCOPE_TORCH_LIB}")
target_link_options(atlas_torch INTERFACE "LINKER:-rpath,${ATLASSCOPE_TORCH_LIB}")
target_link_libraries(atlas_torch INTERFACE
  "-Wl,--push-state,--no-as-needed" ${_torch_libs} "-Wl,--pop-state")
