// The operators of the GPU engine on the CPU, where each has its twin: what they mean, on odd sizes.

#include <algorithm>
#include <cmath>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "kernels/active_tokens.h"
#include "kernels/norm_ops.h"
#include "kernels/packed_maxsim.h"
#include "kernels/row_ops.h"
#include "kernels/sparse_max.h"
#include "kernels/sparse_pool.h"
#include "kernels/tile_attention.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

using Lengths = std::vector<std::int64_t>;

// One token, a window and one more, sequences without tokens.
const std::vector<Lengths> kShapes = {{1}, {513}, {0, 16, 17, 0, 64, 65, 1, 0}, {0}};

Lengths offsets_of(const Lengths& lengths) {
  Lengths offsets = {0};
  for (const auto length : lengths) offsets.push_back(offsets.back() + length);
  return offsets;
}

at::Tensor longs(const Lengths& values) { return at::tensor(values, at::kLong); }
at::Tensor ints(const Lengths& values) { return longs(values).to(at::kInt); }

Lengths list_of(const at::Tensor& x) {
  const auto values = x.to(at::kLong).contiguous();
  return {values.const_data_ptr<std::int64_t>(), values.const_data_ptr<std::int64_t>() + values.numel()};
}

TEST(ActiveRows, AreTheTrueOnesInOrderWithTheBordersOfTheirSequences) {
  for (const Lengths& lengths : kShapes) {
    const Lengths offsets = offsets_of(lengths);
    for (const double share : {0.0, 0.4, 1.0}) {  // all tokens have stopped; some; none
      const auto mask = at::rand({offsets.back()}) < share;
      const auto [rows, borders] = active_rows(mask, longs(offsets));
      Lengths expected = list_of(mask.nonzero());
      for (std::size_t i = 0; i < offsets.size(); ++i) {
        EXPECT_EQ(list_of(borders)[i], mask.narrow(0, 0, offsets[i]).sum().item<std::int64_t>());
      }
      expected.resize(static_cast<std::size_t>(offsets.back()), -1);
      EXPECT_EQ(list_of(rows), expected);
    }
  }
}

TEST(BestRows, AreTheHighestOfEachSequenceAndOfEqualOnesTheEarlier) {
  const auto scores = at::tensor({1.0F, 3.0F, 3.0F, 2.0F, -1.0F, std::nanf(""), -INFINITY, 0.0F, -0.0F});
  const auto best = [&](const Lengths& offsets, const Lengths& kept) {
    return list_of(best_rows(scores, {}, longs(offsets), longs(kept), kept.back()));
  };
  EXPECT_EQ(best({0, 4, 4, 9}, {0, 2, 2, 4}), (Lengths{1, 2, 7, 8}));
  EXPECT_EQ(best({0, 4, 4, 9}, {0, 1, 1, 5}), (Lengths{1, 4, 6, 7, 8}));  // NaN below minus infinity
  EXPECT_EQ(best({0, 9}, {0, 0}), Lengths{});
  const auto going = at::tensor({1, 0, 1, 1, 1, 1, 1, 0, 1}).to(at::kBool);
  EXPECT_EQ(list_of(best_rows(scores, going, longs({0, 9}), longs({0, 3}), 3)), (Lengths{0, 2, 3}));
  EXPECT_THROW((void)best_rows(scores, {}, longs({0, 2}), longs({0, 3}), 3), InvalidArgument);
}

