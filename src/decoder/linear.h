#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "checkpoint/ggml_blocks.h"

namespace taesr {

/// A matrix as a file stores it, row after row.
struct StoredMatrix {
  GgmlType type = GgmlType::kF32;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::vector<std::byte> bytes;

  [[nodiscard]] std::size_t row_bytes() const {
    return static_cast<std::size_t>(columns) / values_per_block(type) * bytes_per_block(type);
  }
  /// All values, row after row.
  [[nodiscard]] std::vector<float> values() const;
};

/// A matrix product without offsets, weights of any storage. Const methods are safe concurrently.
class Linear {
 public:
  virtual ~Linear() = default;

  [[nodiscard]] std::int64_t in() const { return in_; }
  [[nodiscard]] std::int64_t out() const { return out_; }
  /// y = x W^T. x [rows, in], y [rows, out].
  virtual void apply(const float* x, std::int64_t rows, float* y) const = 0;
  /// One row of W [in]: with a token table as W, the embedding of a token.
  virtual void read_row(std::int64_t row, float* values) const = 0;
  /// Memory of the weights.
  [[nodiscard]] virtual std::size_t bytes() const = 0;

 protected:
  Linear(std::int64_t in, std::int64_t out) : in_(in), out_(out) {}

 private:
  std::int64_t in_;
  std::int64_t out_;
};

/// With weights in float32.
[[nodiscard]] std::unique_ptr<Linear> make_float_linear(const StoredMatrix& matrix);

}  // namespace taesr
