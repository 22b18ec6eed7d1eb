#include "kernels/windowed_attention.h"

#include <vector>

#include <gtest/gtest.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>

namespace taesr {
namespace {

constexpr std::int64_t kHeads = 3;
constexpr std::int64_t kHidden = 24;

/// Each sequence alone, by ATen.
at::Tensor one_by_one(const at::Tensor& qkv, const std::vector<std::int64_t>& offsets) {
  std::vector<at::Tensor> rows;
  for (std::size_t i = 1; i < offsets.size(); ++i) {
    const auto parts = qkv.slice(0, offsets[i - 1] - offsets[0], offsets[i] - offsets[0])
                           .view({-1, 3, kHeads, kHidden / kHeads})
                           .permute({1, 2, 0, 3})
                           .unsqueeze(1);
    rows.push_back(at::scaled_dot_product_attention(parts[0], parts[1], parts[2]).squeeze(0).transpose(0, 1).reshape({-1, kHidden}));
  }
  return at::cat(rows);
}

void expect_equal_to_one_by_one(const std::vector<std::int64_t>& offsets) {
  const auto windows = AttentionWindows::plan(offsets, at::kCPU);
  auto qkv = at::randn({offsets.back() - offsets.front(), 3 * kHidden}, at::kDouble).requires_grad_(true);
  auto twin = qkv.detach().clone().requires_grad_(true);
  const auto weight = at::randn({qkv.size(0), kHidden}, at::kDouble);

  const auto found = windowed_attention(qkv, windows, windows.mask(at::kDouble), kHeads);
  const auto expected = one_by_one(twin, offsets);
  EXPECT_TRUE(at::allclose(found, expected, 1e-9, 1e-12));
  (found * weight).sum().backward();
  (expected * weight).sum().backward();
  EXPECT_TRUE(at::allclose(qkv.grad(), twin.grad(), 1e-9, 1e-12));
}

TEST(WindowedAttention, EqualsAttentionOfEachSequenceAlone) { expect_equal_to_one_by_one({0, 1, 18, 30, 95, 180, 181, 300}); }

TEST(WindowedAttention, TakesOneTokenAndExactlyFullWindows) {
  expect_equal_to_one_by_one({0, 1});
  expect_equal_to_one_by_one({0, 128});
  expect_equal_to_one_by_one({0, 128, 256, 257});
}

TEST(WindowedAttention, CountsTokensFromTheFirstOffset) { expect_equal_to_one_by_one({500, 507, 600, 603}); }

TEST(WindowedAttention, PacksNeighboursIntoOneWindow) {
  const auto windows = AttentionWindows::plan(std::vector<std::int64_t>{0, 60, 120, 180}, at::kCPU);
  EXPECT_EQ(windows.groups.size(0), 2);  // 60 + 60, then 60
  EXPECT_EQ(windows.slots.size(0), 2 * AttentionWindows::kWidth);
}

}  // namespace
}  // namespace taesr
