#pragma once

#include "compression/quantiser.h"

namespace taesr {

/// The values of largest magnitude: a bit for each dimension, then int8 values in the order of the bits that
/// are set, then the float32 that they are multiples of.
class TopQuantiser : public Quantiser {
 public:
  TopQuantiser(std::size_t dimension, std::size_t kept) : dimension_(dimension), kept_(kept) {}
  [[nodiscard]] std::size_t code_size() const override { return mark_bytes() + kept_ + sizeof(float); }
  void encode(const float* row, std::uint8_t* code) const override;
  void decode(const std::uint8_t* code, float* row) const override;
  [[nodiscard]] std::unique_ptr<Scorer> scorer(std::span<const float> query) const override;
  void write(ByteWriter& /*writer*/) const override {}

 private:
  [[nodiscard]] std::size_t mark_bytes() const { return (dimension_ + 7) / 8; }

  std::size_t dimension_;
  std::size_t kept_;
};

}  // namespace taesr
