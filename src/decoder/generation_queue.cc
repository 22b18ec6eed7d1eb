#include "taesr/generation_queue.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

#include <ATen/Parallel.h>

#include "decoder/generation_batch.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

using Clock = std::chrono::steady_clock;

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

/// A request, between the threads that submit and read it and the one that works on it.
struct Request {
  Request(std::shared_ptr<const LoadedDecoder> decoder, std::span<const int> prompt,
          const GenerateOptions& options)
      : text(std::move(decoder), prompt, options) {
    shown.prompt_tokens = prompt.size();
  }

  BatchedText text;  // the working thread's
  Clock::time_point began;

  // The rest belongs to the owner of the queue's mutex.
  std::condition_variable changed;  // for those who read the pieces
  std::condition_variable ended;
  Generation shown;   // what readers see of the text
  std::string ready;  // pieces that have not been read
  std::exception_ptr failure;
  bool cancelled = false;
  bool complete = false;

  [[nodiscard]] bool has_answer() const { return complete || !ready.empty(); }

  void complete_with(FinishReason reason) {
    complete = true;
    shown.finish = reason;
    changed.notify_all();
    ended.notify_all();
  }

  /// Shows what the last step made.
  void publish() {
    const Generation& made = text.state.result();
    const double elapsed = seconds(Clock::now() - began);
    if (shown.tokens.empty()) shown.prefill_seconds = elapsed;
    shown.decode_seconds = elapsed - shown.prefill_seconds;
    const std::string piece = std::exchange(text.piece, {});
    shown.text += piece;
    shown.tokens.insert(shown.tokens.end(),
                        made.tokens.begin() + static_cast<std::ptrdiff_t>(shown.tokens.size()),
                        made.tokens.end());
    shown.kv_bytes = text.state.cache().bytes();
    ready += piece;
    failure = text.failure;
    if (text.state.complete() || failure) complete_with(made.finish);
    if (!piece.empty()) changed.notify_all();
  }
};

void check(const char* option, std::size_t value, std::size_t least, std::size_t most) {
  if (value >= least && value <= most) return;
  throw InvalidArgument(std::string(option) + " is " + std::to_string(value) +
                        "; allowed: " + std::to_string(least) + " to " + std::to_string(most));
}

/// What the queue, its texts and its thread share.
struct Line {
  GenerationQueueOptions options;
  mutable std::mutex mutex;
  std::condition_variable work;  // to do, for the queue's thread
  std::deque<std::shared_ptr<Request>> waiting;
  std::vector<std::shared_ptr<Request>> active;
  GenerationQueueStatus status;
  bool closed = false;

  void enter(std::shared_ptr<Request> request) {
    const std::lock_guard lock(mutex);
    if (closed) throw Overloaded("the generation queue is closed; submit to an open one");
    if (waiting.size() + active.size() >= options.max_waiting + options.max_active) {
      throw Overloaded("the generation queue is full: " + std::to_string(active.size()) +
                       " requests are worked on and " + std::to_string(waiting.size()) +
                       " wait; try again later, or make the queue with a larger max_waiting");
    }
    waiting.push_back(std::move(request));
    work.notify_one();
  }

  void cancel(const std::shared_ptr<Request>& request) {
    const std::lock_guard lock(mutex);
    if (request->complete) return;
    request->cancelled = true;
    if (std::erase(waiting, request) > 0) request->complete_with(FinishReason::kCancelled);
  }

  /// Waits for requests. False when the queue is closed, and all that were there are complete.
  bool admit(GenerationBatch& batch) {
    std::unique_lock lock(mutex);
    work.wait(lock, [&] { return closed || !waiting.empty() || !active.empty(); });
    end_cancelled(batch);
    if (closed) {
      for (auto& request : waiting) request->complete_with(FinishReason::kCancelled);
      waiting.clear();
      return false;
    }
    while (!waiting.empty() && active.size() < options.max_active) {
      active.push_back(std::move(waiting.front()));
      waiting.pop_front();
      active.back()->began = Clock::now();
      batch.add(active.back()->text);
    }
    return true;
  }

  /// Shows what the last step made.
  void publish(GenerationBatch& batch) {
    const std::lock_guard lock(mutex);
    show(batch);
  }

  /// After what no text can go on from, such as too little memory.
  void fail_active(GenerationBatch& batch, const std::exception_ptr& failure) {
    const std::lock_guard lock(mutex);
    show(batch);
    for (auto& request : active) {
      request->failure = failure;
      request->complete_with(FinishReason::kCancelled);
    }
    drop_complete(batch);
  }

  std::size_t passed = 0;  // tokens, by a step that has not been shown; the queue's thread's

 private:
  void show(GenerationBatch& batch) {
    if (passed == 0) return;
    ++status.steps;
    status.rows += std::exchange(passed, 0);
    status.kv_bytes = 0;
    for (auto& request : active) {
      request->publish();
      status.kv_bytes += request->shown.kv_bytes;
    }
    drop_complete(batch);
  }

