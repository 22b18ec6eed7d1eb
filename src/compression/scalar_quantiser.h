#pragma once

#include <vector>

#include "compression/quantiser.h"

namespace taesr {

/// Evenly spaced levels for each dimension: a value is centre + step * level, where levels are
/// -127 to 127 (int8), -7.5 to 7.5 (int4) or -1 and 1 (binary).
class ScalarQuantiser : public Quantiser {
 public:
  /// Centres are means; steps are those, of a few, with the least squared error on `sample`.
  [[nodiscard]] static ScalarQuantiser fit(QuantiserKind kind, const Matrix& sample);
  [[nodiscard]] static ScalarQuantiser read(QuantiserKind kind, std::size_t dimension, ByteReader& reader);

  [[nodiscard]] std::size_t code_size() const override;
  void encode(const float* row, std::uint8_t* code) const override;
  void decode(const std::uint8_t* code, float* row) const override;
  [[nodiscard]] std::unique_ptr<Scorer> scorer(std::span<const float> query) const override;
  void write(ByteWriter& writer) const override;

 private:
  ScalarQuantiser(QuantiserKind kind, std::vector<float> centres, std::vector<float> steps)
      : kind_(kind), centres_(std::move(centres)), steps_(std::move(steps)) {}
  [[nodiscard]] std::size_t dimension() const { return centres_.size(); }

  QuantiserKind kind_;
  std::vector<float> centres_;
  std::vector<float> steps_;  // above zero
};

}  // namespace taesr
