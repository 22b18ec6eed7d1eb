#include "kernels/sparse_pool.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/embedding_dense_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/log1p.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/max.h>
#include <ATen/ops/nonzero.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "kernels/dispatch.h"
#include "kernels/sparse_max.h"
#include "kernels/to_device.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

using Offsets = std::span<const std::int64_t>;

/// Logits in flight: [tokens, pieces] of one tile. Small enough for a CPU's caches, large enough to
/// fill a GPU.
struct TileSize {
  std::int64_t tokens;
  std::int64_t pieces;
};

TileSize tile_size(const at::Tensor& table) {
  return table.is_cuda() ? TileSize{4096, std::min<std::int64_t>(table.size(0), 16384)}
                         : TileSize{1024, std::min<std::int64_t>(table.size(0), 2048)};
}

/// Texts [begin, end) of a plan, read as a rectangle: shorter ones repeat their last token, which
/// changes no maximum.
struct Rectangle {
  std::int64_t begin;
  std::int64_t end;
  std::int64_t length;
  std::int64_t first_token;  // of `tokens` in the plan

  [[nodiscard]] std::int64_t texts() const { return end - begin; }
};

/// All texts that have tokens by falling length, and the tokens of each rectangle, on the device.
struct Plan {
  std::vector<Rectangle> rectangles;
  at::Tensor texts;   // int64 [texts]
  at::Tensor tokens;  // int64 [sum of texts * length]
};

Plan make_plan(Offsets offsets, std::int64_t tile_tokens, const at::Device& device) {
  const auto length = [&](std::int64_t text) { return offsets[text + 1] - offsets[text]; };
  std::vector<std::int64_t> order(offsets.size() - 1);
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::erase_if(order, [&](std::int64_t text) { return length(text) == 0; });
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return length(a) > length(b); });

  Plan plan;
  std::vector<std::int64_t> tokens;
  const auto count = static_cast<std::int64_t>(order.size());
  for (std::int64_t begin = 0; begin < count;) {
    const std::int64_t longest = length(order[begin]);
    std::int64_t end = begin + 1;
    // At most a fifth of a rectangle's rows are repeats.
    while (end < count && (end + 1 - begin) * longest <= tile_tokens && 5 * length(order[end]) >= 4 * longest) ++end;
    plan.rectangles.push_back({begin, end, longest, static_cast<std::int64_t>(tokens.size())});
    for (; begin < end; ++begin) {
      const std::int64_t last = length(order[begin]) - 1;
      for (std::int64_t i = 0; i < longest; ++i) tokens.push_back(offsets[order[begin]] + std::min(i, last));
    }
  }
  plan.texts = to_device(at::tensor(order, at::kLong), device);
  plan.tokens = to_device(at::tensor(tokens, at::kLong), device);
  return plan;
}

/// Products of a rectangle's tokens with pieces [first, first + pieces): [texts, length, pieces].
at::Tensor rectangle_logits(const at::Tensor& states, const at::Tensor& table, const Rectangle& rectangle,
                            std::int64_t first, std::int64_t pieces) {
  return at::matmul(states, table.narrow(0, first, pieces).t()).view({rectangle.texts(), rectangle.length, pieces});
}

/// Calls visit(first piece, pieces) for each tile of the vocabulary.
template <class Visitor>
void for_pieces(std::int64_t vocabulary, std::int64_t tile, const Visitor& visit) {
  for (std::int64_t first = 0; first < vocabulary; first += tile) visit(first, std::min(tile, vocabulary - first));
}

/// The bias is the same for all tokens of a text, so it is added to their maximum.
at::Tensor weight_of(const at::Tensor& largest, const at::Tensor& bias, std::int64_t first, std::int64_t pieces) {
  return at::log1p(at::relu(largest.to(at::kFloat) + bias.narrow(0, first, pieces).to(at::kFloat)));
}

