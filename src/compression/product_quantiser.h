#pragma once

#include <vector>

#include "compression/quantiser.h"

namespace taesr {

/// First dimension of each of `count` stretches of `dimension` values, and its end; lengths differ by at
/// most one.
[[nodiscard]] std::vector<std::size_t> stretch_borders(std::size_t dimension, std::size_t count);

/// Product quantisation (Jegou, Douze and Schmid 2011): a byte for each stretch of dimensions, the number of
/// the nearest of 256 centroids.
class ProductQuantiser : public Quantiser {
 public:
  static constexpr std::size_t kCentroids = 256;

  /// Throws InvalidArgument for fewer than 256 rows.
  [[nodiscard]] static ProductQuantiser fit(const Matrix& sample, std::size_t stretches,
                                            const FitOptions& options);
  [[nodiscard]] static ProductQuantiser read(std::size_t dimension, std::size_t stretches, ByteReader& reader);

  [[nodiscard]] std::size_t code_size() const override { return borders_.size() - 1; }
  void encode(const float* row, std::uint8_t* code) const override;
  void decode(const std::uint8_t* code, float* row) const override;
  [[nodiscard]] std::unique_ptr<Scorer> scorer(std::span<const float> query) const override;
  void write(ByteWriter& writer) const override;

 private:
  ProductQuantiser(std::size_t dimension, std::size_t stretches);
  /// Where the centroids of a stretch begin.
  [[nodiscard]] float* columns(std::size_t stretch) { return columns_.data() + kCentroids * borders_[stretch]; }
  [[nodiscard]] const float* columns(std::size_t stretch) const {
    return columns_.data() + kCentroids * borders_[stretch];
  }
  void update_offsets();

  std::vector<std::size_t> borders_;
  std::vector<float> columns_;  // [dimension, 256]: a value of all centroids of its stretch
  std::vector<float> offsets_;  // [stretches, 256]: minus half of a centroid's squared length
};

}  // namespace taesr
