# hnswlib 0.8.0, headers only: a folder given by HNSWLIB_INCLUDE_DIR, a system copy of that version,
# or the source package from the Python package index, checked against its SHA-256.
# (Debian 12 has 0.6.2, which lacks filters and replaceable deletions.)

set(HNSWLIB_VERSION 0.8.0)
set(HNSWLIB_SHA256 cb6d037eedebb34a7134e7dc78966441dfd04c9cf5ee93911be911ced951c44c)

function(taesr_download_hnswlib out)
  set(folder "${CMAKE_BINARY_DIR}/third_party/hnswlib-${HNSWLIB_VERSION}")
  set(archive "${folder}.tar.gz")
  if(NOT EXISTS "${folder}/hnswlib/hnswlib.h")
    find_package(Python REQUIRED COMPONENTS Interpreter)
    message(STATUS "Downloading hnswlib ${HNSWLIB_VERSION}")
    execute_process(
      COMMAND "${Python_EXECUTABLE}" "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/fetch_sdist.py"
              hnswlib ${HNSWLIB_VERSION} ${HNSWLIB_SHA256} "${archive}"
      RESULT_VARIABLE failed)
    if(failed)
      message(FATAL_ERROR "hnswlib ${HNSWLIB_VERSION} could not be fetched; "
                          "unpack its source package and pass -DHNSWLIB_INCLUDE_DIR=FOLDER")
    endif()
    file(ARCHIVE_EXTRACT INPUT "${archive}" DESTINATION "${CMAKE_BINARY_DIR}/third_party")
  endif()
  set(${out} "${folder}" PARENT_SCOPE)
endfunction()

if(NOT HNSWLIB_INCLUDE_DIR)
  find_package(hnswlib ${HNSWLIB_VERSION} QUIET)
  if(hnswlib_FOUND)
    get_target_property(HNSWLIB_INCLUDE_DIR hnswlib::hnswlib INTERFACE_INCLUDE_DIRECTORIES)
  else()
    taesr_download_hnswlib(HNSWLIB_INCLUDE_DIR)
  endif()
endif()
add_library(taesr_hnswlib INTERFACE)
add_library(taesr::hnswlib ALIAS taesr_hnswlib)
target_include_directories(taesr_hnswlib SYSTEM INTERFACE "${HNSWLIB_INCLUDE_DIR}")