/// float32 [texts of the rectangle, vocabulary].
at::Tensor rectangle_weights(const at::Tensor& states, const at::Tensor& table, const at::Tensor& bias,
                             const Plan& plan, const Rectangle& rectangle) {
  const std::int64_t vocabulary = table.size(0);
  const auto rows = states.index_select(
      0, plan.tokens.narrow(0, rectangle.first_token, rectangle.texts() * rectangle.length));
  auto weights = at::empty({rectangle.texts(), vocabulary}, states.options().dtype(at::kFloat));
  for_pieces(vocabulary, tile_size(table).pieces, [&](std::int64_t first, std::int64_t pieces) {
    const auto largest = at::amax(rectangle_logits(rows, table, rectangle, first, pieces), {1});
    weights.narrow(1, first, pieces).copy_(weight_of(largest, bias, first, pieces));
  });
  return weights;
}

/// Weights and the tokens that they come from, see kernels/sparse_max.h.
std::tuple<at::Tensor, at::Tensor> pool_with_tokens(const at::Tensor& states, const at::Tensor& table,
                                                    const at::Tensor& bias, at::IntArrayRef borders) {
  const Offsets offsets(borders.data(), borders.size());
  const auto tile = tile_size(table);
  const auto plan = make_plan(offsets, tile.tokens, states.device());
  const std::int64_t vocabulary = table.size(0);
  const auto texts_given = static_cast<std::int64_t>(offsets.size()) - 1;
  const auto weights = at::zeros({texts_given, vocabulary}, states.options().dtype(at::kFloat));
  const auto tokens = at::zeros_like(weights, weights.options().dtype(at::kInt));
  for (const Rectangle& rectangle : plan.rectangles) {
    const auto texts = plan.texts.narrow(0, rectangle.begin, rectangle.texts());
    const auto token_of = plan.tokens.narrow(0, rectangle.first_token, rectangle.texts() * rectangle.length);
    const auto rows = states.index_select(0, token_of);
    for_pieces(vocabulary, tile.pieces, [&](std::int64_t first, std::int64_t pieces) {
      const auto [largest, place] = at::max(rectangle_logits(rows, table, rectangle, first, pieces), 1);
      weights.narrow(1, first, pieces).index_copy_(0, texts, weight_of(largest, bias, first, pieces));
      const auto token = token_of.view({rectangle.texts(), rectangle.length}).gather(1, place);
      tokens.narrow(1, first, pieces).index_copy_(0, texts, token.to(at::kInt));
    });
  }
  return {weights, tokens};
}

struct Gradients {
  at::Tensor states;  // float32 [tokens, hidden]
  at::Tensor table;   // float32 [vocabulary, hidden]
};

/// Few weights are above zero, as in a trained head: one row of the table and one state for each.
Gradients gather_gradients(const at::Tensor& gradient, const at::Tensor& active, const at::Tensor& tokens,
                           const at::Tensor& states, const at::Tensor& table) {
  constexpr std::int64_t kChunk = 1 << 18;  // rows of float32 in flight
  const auto options = states.options().dtype(at::kFloat);
  Gradients sums{at::zeros(states.sizes(), options), at::zeros(table.sizes(), options)};
  for (std::int64_t begin = 0; begin < active.size(0); begin += kChunk) {
    const auto entry = active.narrow(0, begin, std::min(kChunk, active.size(0) - begin));
    const auto scale = gradient.flatten().index_select(0, entry).unsqueeze(1);
    const auto token = tokens.flatten().index_select(0, entry).to(at::kLong);
    const auto piece = entry.remainder(table.size(0));
    // Sums rows by index.
    const auto sum = [&](const at::Tensor& rows, const at::Tensor& from, const at::Tensor& to, at::Tensor& into) {
      into.add_(at::embedding_dense_backward(scale * rows.index_select(0, from).to(at::kFloat), to, into.size(0), -1, false));
    };
    sum(table, piece, token, sums.states);
    sum(states, token, piece, sums.table);
  }
  return sums;
}