TEST(RowOps, GatherScatterAndAppend) {
  const auto x = at::randn({9, 5});
  const auto rows = longs({8, 0, 3});
  EXPECT_TRUE(at::equal(gather_rows(x, rows), x.index_select(0, rows)));
  EXPECT_EQ(gather_rows(x, longs({})).size(0), 0);
  auto copy = x.clone();
  scatter_rows_(copy, rows, at::full({3, 5}, 7.0));
  EXPECT_EQ((copy == 7.0).sum().item<std::int64_t>(), 15);
  auto moved = x.clone();
  scatter_gated_(moved, rows, at::zeros({3, 5}), at::tensor({0.0F, 1.0F, 2.0F}));
  EXPECT_TRUE(at::allclose(moved[8], x[8]) && at::allclose(moved[0], at::zeros({5})) && at::allclose(moved[3], -x[3]));
  auto cache = at::zeros({9, 10});
  const auto qkv = at::randn({3, 15});
  kv_append_(cache, rows, qkv);
  EXPECT_TRUE(at::equal(gather_rows(cache, rows), qkv.slice(1, 5)));
  EXPECT_EQ((cache != 0).sum().item<std::int64_t>(), 30);
}

/// Tiles of all sequences, and one of filling.
at::Tensor tiles_of(const Lengths& lengths, int rows) {
  Lengths tiles;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    for (std::int64_t first = 0; first < lengths[i]; first += rows) {
      tiles.push_back(static_cast<std::int64_t>(i));
      tiles.push_back(first);
    }
  }
  tiles.insert(tiles.end(), {-1, 0});
  return ints(tiles).view({-1, 2});
}

TEST(TileAttention, IsAttentionInsideEachSequence) {
  constexpr std::int64_t kHeads = 3, kSize = 8, kHidden = kHeads * kSize;
  const Lengths queries = {1, 0, 17, 65, 0}, keys = {1, 7, 130, 65, 0};
  const auto query_offsets = offsets_of(queries), key_offsets = offsets_of(keys);
  const auto q = at::randn({query_offsets.back(), kHidden});
  const auto kv = at::randn({key_offsets.back(), 2 * kHidden});
  for (const int rows : {kSmallTile, kLargeTile}) {
    auto out = at::full({q.size(0), kHidden}, std::nan(""));
    tile_attention({q, kv.narrow(1, 0, kHidden), kv.narrow(1, kHidden, kHidden), ints(query_offsets), ints(key_offsets), kHeads},
                   tiles_of(queries, rows), rows, out);
    for (std::size_t i = 0; i < queries.size(); ++i) {
      const auto heads = [&](const at::Tensor& x) { return x.view({-1, kHeads, kSize}).transpose(0, 1); };
      const auto own = kv.slice(0, key_offsets[i], key_offsets[i + 1]).contiguous().view({-1, 2, kHidden}).unbind(1);
      const auto expected = at::scaled_dot_product_attention(heads(q.slice(0, query_offsets[i], query_offsets[i + 1])),
                                                             heads(own[0].contiguous()), heads(own[1].contiguous()));
      EXPECT_TRUE(at::allclose(out.slice(0, query_offsets[i], query_offsets[i + 1]),
                               expected.transpose(0, 1).reshape({-1, kHidden}), 1e-4, 1e-5));
    }
  }
}

TEST(NormOps, AddNormReinjectsTheFirstRowsAndWorksInPlace) {
  for (const std::int64_t rows : {0, 1, 513}) {
    const NormVectors norm = {at::randn({24}), at::randn({24}), 1e-12};
    const auto x = at::randn({rows, 24}), y = at::randn({rows, 24}), entry = at::randn({rows, 24});
    const auto bias = at::randn({24}), scale = at::randn({24});
    const auto expected = at::layer_norm(x + y + bias, {24}, norm.gain, norm.shift, norm.eps);
    auto plain = x.clone();
    add_norm_(plain, y, bias, norm, {});
    EXPECT_TRUE(at::allclose(plain, expected, 1e-5, 1e-5));
    auto back = x.clone();
    const std::int64_t carried = rows / 2;
    add_norm_(back, y, bias, norm, Reinjection{entry, scale, carried});
    EXPECT_TRUE(at::allclose(back.slice(0, 0, carried), (expected + scale * entry).slice(0, 0, carried), 1e-5, 1e-5));
    EXPECT_TRUE(at::allclose(back.slice(0, carried), expected.slice(0, carried), 1e-5, 1e-5));
  }
}

