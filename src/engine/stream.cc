#include "taesr/stream.h"

#include <algorithm>
#include <utility>

#include "taesr/errors.h"

namespace taesr {
namespace {

/// Reads texts until the window is full; false: the source has ended.
bool fill(std::vector<std::string>& window, const std::function<bool(std::string&)>& source,
          const StreamOptions& options) {
  window.clear();
  std::size_t bytes = 0;
  while (window.size() < options.window_texts && bytes < options.window_bytes) {
    std::string text;
    if (!source(text)) return false;
    bytes += text.size();
    window.push_back(std::move(text));
  }
  return true;
}

void add(StreamReport& report, const EncodeResult& result, std::size_t pass_tokens) {
  report.texts += result.windows.size();
  for (const std::size_t tokens : result.token_counts) {
    report.tokens += tokens;
    if (tokens > pass_tokens) ++report.overlong;
  }
  for (const std::size_t passes : result.windows) report.passes += passes;
  report.truncated += result.truncated;
}

}  // namespace

StreamReport Encoder::encode_stream(const std::function<bool(std::string&)>& source,
                                    const std::function<void(EncodeResult&&)>& sink,
                                    const StreamOptions& options) const {
  if (!source || !sink) throw InvalidArgument("a stream needs a source and a sink");
  if (options.window_texts == 0) throw InvalidArgument("window_texts is 0; it must be at least 1");
  if (options.window_bytes == 0) throw InvalidArgument("window_bytes is 0; it must be at least 1");
  if (options.encode.deadline_ms) {
    throw InvalidArgument("deadline_ms is for encode; a stream, whose end is not known, takes max_flops");
  }
  EncodeOptions encode_options = options.encode;
  (void)encode({}, encode_options);  // refuses bad options before anything is read
  StreamReport report;
  std::vector<std::string> window;
  for (bool more = true; more;) {
    more = fill(window, source, options);
    if (window.empty()) break;
    encode_options.first_text = options.encode.first_text + report.texts;
    EncodeResult result = encode(window, encode_options);
    add(report, result, max_tokens());
    sink(std::move(result));
  }
  return report;
}

}  // namespace taesr
