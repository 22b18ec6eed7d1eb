#include "kernels/sparse_pool.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/log1p.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

namespace taesr {
namespace {

struct Problem {
  at::Tensor states, table, bias;
  std::vector<std::int64_t> lengths;
  std::vector<std::int64_t> offsets{0};
};

/// `shift` moves the biases: far below zero few weights are above it, as in a trained head.
Problem problem(const std::vector<std::int64_t>& lengths, std::int64_t vocabulary, double shift) {
  Problem made;
  made.lengths = lengths;
  for (const std::int64_t length : lengths) made.offsets.push_back(made.offsets.back() + length);
  made.states = at::randn({made.offsets.back(), 16});
  made.table = at::randn({vocabulary, 16});
  made.bias = at::randn({vocabulary}) + shift;
  return made;
}

/// By the definition, with all logits at once.
at::Tensor reference(const Problem& p) {
  const auto weights = at::log1p(at::relu(at::matmul(p.states, p.table.t()) + p.bias));
  std::vector<at::Tensor> rows;
  for (const at::Tensor& text : weights.split_with_sizes(p.lengths)) rows.push_back(text.amax(0));
  return at::stack(rows);
}

/// 1 where the largest weight of a piece is clear of the next one, else 0: of two that differ by rounding
/// either may have the derivative.
at::Tensor clear_winners(const Problem& p) {
  const at::NoGradGuard no_grad;
  const auto weights = at::log1p(at::relu(at::matmul(p.states, p.table.t()) + p.bias));
  std::vector<at::Tensor> rows;
  for (const at::Tensor& text : weights.split_with_sizes(p.lengths)) {
    const auto best = std::get<0>(at::topk(text, std::min<std::int64_t>(2, text.size(0)), 0));
    rows.push_back((best[0] - (best.size(0) > 1 ? best[1] : best[0] - 1)).gt(1e-4));
  }
  return at::stack(rows).to(at::kFloat);
}

// One token; many equal and unequal lengths; a text and a vocabulary beyond one tile.
const std::vector<std::vector<std::int64_t>> kShapes = {{1}, {2, 1, 2, 9, 8, 1, 7}, {3, 1500, 40, 1}, std::vector<std::int64_t>(900, 2)};

TEST(SparsePool, IsTheLargestWeightOverEachTextsTokens) {
  for (const auto& lengths : kShapes) {
    for (const std::int64_t vocabulary : {5, 2500}) {
      const Problem p = problem(lengths, vocabulary, -2);
      EXPECT_TRUE(at::allclose(sparse_pool(p.states, p.table, p.bias, p.offsets), reference(p), 1e-5, 1e-5));
    }
  }
}

TEST(SparsePool, DerivativesAreThoseOfTheDefinition) {
  for (const auto& lengths : kShapes) {
    for (const double shift : {0.0, -14.0}) {  // many and few active weights: two ways to sum
      const Problem p = problem(lengths, 2500, shift);
      const std::vector<at::Tensor> inputs = {p.states, p.table, p.bias};
      for (at::Tensor input : inputs) input.set_requires_grad(true);
      const auto weights = sparse_pool(p.states, p.table, p.bias, p.offsets);
      const auto expected = reference(p);
      EXPECT_TRUE(at::allclose(weights, expected, 1e-5, 1e-5));
      const auto direction = at::randn(expected.sizes()) * clear_winners(p);
      (expected * direction).sum().backward();
      std::vector<at::Tensor> gradients;
      for (at::Tensor input : inputs) {
        gradients.push_back(input.grad().clone());
        input.mutable_grad().reset();
      }
      (weights * direction).sum().backward();
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        EXPECT_TRUE(lengths.size() == 1 || gradients[i].abs().max().item<float>() > 0) << i;
        EXPECT_TRUE(at::allclose(inputs[i].grad(), gradients[i], 1e-3, 1e-3)) << i << " shift " << shift;
      }
    }
  }
}

TEST(SparsePool, NoActiveWeightGivesNoGradientButOneOfZeros) {
  Problem p = problem({3, 2}, 40, -1e4);
  p.states.set_requires_grad(true);
  const auto weights = sparse_pool(p.states, p.table, p.bias, p.offsets);
  EXPECT_EQ(weights.abs().max().item<float>(), 0);
  weights.sum().backward();
  EXPECT_EQ(p.states.grad().abs().max().item<float>(), 0);
}

TEST(SparsePool, ATextDoesNotDependOnItsBatchMates) {
  const Problem p = problem({30, 1, 26, 25, 4}, 300, -2);
  const auto together = sparse_pool(p.states, p.table, p.bias, p.offsets);
  for (std::size_t i = 0; i < p.lengths.size(); ++i) {
    const std::int64_t length = p.lengths[i];
    const std::vector<std::int64_t> offsets = {0, length};
    const auto alone = sparse_pool(p.states.narrow(0, p.offsets[i], length), p.table, p.bias, offsets);
    EXPECT_TRUE(at::allclose(alone[0], together[static_cast<std::int64_t>(i)], 1e-5, 1e-6)) << i;
  }
}

TEST(SparsePool, Bfloat16StaysCloseToFloat32) {
  const Problem p = problem({12, 3}, 300, -2);
  const auto half = sparse_pool(p.states.to(at::kBFloat16), p.table.to(at::kBFloat16), p.bias, p.offsets);
  EXPECT_EQ(half.scalar_type(), at::kFloat);
  EXPECT_TRUE(at::allclose(half, reference(p), 0.05, 0.1));
}

TEST(SparsePoolRows, HoldTheHeaviestPiecesAscending) {
  const Problem p = problem({3, 1500, 1}, 2500, -4);
  const auto dense = reference(p);
  for (const std::size_t top : {std::size_t{0}, std::size_t{7}, std::size_t{100000}}) {
    const auto rows = sparse_pool_rows(p.states, p.table, p.bias, p.offsets, top);
    ASSERT_EQ(rows.size(), 3u);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto row = dense[static_cast<std::int64_t>(i)].contiguous();
      std::vector<float> weights(row.const_data_ptr<float>(), row.const_data_ptr<float>() + 2500);
      std::sort(weights.begin(), weights.end(), std::greater<>());
      const auto active = static_cast<std::size_t>(std::count_if(weights.begin(), weights.end(), [](float w) { return w > 0; }));
      ASSERT_EQ(rows[i].size(), std::min(top, active));
      float lightest = std::numeric_limits<float>::infinity();
      for (std::size_t j = 0; j < rows[i].size(); ++j) {
        EXPECT_TRUE(j == 0 || rows[i][j - 1].piece < rows[i][j].piece);
        EXPECT_NEAR(rows[i][j].weight, row[rows[i][j].piece].item<float>(), 1e-5);
        lightest = std::min(lightest, rows[i][j].weight);
      }
      EXPECT_TRUE(rows[i].empty() || std::abs(lightest - weights[rows[i].size() - 1]) < 1e-5);
    }
  }
}

TEST(KeepHeaviest, BreaksTiesByPiece) {
  EXPECT_EQ(keep_heaviest({{9, 1}, {4, 1}, {7, 2}, {5, 1}}, 3), (SparseVector{{4, 1}, {5, 1}, {7, 2}}));
  EXPECT_EQ(keep_heaviest({}, 3), SparseVector{});
}

}  // namespace
}  // namespace taesr