TEST(NormOps, EmbedNormReadsTokenPositionAndRole) {
  const NormVectors norm = {at::randn({16}), at::randn({16}), 1e-12};
  const auto token = at::randn({9, 16}), position = at::randn({5, 16}), role = at::randn({2, 16});
  const auto found = embed_norm(ints({8, 0, 3}), ints({0, 9, 4}), token, position, role, norm);
  const auto sum = at::cat({token[8] + position[0] + role[0], token[0] + position[4] + role[1], token[3] + position[2] + role[0]});
  EXPECT_TRUE(at::allclose(found, at::layer_norm(sum.view({3, 16}), {16}, norm.gain, norm.shift, norm.eps), 1e-5, 1e-5));
}

TEST(NormOps, SegmentMeanOfNothingIsZero) {
  for (const Lengths& lengths : kShapes) {
    const auto offsets = offsets_of(lengths);
    const auto x = at::randn({offsets.back(), 8});
    const auto found = segment_mean(x, ints(offsets));
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      const auto expected = lengths[i] == 0 ? at::zeros({8}) : x.slice(0, offsets[i], offsets[i + 1]).mean(0);
      EXPECT_TRUE(at::allclose(found[static_cast<std::int64_t>(i)], expected, 1e-5, 1e-6));
    }
  }
}

TEST(SparseTop, HoldsTheRowsThatTheSparseHeadKeeps) {
  const Lengths offsets = offsets_of({1, 0, 130, 7});
  const auto states = at::randn({offsets.back(), 16}), table = at::randn({300, 16}), bias = at::randn({300}) - 2;
  for (const std::size_t top : {std::size_t{1}, std::size_t{20}, std::size_t{1000}}) {
    const auto expected = sparse_pool_rows(states, table, bias, offsets, top);
    const auto found = sparse_top(states, table, bias, offsets, top);
    ASSERT_EQ(found.weights.size(0), 4);
    for (std::int64_t text = 0; text < 4; ++text) {
      SparseVector row;
      for (std::int64_t k = 0; k < found.weights.size(1); ++k) {
        const float weight = found.weights[text][k].item<float>();
        if (weight > 0) row.push_back({found.pieces[text][k].item<int>(), weight});
      }
      const auto& wanted = expected[static_cast<std::size_t>(text)];
      ASSERT_EQ(row.size(), wanted.size());
      for (std::size_t k = 0; k < row.size(); ++k) {
        EXPECT_EQ(row[k].piece, wanted[k].piece);
        EXPECT_NEAR(row[k].weight, wanted[k].weight, 1e-5);
      }
    }
  }
}

TEST(PackedMaxsim, SumsTheLargestProductsAndIsZeroWithoutTokens) {
  const Lengths queries = {1, 33, 0}, documents = {0, 1, 513, 17, 0};
  const auto query_offsets = offsets_of(queries), document_offsets = offsets_of(documents);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const auto q = at::randn({query_offsets.back(), 12}).to(dtype), d = at::randn({document_offsets.back(), 12}).to(dtype);
    const auto scores = packed_maxsim(q, longs(query_offsets), d, longs(document_offsets));
    for (std::size_t i = 0; i < queries.size(); ++i) {
      for (std::size_t j = 0; j < documents.size(); ++j) {
        const auto own = [](const at::Tensor& x, const Lengths& offsets, std::size_t n) {
          return x.slice(0, offsets[n], offsets[n + 1]).to(at::kDouble);
        };
        double expected = 0;
        if (queries[i] > 0 && documents[j] > 0) {
          const auto products = at::matmul(own(q, query_offsets, i), own(d, document_offsets, j).t());
          expected = products.amax(1).sum().item<double>();
        }
        EXPECT_NEAR(scores[static_cast<std::int64_t>(i)][static_cast<std::int64_t>(j)].item<float>(), expected,
                    1e-4 * (1 + std::abs(expected)));
      }
    }
  }
}

}  // namespace
}  // namespace taesr
