#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "taesr/decoder.h"
#include "taesr/export.h"

namespace taesr {

struct GenerationQueueOptions {
  std::size_t max_active = 32;     // requests that are worked on together; each holds its keys and values
  std::size_t max_waiting = 1024;  // requests that wait for their turn; submit() refuses more
  /// Tokens that pass the shared layers together, at most: prompts get what decoding leaves of them, so it is
  /// above max_active. Larger reads prompts faster, smaller makes those that decode beside them wait less.
  std::size_t batch_tokens = 128;
  /// Whether tokens that need no further recursion make room at once, and tokens at different recursions go
  /// together (depth-wise batching). If not, all tokens of a batch finish before the next ones begin.
  bool refill = true;
};

struct GenerationQueueStatus {
  std::size_t waiting = 0;   // requests
  std::size_t active = 0;    // requests
  std::size_t kv_bytes = 0;  // memory of the active ones' keys and values
  std::size_t steps = 0;     // passes of the shared layers since the beginning
  std::size_t rows = 0;      // tokens in these passes; rows / steps is the mean batch
};

/// A submitted request's text. One thread reads it, any may cancel it; it may outlive its queue. Destroying
/// it cancels the request.
class TAESR_API QueuedText {
 public:
  ~QueuedText();
  QueuedText(QueuedText&&) noexcept;
  QueuedText& operator=(QueuedText&&) noexcept;

  /// Waits for more of the text and puts it into `piece`: whole characters, at least one. False when the text
  /// is complete. Throws what stopped the generation, once.
  bool next(std::string& piece);
  /// Waits until next() has an answer, but no longer than this; returns whether it has.
  [[nodiscard]] bool wait_for(std::chrono::duration<double> longest) const;
  /// Waits for the end of the text, but no longer than this; returns whether it is there. Where nobody reads
  /// the pieces this costs less than next().
  [[nodiscard]] bool wait_for_end(std::chrono::duration<double> longest) const;
  /// Ends the generation; what there is of the text remains.
  void cancel();
  /// What there is so far; `finish` is kCancelled until the text is complete. Seconds are those from its turn
  /// to its first token, and from there on, with the work on other requests between them.
  [[nodiscard]] Generation result() const;

 private:
  friend class GenerationQueue;
  struct Impl;
  explicit QueuedText(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Generates many texts together (continuous batching): requests join and leave between passes of the model's
/// layers, in the order in which they came. A text is the one that Decoder::generate makes, whatever other
/// requests there are.
///
/// Has a thread of its own, which computes on as many threads as ATen is set to. Methods are safe
/// concurrently.
class TAESR_API GenerationQueue {
 public:
  /// Throws InvalidArgument for options out of range. The queue keeps the decoder's weights alive.
  explicit GenerationQueue(const Decoder& decoder, const GenerationQueueOptions& options = {});
  /// Cancels all requests.
  ~GenerationQueue();
  GenerationQueue(GenerationQueue&&) noexcept;
  GenerationQueue& operator=(GenerationQueue&&) noexcept;

  /// Takes a request and returns at once. Throws InvalidArgument as Decoder::stream does, and Overloaded
  /// where max_active and max_waiting requests are there already, or after close().
  [[nodiscard]] QueuedText submit(std::span<const int> prompt, const GenerateOptions& options = {});
  /// Cancels all requests and ends the queue's thread.
  void close();

  [[nodiscard]] GenerationQueueStatus status() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace taesr
