#pragma once

#include "compression/quantiser.h"

namespace taesr {

/// The values themselves.
class Float32Quantiser : public Quantiser {
 public:
  explicit Float32Quantiser(std::size_t dimension) : dimension_(dimension) {}
  [[nodiscard]] std::size_t code_size() const override { return 4 * dimension_; }
  void encode(const float* row, std::uint8_t* code) const override;
  void decode(const std::uint8_t* code, float* row) const override;
  [[nodiscard]] std::unique_ptr<Scorer> scorer(std::span<const float> query) const override;
  void write(ByteWriter& /*writer*/) const override {}

 private:
  std::size_t dimension_;
};

/// IEEE 754 binary16.
class Float16Quantiser : public Quantiser {
 public:
  explicit Float16Quantiser(std::size_t dimension) : dimension_(dimension) {}
  [[nodiscard]] std::size_t code_size() const override { return 2 * dimension_; }
  /// Throws InvalidArgument for values that round to infinity.
  void encode(const float* row, std::uint8_t* code) const override;
  void decode(const std::uint8_t* code, float* row) const override;
  [[nodiscard]] std::unique_ptr<Scorer> scorer(std::span<const float> query) const override;
  void write(ByteWriter& /*writer*/) const override {}

 private:
  std::size_t dimension_;
};

}  // namespace taesr