/// Texts [begin, end) of about `tokens` tokens, at least one text.
std::int64_t end_of_run(Offsets offsets, std::int64_t begin, std::int64_t tokens) {
  std::int64_t end = begin + 1;
  while (end + 1 < static_cast<std::int64_t>(offsets.size()) && offsets[end + 1] - offsets[begin] <= tokens) ++end;
  return end;
}

/// Many weights are above zero, as in an untrained head: the gradient of the logits, a tile at a time.
Gradients tile_gradients(const at::Tensor& gradient, const at::Tensor& tokens, const at::Tensor& states,
                         const at::Tensor& table, Offsets offsets) {
  const auto options = states.options().dtype(at::kFloat);
  const auto tile = tile_size(table);
  Gradients sums{at::zeros(states.sizes(), options), at::zeros(table.sizes(), options)};
  const auto texts = static_cast<std::int64_t>(offsets.size()) - 1;
  for (std::int64_t begin = 0, end = 0; begin < texts; begin = end) {
    end = end_of_run(offsets, begin, tile.tokens);
    const std::int64_t first_token = offsets[begin];
    const std::int64_t count = offsets[end] - first_token;
    const auto rows = states.narrow(0, first_token, count);
    auto state_sum = sums.states.narrow(0, first_token, count);
    for_pieces(table.size(0), tile.pieces, [&](std::int64_t first, std::int64_t pieces) {
      const auto part = [&](const at::Tensor& x) { return x.narrow(0, begin, end - begin).narrow(1, first, pieces); };
      // A token belongs to one text, so no two texts write to the same place.
      const auto logits = at::zeros({count, pieces}, states.options())
                              .scatter_(0, (part(tokens) - first_token).to(at::kLong), part(gradient).to(states.dtype()));
      state_sum.add_(at::matmul(logits, table.narrow(0, first, pieces)));
      sums.table.narrow(0, first, pieces).add_(at::matmul(logits.t(), rows));
    });
  }
  return sums;
}

class SparsePool : public torch::autograd::Function<SparsePool> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& states,
                            const at::Tensor& table, const at::Tensor& bias, std::vector<std::int64_t> offsets) {
    const auto pooled = sparse_max(states, table, bias, offsets);
    context->save_for_backward({states, table, bias, pooled.weights, pooled.tokens});
    context->saved_data["offsets"] = std::move(offsets);
    return pooled.weights;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& outputs) {
    // Tiles cost two products of `hidden` steps a logit, gathering some row copies an active weight.
    constexpr std::int64_t kLogitsAnActiveWeight = 512;
    const at::NoGradGuard no_grad;
    const auto saved = context->get_saved_variables();
    const auto &states = saved[0], &table = saved[1], &bias = saved[2], &weights = saved[3], &tokens = saved[4];
    const auto offsets = context->saved_data["offsets"].toIntVector();
    // d log(1 + z) = dz / (1 + z), and 1 / (1 + z) = exp(-weight).
    const auto gradient = at::where(weights > 0, outputs[0].to(at::kFloat) * at::exp(-weights), 0.0);
    const auto bias_gradient = gradient.sum(0).to(bias.dtype());
    const auto differentiate = [&] {
      if (states.is_cuda()) return tile_gradients(gradient, tokens, states, table, offsets);  // counting would wait
      const auto active = gradient.flatten().nonzero().squeeze(1);
      const bool few = active.size(0) * kLogitsAnActiveWeight <= states.size(0) * table.size(0);
      return few ? gather_gradients(gradient, active, tokens, states, table)
                 : tile_gradients(gradient, tokens, states, table, offsets);
    };
    const Gradients sums = differentiate();
    return {sums.states.to(states.dtype()), sums.table.to(table.dtype()), bias_gradient, at::Tensor()};
  }
};

