#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "compression/codec_name.h"
#include "compression/kernels.h"
#include "core/byte_io.h"
#include "taesr/compression.h"
#include "taesr/matrix.h"

namespace taesr {

/// Scores codes against one query, which it holds in whatever form is quickest.
class Scorer {
 public:
  virtual ~Scorer() = default;
  /// Inner products of the query with `count` codes that stand one after the other.
  virtual void score(const std::uint8_t* codes, std::size_t count, float* scores) const = 0;
};

/// Turns rows of a fixed number of values into codes of a fixed number of bytes.
class Quantiser {
 public:
  virtual ~Quantiser() = default;
  [[nodiscard]] virtual std::size_t code_size() const = 0;
  virtual void encode(const float* row, std::uint8_t* code) const = 0;
  virtual void decode(const std::uint8_t* code, float* row) const = 0;
  [[nodiscard]] virtual std::unique_ptr<Scorer> scorer(std::span<const float> query) const = 0;
  virtual void write(ByteWriter& writer) const = 0;
};

[[nodiscard]] std::unique_ptr<Quantiser> fit_quantiser(const CodecName& name, const Matrix& sample,
                                                       const FitOptions& options);

/// What Quantiser::write wrote. Throws FormatError for what cannot be such a quantiser.
[[nodiscard]] std::unique_ptr<Quantiser> read_quantiser(const CodecName& name, ByteReader& reader);

/// `count` floats that are finite; FormatError otherwise.
[[nodiscard]] std::vector<float> read_finite(ByteReader& reader, std::size_t count);

}  // namespace taesr
