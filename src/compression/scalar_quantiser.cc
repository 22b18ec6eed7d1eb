#include "compression/scalar_quantiser.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace taesr {
namespace {

constexpr float kSmallestStep = 1e-30F;  // of dimensions without variance; its inverse is still a float

/// The largest level; the smallest is its negative.
float last_level(QuantiserKind kind) {
  if (kind == QuantiserKind::kInt8) return 127;
  return kind == QuantiserKind::kInt4 ? 7.5F : 1;
}

/// The level nearest to `value`, which is given in steps from the centre.
float nearest_level(QuantiserKind kind, float value) {
  const float last = last_level(kind);
  if (kind == QuantiserKind::kInt8) return std::clamp(std::nearbyint(value), -last, last);
  if (kind == QuantiserKind::kInt4) return std::clamp(std::floor(value) + 0.5F, -last, last);
  return value > 0 ? 1.0F : -1.0F;
}

double squared_error(QuantiserKind kind, std::span<const float> deviations, float step) {
  double total = 0;
  const float per_step = 1 / step;
  for (const float deviation : deviations) {
    const float error = deviation - step * nearest_level(kind, deviation * per_step);
    total += double{error} * error;
  }
  return total;
}

/// Rare large values are worth cutting off when that makes the steps between all others smaller.
float fit_step(QuantiserKind kind, std::span<const float> deviations) {
  double magnitudes = 0;
  float largest = 0;
  for (const float deviation : deviations) {
    magnitudes += std::abs(deviation);
    largest = std::max(largest, std::abs(deviation));
  }
  if (kind == QuantiserKind::kBinary) {  // the mean magnitude is the best step in closed form
    return std::max(static_cast<float>(magnitudes / static_cast<double>(deviations.size())), kSmallestStep);
  }
  constexpr int kTries = 14;
  float best = 0;
  double least = 0;
  for (int i = 0; i < kTries; ++i) {
    const float range = largest * (1 - 0.05F * static_cast<float>(i));
    const float step = std::max(range / last_level(kind), kSmallestStep);
    const double error = squared_error(kind, deviations, step);
    if (i > 0 && error >= least) continue;
    least = error;
    best = step;
  }
  return best;
}

/// score = constant + (sum of weights * codes), by one of the kernels.
class ScalarScorer : public Scorer {
 public:
  ScalarScorer(QuantiserKind kind, std::size_t code_size, std::vector<float> weights, float constant)
      : kind_(kind), code_size_(code_size), weights_(std::move(weights)), constant_(constant) {}

  void score(const std::uint8_t* codes, std::size_t count, float* scores) const override {
    const CodeKernels& kernels = best_code_kernels();
    for (std::size_t i = 0; i < count; ++i, codes += code_size_) scores[i] = constant_ + product(kernels, codes);
  }

 private:
  [[nodiscard]] float product(const CodeKernels& kernels, const std::uint8_t* code) const {
    if (kind_ == QuantiserKind::kInt8) {
      return kernels.dot_int8(weights_.data(), reinterpret_cast<const std::int8_t*>(code), code_size_);
    }
    if (kind_ == QuantiserKind::kInt4) return kernels.dot_int4(weights_.data(), code, code_size_);
    return kernels.dot_bits(weights_.data(), code, code_size_);
  }

  QuantiserKind kind_;
  std::size_t code_size_;
  std::vector<float> weights_;  // filled up with zeros to whole bytes of codes
  float constant_;
};

}  // namespace

ScalarQuantiser ScalarQuantiser::fit(QuantiserKind kind, const Matrix& sample) {
  std::vector<float> centres(sample.columns);
  std::vector<float> steps(sample.columns);
  std::vector<float> deviations(sample.rows);
  for (std::size_t j = 0; j < sample.columns; ++j) {
    double sum = 0;
    for (std::size_t i = 0; i < sample.rows; ++i) sum += sample.values[i * sample.columns + j];
    centres[j] = static_cast<float>(sum / static_cast<double>(sample.rows));
    for (std::size_t i = 0; i < sample.rows; ++i)
      deviations[i] = sample.values[i * sample.columns + j] - centres[j];
    steps[j] = fit_step(kind, deviations);
  }
  return {kind, std::move(centres), std::move(steps)};
}

ScalarQuantiser ScalarQuantiser::read(QuantiserKind kind, std::size_t dimension, ByteReader& reader) {
  std::vector<float> centres = read_finite(reader, dimension);
  std::vector<float> steps = read_finite(reader, dimension);
  for (const float step : steps) {
    if (step < kSmallestStep) reader.fail("has a step that is not above zero");
  }
  return {kind, std::move(centres), std::move(steps)};
}

void ScalarQuantiser::write(ByteWriter& writer) const {
  writer.put_all(centres_.data(), centres_.size());
  writer.put_all(steps_.data(), steps_.size());
}

std::size_t ScalarQuantiser::code_size() const {
  if (kind_ == QuantiserKind::kInt8) return dimension();
  return kind_ == QuantiserKind::kInt4 ? (dimension() + 1) / 2 : (dimension() + 7) / 8;
}

void ScalarQuantiser::encode(const float* row, std::uint8_t* code) const {
  const std::size_t bytes = code_size();
  std::memset(code, 0, bytes);
  for (std::size_t i = 0; i < dimension(); ++i) {
    const float level = nearest_level(kind_, (row[i] - centres_[i]) / steps_[i]);
    if (kind_ == QuantiserKind::kInt8) {
      code[i] = static_cast<std::uint8_t>(static_cast<std::int8_t>(level));
    } else if (kind_ == QuantiserKind::kInt4) {
      code[i % bytes] |= static_cast<std::uint8_t>(static_cast<int>(level + 7.5F) << (i < bytes ? 0 : 4));
    } else if (level > 0) {
      code[i / 8] |= static_cast<std::uint8_t>(1u << i % 8);
    }
  }
}

void ScalarQuantiser::decode(const std::uint8_t* code, float* row) const {
  const std::size_t bytes = code_size();
  for (std::size_t i = 0; i < dimension(); ++i) {
    float level = 0;
    if (kind_ == QuantiserKind::kInt8) {
      level = static_cast<std::int8_t>(code[i]);
    } else if (kind_ == QuantiserKind::kInt4) {
      level = static_cast<float>(code[i % bytes] >> (i < bytes ? 0 : 4) & 15) - 7.5F;
    } else {
      level = (code[i / 8] >> i % 8 & 1) != 0 ? 1.0F : -1.0F;
    }
    row[i] = centres_[i] + steps_[i] * level;
  }
}

std::unique_ptr<Scorer> ScalarQuantiser::scorer(std::span<const float> query) const {
  const std::size_t per_byte = kind_ == QuantiserKind::kInt8 ? 1 : kind_ == QuantiserKind::kInt4 ? 2 : 8;
  std::vector<float> weights(per_byte * code_size());
  double constant = 0;  // the product with what codes of zeros stand for
  for (std::size_t i = 0; i < dimension(); ++i) {
    weights[i] = query[i] * steps_[i];
    constant += double{query[i]} * centres_[i];
    if (kind_ == QuantiserKind::kInt4) constant -= 7.5 * weights[i];
    if (kind_ == QuantiserKind::kBinary) constant -= weights[i];
    if (kind_ == QuantiserKind::kBinary) weights[i] *= 2;
  }
  return std::make_unique<ScalarScorer>(kind_, code_size(), std::move(weights), static_cast<float>(constant));
}

}  // namespace taesr
