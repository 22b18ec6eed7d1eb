#include "decoder/linear.h"

#include <algorithm>

#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>
#include <c10/core/InferenceMode.h>

namespace taesr {
namespace {

class FloatLinear final : public Linear {
 public:
  explicit FloatLinear(const StoredMatrix& matrix)
      : Linear(matrix.columns, matrix.rows), weight_(matrix.values()) {}

  void apply(const float* x, std::int64_t rows, float* y) const override {
    const c10::InferenceMode guard;
    // from_blob takes no pointers to constants; mm only reads these two.
    const at::Tensor inputs = at::from_blob(const_cast<float*>(x), {rows, in()}, at::kFloat);
    const at::Tensor weight = at::from_blob(const_cast<float*>(weight_.data()), {out(), in()}, at::kFloat);
    at::Tensor outputs = at::from_blob(y, {rows, out()}, at::kFloat);
    at::mm_out(outputs, inputs, weight.t());
  }

  void read_row(std::int64_t row, float* values) const override {
    std::copy_n(weight_.data() + row * in(), in(), values);
  }

  [[nodiscard]] std::size_t bytes() const override { return weight_.size() * sizeof(float); }

 private:
  std::vector<float> weight_;  // [out, in]
};

}  // namespace

std::vector<float> StoredMatrix::values() const {
  std::vector<float> values(static_cast<std::size_t>(rows * columns));
  dequantise(type, bytes, values);
  return values;
}

std::unique_ptr<Linear> make_float_linear(const StoredMatrix& matrix) {
  return std::make_unique<FloatLinear>(matrix);
}

}  // namespace taesr
