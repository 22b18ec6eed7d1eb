#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "engine/batching.h"
#include "engine/budget.h"
#include "engine/window_depths.h"

namespace taesr {

/// The two halves of a pass through the model, between which windows change their company.
class Stages {
 public:
  Stages() = default;
  Stages(const Stages&) = delete;
  Stages& operator=(const Stages&) = delete;
  virtual ~Stages() = default;

  /// States of the windows `chosen` before the recursion, [tokens, hidden]; their depths are decided then.
  virtual at::Tensor enter(std::span<const std::size_t> chosen) = 0;

  /// From there to the outputs, after `depth` recursions.
  virtual void finish(std::span<const std::size_t> chosen, const at::Tensor& entry, int depth) = 0;
};

/// Windows that wait after the entry layers for others of their depth, until they fill a batch: a mixed
/// corpus costs the mean of its depths, in batches as large as those of a uniform one. No more than
/// `budget` tokens wait at each depth.
class DepthBuckets {
 public:
  DepthBuckets(std::span<const Window> windows, std::size_t budget, Stages& stages)
      : windows_(windows), budget_(budget), stages_(stages) {}

  /// A batch with its entry states [tokens, hidden] and the depth of each window.
  void add(std::span<const std::size_t> chosen, const at::Tensor& entry, std::span<const int> depths);

  /// Finishes all that wait.
  void flush();

 private:
  struct Bucket {
    std::vector<std::size_t> chosen;
    std::vector<at::Tensor> entry;
    std::size_t tokens = 0;
  };

  void finish(int depth, Bucket& bucket);

  std::span<const Window> windows_;
  std::size_t budget_;
  Stages& stages_;
  std::map<int, Bucket> waiting_;
};

/// Passes all windows through both stages, in batches of at most `budget` tokens.
void run_in_buckets(std::span<const Window> windows, const WindowDepths& depths, std::size_t budget, Stages& stages);

/// The same against the clock: the shortest windows first, each batch at once to its end and no deeper than
/// leaves time for the others, which lowers `depths`. `flops(tokens, depth)` is the work of a window, at
/// depth 0 that of its entry layers.
void run_until(Deadline& deadline, std::span<const Window> windows, WindowDepths& depths, std::span<const int> ladder,
               std::size_t budget, const std::function<double(std::size_t, int)>& flops, Stages& stages);

}  // namespace taesr
