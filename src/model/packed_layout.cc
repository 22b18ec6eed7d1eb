#include "model/packed_layout.h"

#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "kernels/to_device.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

// Fused attention launches a block for every 128 rows of the longest sequence, for each sequence: long
// sequences go apart from the others, and short ones share windows of a block.
constexpr std::int64_t kBlockRows = AttentionWindows::kWidth;
constexpr std::int64_t kShort = kBlockRows / 2;

/// Borders of the runs of sequences above kBlockRows tokens, of those above kShort, and of the rest, where the
/// batch is in that order, the last run perhaps with some longer ones; otherwise one run of all.
std::vector<std::int64_t> run_borders(const std::vector<std::int64_t>& offsets) {
  const auto count = static_cast<std::int64_t>(offsets.size()) - 1;
  const auto length = [&](std::int64_t i) {
    return offsets[static_cast<std::size_t>(i) + 1] - offsets[static_cast<std::size_t>(i)];
  };
  std::vector<std::int64_t> borders = {0};
  std::int64_t next = 0;
  for (const std::int64_t limit : {kBlockRows, kShort}) {
    while (next < count && length(next) > limit) ++next;
    if (next > borders.back() && next < count) borders.push_back(next);
  }
  for (; next < count; ++next) {
    if (length(next) > kBlockRows) return {0, count};
  }
  borders.push_back(count);
  return borders;
}

}  // namespace

PackedLayout::PackedLayout(std::vector<std::int64_t> borders, at::Device device) : offsets(std::move(borders)) {
  const bool rising = !offsets.empty() && offsets.front() == 0 && std::is_sorted(offsets.begin(), offsets.end());
  if (!rising) throw InvalidArgument("offsets must start with 0 and never fall");
  const auto on_device = to_device(at::tensor(offsets, at::kLong), device);
  starts = on_device.narrow(0, 0, sequences());
  lengths = on_device.narrow(0, 1, sequences()) - starts;
  sequence = at::repeat_interleave(at::arange(sequences(), starts.options()), lengths, 0, tokens());
  positions = at::arange(tokens(), starts.options()) - starts.index_select(0, sequence);
  if (!device.is_cuda()) return;
  const auto runs = run_borders(offsets);
  for (std::size_t i = 1; i < runs.size(); ++i) {
    add_span(runs[i - 1], runs[i]);
    AttentionSpan& span = spans.back();
    const auto first = offsets.begin() + span.first;
    const auto last = offsets.begin() + span.last;
    if (span.longest > kBlockRows || *last - *first > kShort * (span.last - span.first)) continue;
    span.windows = AttentionWindows::plan({first, last + 1}, device);
  }
}

PackedLayout PackedLayout::part(std::vector<std::int64_t> part_offsets) const {
  PackedLayout result(std::move(part_offsets), starts.device());
  result.spans.clear();
  for (const AttentionSpan& span : spans) result.add_span(span.first, span.last);
  return result;
}

void PackedLayout::add_span(std::int64_t first, std::int64_t last) {
  AttentionSpan span{first, last, 0, {}, {}};
  for (std::int64_t i = first; i < last; ++i) {
    const auto at = static_cast<std::size_t>(i);
    span.longest = std::max(span.longest, offsets[at + 1] - offsets[at]);
  }
  const auto lengths_here = lengths.narrow(0, first, last - first);
  span.offsets = at::zeros({last - first + 1}, lengths.options().dtype(at::kInt));
  span.offsets.narrow(0, 1, last - first).copy_(lengths_here.cumsum(0));
  spans.push_back(std::move(span));
}

void PackedBatch::validate_shape(const TAESRConfig& config) const {
  if (tokens.dim() != 1 || tokens.scalar_type() != at::kLong || roles.dim() != 1 || roles.scalar_type() != at::kLong) {
    throw InvalidArgument("tokens and roles must be int64 with one dimension");
  }
  if (offsets.size() < 2 || offsets.front() != 0 || offsets.back() != tokens.size(0)) {
    throw InvalidArgument("offsets must start with 0 and end with the number of tokens, " +
                          std::to_string(tokens.size(0)));
  }
  for (std::size_t i = 1; i < offsets.size(); ++i) {
    const std::int64_t length = offsets[i] - offsets[i - 1];
    if (length >= 1 && length <= config.max_position_embeddings) continue;
    throw InvalidArgument("sequence " + std::to_string(i - 1) + " has " + std::to_string(length) +
                          " tokens; allowed: 1 to " + std::to_string(config.max_position_embeddings));
  }
  if (roles.size(0) != sequences()) {
    throw InvalidArgument("there are " + std::to_string(roles.size(0)) + " roles for " + std::to_string(sequences()) +
                          " sequences");
  }
}

void PackedBatch::validate(const TAESRConfig& config) const {
  validate_shape(config);
  const auto check = [](const char* what, const at::Tensor& ids, std::int64_t end) {
    const auto low = ids.min().item<std::int64_t>();
    const auto high = ids.max().item<std::int64_t>();
    if (low >= 0 && high < end) return;
    throw InvalidArgument(std::string(what) + " from " + std::to_string(low) + " to " + std::to_string(high) +
                          "; allowed: 0 to " + std::to_string(end - 1));
  };
  check("token ids", tokens, config.vocab_size);
  check("roles", roles, 2);
}

}  // namespace taesr
