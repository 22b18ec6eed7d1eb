#include "compression/product_quantiser.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <thread>

#include "core/parallel.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr std::size_t kCentroids = ProductQuantiser::kCentroids;

void set_offsets(const float* columns, std::size_t width, float* offsets) {
  std::fill(offsets, offsets + kCentroids, 0.0F);
  for (std::size_t i = 0; i < width; ++i) {
    for (std::size_t j = 0; j < kCentroids; ++j) {
      const float value = columns[kCentroids * i + j];
      offsets[j] -= 0.5F * value * value;
    }
  }
}

/// The nearest centroid is that of the largest x . c - |c|^2 / 2.
std::uint8_t nearest(const float* x, const float* columns, std::size_t width, const float* offsets) {
  float products[kCentroids];
  best_code_kernels().products_256(x, columns, width, offsets, products);
  return static_cast<std::uint8_t>(std::max_element(products, products + kCentroids) - products);
}

/// Lloyd's k-means on the dimensions [begin, begin + width) of a sample.
class KMeans {
 public:
  KMeans(const Matrix& sample, std::size_t begin, std::size_t width, float* columns)
      : sample_(sample), begin_(begin), width_(width), columns_(columns), assigned_(sample.rows) {}

  void run(std::size_t iterations, std::uint64_t seed) {
    start(seed);
    for (std::size_t i = 0; i < iterations; ++i) {
      if (!assign() && i > 0) return;
      move();
    }
  }

 private:
  [[nodiscard]] const float* row(std::size_t i) const {
    return sample_.values.data() + i * sample_.columns + begin_;
  }

  /// Rows drawn at random, each once.
  void start(std::uint64_t seed) {
    std::vector<std::uint32_t> order(sample_.rows);
    std::iota(order.begin(), order.end(), 0);
    std::mt19937_64 random(seed);
    for (std::size_t j = 0; j < kCentroids; ++j) {
      std::swap(order[j], order[j + random() % (order.size() - j)]);
      for (std::size_t i = 0; i < width_; ++i) columns_[kCentroids * i + j] = row(order[j])[i];
    }
  }

  /// Whether a row has a centroid that it did not have before.
  bool assign() {
    float offsets[kCentroids];
    set_offsets(columns_, width_, offsets);
    bool changed = false;
    for (std::size_t i = 0; i < sample_.rows; ++i) {
      const std::uint8_t centroid = nearest(row(i), columns_, width_, offsets);
      changed = changed || centroid != assigned_[i];
      assigned_[i] = centroid;
    }
    return changed;
  }

  /// To the means of their rows. A centroid without rows goes beside that with the most.
  void move() {
    std::vector<double> sums(kCentroids * width_);
    std::vector<std::size_t> counts(kCentroids);
    for (std::size_t i = 0; i < sample_.rows; ++i) {
      const std::size_t centroid = assigned_[i];
      ++counts[centroid];
      for (std::size_t d = 0; d < width_; ++d) sums[centroid * width_ + d] += row(i)[d];
    }
    for (std::size_t j = 0; j < kCentroids; ++j) {
      for (std::size_t d = 0; counts[j] > 0 && d < width_; ++d) {
        const double mean = sums[j * width_ + d] / static_cast<double>(counts[j]);
        columns_[kCentroids * d + j] = static_cast<float>(mean);
      }
    }
    for (std::size_t j = 0; j < kCentroids; ++j) {
      if (counts[j] > 0) continue;
      const auto largest =
          static_cast<std::size_t>(std::max_element(counts.begin(), counts.end()) - counts.begin());
      counts[j] = counts[largest] / 2;
      counts[largest] -= counts[j];
      for (std::size_t d = 0; d < width_; ++d) {
        float& value = columns_[kCentroids * d + largest];
        columns_[kCentroids * d + j] = value * (1 + 1.0F / 1024);
        value *= 1 - 1.0F / 1024;
      }
    }
  }

