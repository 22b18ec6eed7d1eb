#include "model/heads.h"

#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/erf.h>
#include <ATen/ops/log1p.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/stack.h>
#include <gtest/gtest.h>

namespace taesr {
namespace {

TEST(Heads, SparseIsTheDefinition) {
  const auto hidden = at::randn({5, 8});
  const auto table = at::randn({30, 8});
  const SparseWeights head{{at::randn({8, 8}), at::randn({8})}, {at::rand({8}), at::randn({8})}, at::randn({30}), {}};
  const auto widened = at::matmul(hidden, head.transform.weight.t()) + head.transform.bias;
  const auto gelu = widened * 0.5 * (1 + at::erf(widened / std::sqrt(2.0)));
  const auto centred = gelu - gelu.mean(1, true);
  const auto normed = centred / (centred.square().mean(1, true) + 1e-6).sqrt() * head.norm.weight + head.norm.bias;
  EXPECT_TRUE(at::allclose(sparse_transform(hidden, head, 1e-6), normed, 1e-4, 1e-5));
  const auto weights = at::log1p(at::relu(at::matmul(normed, table.t()) + head.bias));
  const std::vector<std::int64_t> offsets = {0, 1, 5};
  const auto expected = at::stack({weights[0], weights.narrow(0, 1, 4).amax(0)});
  EXPECT_TRUE(at::allclose(sparse_embedding(hidden, head, table, 1e-6, offsets), expected, 1e-4, 1e-4));
}

TEST(Heads, ParametersMayHaveAnotherDtypeThanTheStates) {
  const auto hidden = at::randn({4, 8});
  const SparseWeights head{{at::randn({8, 8}), at::randn({8})}, {at::rand({8}), at::randn({8})}, at::randn({30}), {}};
  const auto table = at::randn({30, 8});
  const std::vector<std::int64_t> offsets = {0, 4};
  const auto half = hidden.to(at::kBFloat16);
  EXPECT_TRUE(at::allclose(sparse_embedding(half, head, table, 1e-6, offsets), sparse_embedding(hidden, head, table, 1e-6, offsets), 0.1, 0.1));
  const auto late = at::randn({3, 8});
  EXPECT_EQ(late_embedding(half, late).scalar_type(), at::kFloat);
  EXPECT_TRUE(at::allclose(late_embedding(half, late), late_embedding(hidden, late), 0.02, 0.05));
}

TEST(Heads, LateRowsAreUnitProjections) {
  const auto hidden = at::randn({4, 8});
  const auto weight = at::randn({3, 8});
  const auto rows = at::matmul(hidden, weight.t());
  EXPECT_TRUE(at::allclose(late_embedding(hidden, weight), rows / rows.square().sum(1, true).sqrt(), 1e-5, 1e-6));
}

TEST(Heads, QueriesWithoutAnEncoderWeighEachPieceOnce) {
  const std::vector<float> idf = {0.5f, 1.5f, 0.0f, -1.0f, 2.5f};
  const std::vector<int> tokens = {4, 1, 4, 2, 3};
  EXPECT_EQ(sparse_query_from_table(tokens, idf), (SparseVector{{1, 1.5f}, {4, 2.5f}}));
  EXPECT_EQ(sparse_query_from_table({}, idf), SparseVector{});
}

}  // namespace
}  // namespace taesr
