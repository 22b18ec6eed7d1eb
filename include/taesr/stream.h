#pragma once

#include <cstddef>

#include "taesr/encoder.h"

namespace taesr {

/// How `Encoder::encode_stream` works.
///
/// It reads texts until it has a window of them, encodes the window (similar lengths and equal depths
/// together), hands the results to the sink in the order of the texts, and forgets them. Memory depends on
/// the window and on the longest text, not on how many texts there are.
///
/// `source(text)` assigns the next text, or returns false at the end. `sink(result)` gets the results of one
/// window. What either throws ends the stream and comes out of encode_stream; the sink has had the results of
/// every window before.
struct StreamOptions {
  EncodeOptions encode = {};             // without deadline_ms: a stream has no known end to plan for
  std::size_t window_texts = 1024;       // a window is full with this many texts
  std::size_t window_bytes = 256 << 10;  // or this many bytes of them
};

/// What a stream was made of.
struct StreamReport {
  std::size_t texts = 0;
  std::size_t tokens = 0;     // special ones not counted
  std::size_t passes = 0;     // through the model
  std::size_t overlong = 0;   // texts of more tokens than one pass reads
  std::size_t truncated = 0;  // of these, texts whose end was not read
};

}  // namespace taesr
