# SentencePiece 0.2.1, linked statically with its symbols hidden: a folder given by SENTENCEPIECE_SOURCE_DIR,
# or the source package from the Python package index.
#
# Static and hidden, because SentencePiece carries its own Abseil and protobuf: as a shared library it
# exports them to every other library of a process that has copies of its own.

set(SENTENCEPIECE_VERSION 0.2.1)
if(NOT SENTENCEPIECE_SOURCE_DIR)
  taesr_fetch_sdist(sentencepiece ${SENTENCEPIECE_VERSION}
    8138cec27c2f2282f4a34d9a016e3374cd40e5c6e9cb335063db66a0a3b71fad SENTENCEPIECE_SOURCE_DIR)
endif()

block()
  set(SPM_ENABLE_SHARED OFF)
  set(SPM_ENABLE_TCMALLOC OFF)
  set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)  # the two settings above are its options
  set(CMAKE_WARN_DEPRECATED OFF)
  add_subdirectory("${SENTENCEPIECE_SOURCE_DIR}/sentencepiece" third_party/sentencepiece EXCLUDE_FROM_ALL SYSTEM)
endblock()
target_compile_options(sentencepiece-static PRIVATE -w)
target_include_directories(sentencepiece-static SYSTEM INTERFACE "${SENTENCEPIECE_SOURCE_DIR}/sentencepiece/src")
add_library(taesr::sentencepiece ALIAS sentencepiece-static)
