# SentencePiece (Debian: libsentencepiece-dev) has no CMake package; pkg-config or a plain search finds it.

find_path(SENTENCEPIECE_INCLUDE_DIR sentencepiece_processor.h)
find_library(SENTENCEPIECE_LIBRARY sentencepiece)
if(NOT SENTENCEPIECE_INCLUDE_DIR OR NOT SENTENCEPIECE_LIBRARY)
  message(FATAL_ERROR "SentencePiece is missing. On Debian or Ubuntu: apt-get install libsentencepiece-dev")
endif()
add_library(taesr::sentencepiece UNKNOWN IMPORTED)
set_target_properties(taesr::sentencepiece PROPERTIES
  IMPORTED_LOCATION "${SENTENCEPIECE_LIBRARY}"
  INTERFACE_INCLUDE_DIRECTORIES "${SENTENCEPIECE_INCLUDE_DIR}")
