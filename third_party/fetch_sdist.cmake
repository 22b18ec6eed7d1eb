# taesr_fetch_sdist(NAME VERSION SHA256 FOLDER_VARIABLE): the unpacked source package of the Python package index,
# fetched once per build tree and checked against its digest.

function(taesr_fetch_sdist name version sha256 out)
  set(folder "${CMAKE_BINARY_DIR}/third_party/${name}-${version}")
  if(NOT EXISTS "${folder}/PKG-INFO")
    find_package(Python REQUIRED COMPONENTS Interpreter)
    message(STATUS "Downloading ${name} ${version}")
    execute_process(
      COMMAND "${Python_EXECUTABLE}" "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/fetch_sdist.py"
              ${name} ${version} ${sha256} "${folder}.tar.gz"
      RESULT_VARIABLE failed)
    if(failed)
      string(TOUPPER ${name} upper)
      message(FATAL_ERROR "${name} ${version} could not be fetched; "
                          "unpack its source package and pass -D${upper}_SOURCE_DIR=FOLDER")
    endif()
    file(ARCHIVE_EXTRACT INPUT "${folder}.tar.gz" DESTINATION "${CMAKE_BINARY_DIR}/third_party")
  endif()
  set(${out} "${folder}" PARENT_SCOPE)
endfunction()