  void end_cancelled(GenerationBatch& batch) {
    const auto ends = [&](const std::shared_ptr<Request>& request) { return closed || request->cancelled; };
    if (std::none_of(active.begin(), active.end(), ends)) return;
    show(batch);
    for (auto& request : active) {
      if (ends(request)) request->complete_with(FinishReason::kCancelled);
    }
    drop_complete(batch);
  }

  void drop_complete(GenerationBatch& batch) {
    std::erase_if(active, [&](const std::shared_ptr<Request>& request) {
      if (request->complete) batch.remove(request->text);
      return request->complete;
    });
  }
};

/// The queue's thread.
void work_on(Line& line, const LoadedDecoder& decoder) {
  at::init_num_threads();
  GenerationBatch batch(decoder, line.options.batch_tokens, line.options.refill);
  while (line.admit(batch)) {
    try {
      if (line.active.empty()) continue;
      line.passed = batch.step([&] { line.publish(batch); });
    } catch (...) {
      line.fail_active(batch, std::current_exception());
    }
  }
}

}  // namespace

struct QueuedText::Impl {
  std::shared_ptr<Line> line;
  std::shared_ptr<Request> request;

  ~Impl() { line->cancel(request); }
};

QueuedText::QueuedText(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
QueuedText::~QueuedText() = default;
QueuedText::QueuedText(QueuedText&&) noexcept = default;
QueuedText& QueuedText::operator=(QueuedText&&) noexcept = default;

bool QueuedText::next(std::string& piece) {
  Request& request = *impl_->request;
  std::unique_lock lock(impl_->line->mutex);
  request.changed.wait(lock, [&] { return request.has_answer(); });
  piece = std::exchange(request.ready, {});
  if (!piece.empty()) return true;
  if (const auto failure = std::exchange(request.failure, nullptr)) std::rethrow_exception(failure);
  return false;
}

bool QueuedText::wait_for(std::chrono::duration<double> longest) const {
  const Request& request = *impl_->request;
  std::unique_lock lock(impl_->line->mutex);
  return impl_->request->changed.wait_for(lock, longest, [&] { return request.has_answer(); });
}

bool QueuedText::wait_for_end(std::chrono::duration<double> longest) const {
  const Request& request = *impl_->request;
  std::unique_lock lock(impl_->line->mutex);
  return impl_->request->ended.wait_for(lock, longest, [&] { return request.complete; });
}

void QueuedText::cancel() { impl_->line->cancel(impl_->request); }

Generation QueuedText::result() const {
  const std::lock_guard lock(impl_->line->mutex);
  return impl_->request->shown;
}

struct GenerationQueue::Impl {
  std::shared_ptr<const LoadedDecoder> decoder;
  std::shared_ptr<Line> line = std::make_shared<Line>();
  std::mutex closing;
  std::thread thread;

  void close() {
    {
      const std::lock_guard lock(line->mutex);
      line->closed = true;
      line->work.notify_all();
    }
    const std::lock_guard lock(closing);
    if (thread.joinable()) thread.join();
  }
  ~Impl() { close(); }
};

GenerationQueue::GenerationQueue(const Decoder& decoder, const GenerationQueueOptions& options)
    : impl_(std::make_unique<Impl>()) {
  check("max_active", options.max_active, 1, 1 << 16);
  check("max_waiting", options.max_waiting, 0, 1 << 24);
  check("batch_tokens", options.batch_tokens, options.max_active + 1, 1 << 20);
  impl_->decoder = decoder.model_;
  impl_->line->options = options;
  impl_->thread = std::thread([line = impl_->line, model = decoder.model_] { work_on(*line, *model); });
}

GenerationQueue::~GenerationQueue() = default;
GenerationQueue::GenerationQueue(GenerationQueue&&) noexcept = default;
GenerationQueue& GenerationQueue::operator=(GenerationQueue&&) noexcept = default;

QueuedText GenerationQueue::submit(std::span<const int> prompt, const GenerateOptions& options) {
  check_request(*impl_->decoder, prompt, options);
  auto request = std::make_shared<Request>(impl_->decoder, prompt, options);
  impl_->line->enter(request);
  return QueuedText(std::unique_ptr<QueuedText::Impl>(new QueuedText::Impl{impl_->line, std::move(request)}));
}

void GenerationQueue::close() { impl_->close(); }

GenerationQueueStatus GenerationQueue::status() const {
  const std::lock_guard lock(impl_->line->mutex);
  GenerationQueueStatus status = impl_->line->status;
  status.waiting = impl_->line->waiting.size();
  status.active = impl_->line->active.size();
  if (status.active == 0) status.kv_bytes = 0;
  return status;
}

}  // namespace taesr