  const Matrix& sample_;
  std::size_t begin_;
  std::size_t width_;
  float* columns_;
  std::vector<std::uint8_t> assigned_;
};

class ProductScorer : public Scorer {
 public:
  explicit ProductScorer(std::vector<float> table) : table_(std::move(table)) {}
  void score(const std::uint8_t* codes, std::size_t count, float* scores) const override {
    const CodeKernels& kernels = best_code_kernels();
    const std::size_t stretches = table_.size() / kCentroids;
    for (std::size_t i = 0; i < count; ++i, codes += stretches) {
      scores[i] = kernels.sum_of_table(table_.data(), codes, stretches);
    }
  }

 private:
  std::vector<float> table_;  // [stretches, 256]: products of the query with the centroids
};

}  // namespace

std::vector<std::size_t> stretch_borders(std::size_t dimension, std::size_t count) {
  std::vector<std::size_t> borders(count + 1);
  for (std::size_t i = 0; i <= count; ++i) borders[i] = i * dimension / count;
  return borders;
}

ProductQuantiser::ProductQuantiser(std::size_t dimension, std::size_t stretches)
    : borders_(stretch_borders(dimension, stretches)), columns_(kCentroids * dimension),
      offsets_(kCentroids * stretches) {}

void ProductQuantiser::update_offsets() {
  for (std::size_t s = 0; s < code_size(); ++s) {
    set_offsets(columns(s), borders_[s + 1] - borders_[s], offsets_.data() + kCentroids * s);
  }
}

ProductQuantiser ProductQuantiser::fit(const Matrix& sample, std::size_t stretches,
                                       const FitOptions& options) {
  if (sample.rows < kCentroids) {
    throw InvalidArgument("product quantisation needs at least 256 rows to be fitted to, not " +
                          std::to_string(sample.rows) + "; give more, or use int8 or int4");
  }
  ProductQuantiser fitted(sample.columns, stretches);
  parallel_for(0, stretches, std::thread::hardware_concurrency(), [&](std::size_t s) {
    const std::size_t begin = fitted.borders_[s];
    KMeans(sample, begin, fitted.borders_[s + 1] - begin, fitted.columns(s))
        .run(options.iterations, options.seed + s);
  });
  fitted.update_offsets();
  return fitted;
}

ProductQuantiser ProductQuantiser::read(std::size_t dimension, std::size_t stretches, ByteReader& reader) {
  std::vector<float> columns = read_finite(reader, kCentroids * dimension);
  ProductQuantiser read(dimension, stretches);
  read.columns_ = std::move(columns);
  read.update_offsets();
  return read;
}

void ProductQuantiser::write(ByteWriter& writer) const { writer.put_all(columns_.data(), columns_.size()); }

void ProductQuantiser::encode(const float* row, std::uint8_t* code) const {
  for (std::size_t s = 0; s < code_size(); ++s) {
    code[s] = nearest(row + borders_[s], columns(s), borders_[s + 1] - borders_[s],
                      offsets_.data() + kCentroids * s);
  }
}

void ProductQuantiser::decode(const std::uint8_t* code, float* row) const {
  for (std::size_t s = 0; s < code_size(); ++s) {
    for (std::size_t i = borders_[s]; i < borders_[s + 1]; ++i) row[i] = columns_[kCentroids * i + code[s]];
  }
}

std::unique_ptr<Scorer> ProductQuantiser::scorer(std::span<const float> query) const {
  const std::vector<float> zeros(kCentroids);
  std::vector<float> table(kCentroids * code_size());
  for (std::size_t s = 0; s < code_size(); ++s) {
    best_code_kernels().products_256(query.data() + borders_[s], columns(s), borders_[s + 1] - borders_[s],
                                     zeros.data(), table.data() + kCentroids * s);
  }
  return std::make_unique<ProductScorer>(std::move(table));
}

}  // namespace taesr
