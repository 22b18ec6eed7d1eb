#include "compression/float_quantiser.h"

#include <cmath>
#include <cstring>
#include <string>

#include <c10/util/Half.h>

#include "index/distance.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

class Float32Scorer : public Scorer {
 public:
  explicit Float32Scorer(std::span<const float> query) : query_(query.begin(), query.end()) {}
  void score(const std::uint8_t* codes, std::size_t count, float* scores) const override {
    const InnerProduct inner_product = best_inner_product();
    for (std::size_t i = 0; i < count; ++i) {
      const auto* row = reinterpret_cast<const float*>(codes + 4 * query_.size() * i);
      scores[i] = inner_product(query_.data(), row, query_.size());
    }
  }

 private:
  std::vector<float> query_;
};

class Float16Scorer : public Scorer {
 public:
  explicit Float16Scorer(std::span<const float> query) : query_(query.begin(), query.end()) {}
  void score(const std::uint8_t* codes, std::size_t count, float* scores) const override {
    const CodeKernels& kernels = best_code_kernels();
    for (std::size_t i = 0; i < count; ++i) {
      const auto* row = reinterpret_cast<const std::uint16_t*>(codes + 2 * query_.size() * i);
      scores[i] = kernels.dot_half(query_.data(), row, query_.size());
    }
  }

 private:
  std::vector<float> query_;
};

}  // namespace

void Float32Quantiser::encode(const float* row, std::uint8_t* code) const {
  std::memcpy(code, row, code_size());
}

void Float32Quantiser::decode(const std::uint8_t* code, float* row) const {
  std::memcpy(row, code, code_size());
}

std::unique_ptr<Scorer> Float32Quantiser::scorer(std::span<const float> query) const {
  return std::make_unique<Float32Scorer>(query);
}

void Float16Quantiser::encode(const float* row, std::uint8_t* code) const {
  for (std::size_t i = 0; i < dimension_; ++i) {
    const std::uint16_t half = c10::detail::fp16_ieee_from_fp32_value(row[i]);
    if ((half & 0x7c00) == 0x7c00) {
      throw InvalidArgument("value " + std::to_string(row[i]) + " of dimension " + std::to_string(i) +
                            " is outside of float16's range, -65504 to 65504; scale the vectors or use float32");
    }
    std::memcpy(code + 2 * i, &half, 2);
  }
}

void Float16Quantiser::decode(const std::uint8_t* code, float* row) const {
  for (std::size_t i = 0; i < dimension_; ++i) {
    std::uint16_t half;
    std::memcpy(&half, code + 2 * i, 2);
    row[i] = c10::detail::fp16_ieee_to_fp32_value(half);
  }
}

std::unique_ptr<Scorer> Float16Quantiser::scorer(std::span<const float> query) const {
  return std::make_unique<Float16Scorer>(query);
}

}  // namespace taesr
