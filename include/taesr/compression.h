#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "taesr/export.h"
#include "taesr/matrix.h"

namespace taesr {

/// How a codec is fitted.
struct FitOptions {
  std::uint64_t seed = 1;           // of the start of k-means
  std::size_t iterations = 20;      // of k-means, 1 to 1000
  std::size_t max_rows = 16384;     // of the sample that are looked at, evenly spread; at least 256
};

/// Turns vectors of one dimension into codes of a fixed number of bytes, scored without decoding.
///
/// A codec's name is a kind, after an optional "sliceN-" (the first N dimensions, made unit length again:
/// Matryoshka) or "pcaN-" (the N directions of largest variance, 1 <= N <= dimension):
///
///   float32    4 bytes a dimension
///   float16    2 bytes a dimension, values from -65504 to 65504
///   int8       1 byte a dimension
///   int4       half a byte a dimension
///   binary     1 bit a dimension
///   pqM        M bytes: product quantisation (Jegou et al. 2011), 256 centroids for each of M stretches
///   opqM       the same after a rotation that balances the stretches (Ge et al. 2013)
///   topS       the S values of largest magnitude: a bit a dimension, S bytes and a scale
///
/// int8, int4 and binary have a centre and a step for each dimension, fitted to the sample; values outside
/// of its range become the nearest that has a code.
///
/// Scores are inner products of the float32 query with the decoded vectors.
/// Thread safety: const methods may be called concurrently.
class TAESR_API VectorCodec {
 public:
  /// Fits the codec called `name` to rows like those that it is for. Throws InvalidArgument for a name that
  /// is none, for values that are not finite, and for fewer rows than the kind needs (pq and opq: 256,
  /// pca: 2, others: 1).
  [[nodiscard]] static VectorCodec fit(const std::string& name, const Matrix& sample,
                                       const FitOptions& options = {});

  /// What `save` returned. `source` is for messages. Throws FormatError, VersionError or ChecksumError.
  [[nodiscard]] static VectorCodec load(std::string_view bytes, const std::string& source = "codec");
  [[nodiscard]] std::string save() const;

  ~VectorCodec();
  VectorCodec(VectorCodec&&) noexcept;
  VectorCodec& operator=(VectorCodec&&) noexcept;

  /// As given to `fit`.
  [[nodiscard]] const std::string& name() const;
  /// Values of a vector.
  [[nodiscard]] std::size_t dimension() const;
  /// Bytes of a code.
  [[nodiscard]] std::size_t code_size() const;

  /// Codes of `rows` [n, dimension], n * code_size bytes. Throws InvalidArgument for another dimension and
  /// for values that are not finite or that float16 cannot hold.
  [[nodiscard]] std::vector<std::uint8_t> encode(const Matrix& rows) const;

  /// Approximations [n, dimension]; dimensions that a slice leaves out are zero.
  [[nodiscard]] Matrix decode(std::span<const std::uint8_t> codes) const;

  /// Inner products of `query` with all codes.
  [[nodiscard]] std::vector<float> score(std::span<const float> query,
                                         std::span<const std::uint8_t> codes) const;

  /// Positions and scores of the k best codes, best first, equal ones in order of position.
  ///
  /// With `rescore` above 0, which binary codecs alone allow, only the rescore * k codes with the fewest
  /// bits that differ from the query's are scored (Yamada et al. 2021, arXiv 2106.00882).
  [[nodiscard]] std::vector<std::pair<std::uint32_t, float>> search(std::span<const float> query,
                                                                    std::span<const std::uint8_t> codes,
                                                                    std::size_t k,
                                                                    std::size_t rescore = 0) const;

 private:
  struct Impl;
  explicit VectorCodec(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace taesr
