# Compiler settings of our own targets: warnings, sanitizers, ccache.

find_program(TAESR_CCACHE ccache)
if(TAESR_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${TAESR_CCACHE}")
endif()
# Scanning for C++20 modules would double the compiler runs; there are none.
set(CMAKE_CXX_SCAN_FOR_MODULES OFF)

add_library(taesr_warnings INTERFACE)
# -Wrestrict: GCC 12 finds fault with std::string itself (gcc.gnu.org/PR105329).
target_compile_options(taesr_warnings INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wno-missing-field-initializers;-Wno-restrict>")
option(TAESR_WERROR "Treat warnings as errors" OFF)
if(TAESR_WERROR)
  target_compile_options(taesr_warnings INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:-Werror>")
endif()

if(TAESR_SANITIZE)
  string(REPLACE ";" "," sanitizers "${TAESR_SANITIZE}")
  add_compile_options(-fsanitize=${sanitizers} -fno-omit-frame-pointer -g)
  add_link_options(-fsanitize=${sanitizers})
  add_compile_definitions(_GLIBCXX_ASSERTIONS)  # containers check their indices
  if("undefined" IN_LIST TAESR_SANITIZE)
    add_compile_options(-fno-sanitize-recover=undefined)  # what is found fails the test that found it
  endif()
endif()
option(TAESR_COVERAGE "Instrument for gcov" OFF)
if(TAESR_COVERAGE)
  add_compile_options(--coverage -O0 -g)
  add_link_options(--coverage)
endif()