bool wants_gradient(const at::Tensor& states, const at::Tensor& table, const at::Tensor& bias) {
  return at::GradMode::is_enabled() && (states.requires_grad() || table.requires_grad() || bias.requires_grad());
}

SparseVector row_of(std::span<const float> weights, std::size_t top) {
  SparseVector row;
  for (std::size_t piece = 0; piece < weights.size(); ++piece) {
    if (weights[piece] > 0) row.push_back({static_cast<int>(piece), weights[piece]});
  }
  return keep_heaviest(std::move(row), top);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(taesr, library) {
  library.def("sparse_max(Tensor states, Tensor table, Tensor bias, int[] offsets) -> (Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(taesr, CompositeExplicitAutograd, library) { library.impl("sparse_max", &pool_with_tokens); }

SparseMax sparse_max(const at::Tensor& states, const at::Tensor& table, const at::Tensor& bias, Offsets offsets) {
  using Signature = std::tuple<at::Tensor, at::Tensor>(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                                       at::IntArrayRef);
  static const auto op = find_operator<Signature>("taesr::sparse_max");
  auto [weights, tokens] = op.call(states, table, bias, at::IntArrayRef(offsets.data(), offsets.size()));
  return {std::move(weights), std::move(tokens)};
}

SparseVector keep_heaviest(SparseVector weights, std::size_t top) {
  if (weights.size() > top) {
    const auto heavier = [](const PieceWeight& a, const PieceWeight& b) {
      return a.weight > b.weight || (a.weight == b.weight && a.piece < b.piece);
    };
    std::nth_element(weights.begin(), weights.begin() + static_cast<std::ptrdiff_t>(top), weights.end(), heavier);
    weights.resize(top);
  }
  std::sort(weights.begin(), weights.end(), [](const auto& a, const auto& b) { return a.piece < b.piece; });
  return weights;
}

at::Tensor sparse_pool(const at::Tensor& states, const at::Tensor& table, const at::Tensor& bias, Offsets offsets) {
  if (wants_gradient(states, table, bias)) {
    if (std::adjacent_find(offsets.begin(), offsets.end()) != offsets.end()) {
      throw InvalidArgument("a text has no tokens; where derivatives are wanted each must have one");
    }
    return SparsePool::apply(states, table, bias, std::vector<std::int64_t>(offsets.begin(), offsets.end()));
  }
  if (states.is_cuda()) return sparse_max(states, table, bias, offsets).weights;
  const auto plan = make_plan(offsets, tile_size(table).tokens, states.device());
  const auto texts = static_cast<std::int64_t>(offsets.size()) - 1;
  auto pooled = at::zeros({texts, table.size(0)}, states.options().dtype(at::kFloat));
  for (const Rectangle& rectangle : plan.rectangles) {
    pooled.index_copy_(0, plan.texts.narrow(0, rectangle.begin, rectangle.texts()),
                       rectangle_weights(states, table, bias, plan, rectangle));
  }
  return pooled;
}

std::vector<SparseVector> sparse_pool_rows(const at::Tensor& states, const at::Tensor& table, const at::Tensor& bias,
                                           Offsets offsets, std::size_t top) {
  const at::NoGradGuard no_grad;
  const auto plan = make_plan(offsets, tile_size(table).tokens, states.device());
  const auto vocabulary = static_cast<std::size_t>(table.size(0));
  const auto order = plan.texts.cpu();
  const std::int64_t* text = order.const_data_ptr<std::int64_t>();
  std::vector<SparseVector> rows(offsets.size() - 1);
  for (const Rectangle& rectangle : plan.rectangles) {
    const auto weights = rectangle_weights(states, table, bias, plan, rectangle).cpu();
    const float* values = weights.const_data_ptr<float>();
    at::parallel_for(0, rectangle.texts(), 8, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        rows[text[rectangle.begin + i]] = row_of({values + static_cast<std::size_t>(i) * vocabulary, vocabulary}, top);
      }
    });
  }
  return rows;
}

}  // namespace taesr
