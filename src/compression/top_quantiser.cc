#include "compression/top_quantiser.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string>

#include "taesr/errors.h"

namespace taesr {
namespace {

/// Codes come from files too: with more marks than values, what lies behind them would be read.
void check_marks(const std::uint8_t* marks, std::size_t bytes, std::size_t kept) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < bytes; ++i) count += static_cast<std::size_t>(std::popcount(marks[i]));
  if (count == kept) return;
  throw FormatError("a code marks " + std::to_string(count) + " dimensions instead of " +
                    std::to_string(kept) + ": it is damaged or another codec's");
}

class TopScorer : public Scorer {
 public:
  TopScorer(std::span<const float> query, std::size_t mark_bytes, std::size_t kept)
      : query_(query.begin(), query.end()), mark_bytes_(mark_bytes), kept_(kept) {
    query_.resize(8 * mark_bytes);
  }

  void score(const std::uint8_t* codes, std::size_t count, float* scores) const override {
    const CodeKernels& kernels = best_code_kernels();
    const std::size_t code_size = mark_bytes_ + kept_ + sizeof(float);
    for (std::size_t i = 0; i < count; ++i, codes += code_size) {
      const auto* values = reinterpret_cast<const std::int8_t*>(codes + mark_bytes_);
      float scale;
      std::memcpy(&scale, values + kept_, sizeof scale);
      check_marks(codes, mark_bytes_, kept_);
      scores[i] = scale * kernels.dot_marked(query_.data(), codes, mark_bytes_, values);
    }
  }

 private:
  std::vector<float> query_;  // filled up with zeros to whole bytes of marks
  std::size_t mark_bytes_;
  std::size_t kept_;
};

}  // namespace

void TopQuantiser::encode(const float* row, std::uint8_t* code) const {
  std::vector<std::uint32_t> order(dimension_);
  std::iota(order.begin(), order.end(), 0);
  std::nth_element(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept_ - 1), order.end(),
                   [&](std::uint32_t a, std::uint32_t b) {
                     const float x = std::abs(row[a]);
                     const float y = std::abs(row[b]);
                     return x != y ? x > y : a < b;
                   });
  order.resize(kept_);
  std::sort(order.begin(), order.end());
  float largest = 0;
  for (const std::uint32_t i : order) largest = std::max(largest, std::abs(row[i]));
  const float scale = largest / 127;
  std::memset(code, 0, mark_bytes());
  std::uint8_t* values = code + mark_bytes();
  for (const std::uint32_t i : order) {
    code[i / 8] |= static_cast<std::uint8_t>(1u << i % 8);
    const float level = scale > 0 ? std::clamp(std::nearbyint(row[i] / scale), -127.0F, 127.0F) : 0;
    *values++ = static_cast<std::uint8_t>(static_cast<std::int8_t>(level));
  }
  std::memcpy(values, &scale, sizeof scale);
}

void TopQuantiser::decode(const std::uint8_t* code, float* row) const {
  check_marks(code, mark_bytes(), kept_);
  std::fill(row, row + dimension_, 0.0F);
  const std::uint8_t* values = code + mark_bytes();
  float scale;
  std::memcpy(&scale, values + kept_, sizeof scale);
  for (std::size_t i = 0; i < dimension_; ++i) {
    if ((code[i / 8] >> i % 8 & 1) != 0) row[i] = scale * static_cast<std::int8_t>(*values++);
  }
}

std::unique_ptr<Scorer> TopQuantiser::scorer(std::span<const float> query) const {
  return std::make_unique<TopScorer>(query, mark_bytes(), kept_);
}

}  // namespace taesr
