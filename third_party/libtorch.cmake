# LibTorch: CMAKE_PREFIX_PATH or Torch_DIR first, then the torch package of the Python in use.

if(NOT Torch_DIR)
  find_package(Python COMPONENTS Interpreter QUIET)
  if(Python_Interpreter_FOUND)
    execute_process(
      COMMAND "${Python_EXECUTABLE}" -c "import torch.utils; print(torch.utils.cmake_prefix_path)"
      OUTPUT_VARIABLE torch_prefix OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    list(APPEND CMAKE_PREFIX_PATH "${torch_prefix}")
  endif()
endif()
find_package(Torch REQUIRED)
# Its headers warn under -Wall; they are not ours to mend.
get_target_property(torch_includes torch INTERFACE_INCLUDE_DIRECTORIES)
if(torch_includes)
  set_target_properties(torch PROPERTIES INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${torch_includes}")
endif()

# at::parallel_for lives in headers and needs OpenMP in our own files too. Two OpenMP runtimes in one
# process deadlock or crash, so the one that LibTorch brings is linked where it brings one.
find_package(OpenMP REQUIRED COMPONENTS CXX)
add_library(taesr_openmp INTERFACE)
separate_arguments(openmp_flags UNIX_COMMAND "${OpenMP_CXX_FLAGS}")
target_compile_options(taesr_openmp INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${openmp_flags}>")
if(EXISTS "${TORCH_INSTALL_PREFIX}/lib/libgomp.so.1")
  target_link_libraries(taesr_openmp INTERFACE "${TORCH_INSTALL_PREFIX}/lib/libgomp.so.1")
else()
  target_link_libraries(taesr_openmp INTERFACE OpenMP::OpenMP_CXX)
endif()
