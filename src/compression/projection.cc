#include "compression/projection.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/mm.h>

#include "compression/product_quantiser.h"
#include "compression/quantiser.h"
#include "index/distance.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

void normalise(float* values, std::size_t n) {
  double squares = 0;
  for (std::size_t i = 0; i < n; ++i) squares += double{values[i]} * values[i];
  if (squares == 0) return;
  const auto factor = static_cast<float>(1 / std::sqrt(squares));
  for (std::size_t i = 0; i < n; ++i) values[i] *= factor;
}

std::vector<float> mean_of(const Matrix& rows) {
  std::vector<double> sums(rows.columns);
  for (std::size_t i = 0; i < rows.rows; ++i) {
    for (std::size_t j = 0; j < rows.columns; ++j) sums[j] += rows.values[i * rows.columns + j];
  }
  std::vector<float> mean(rows.columns);
  for (std::size_t j = 0; j < rows.columns; ++j) {
    mean[j] = static_cast<float>(sums[j] / static_cast<double>(rows.rows));
  }
  return mean;
}

/// Directions of `rows` around `mean` in rows [n, n], by falling variance, and the variances.
std::pair<at::Tensor, at::Tensor> principal_directions(const Matrix& rows, const std::vector<float>& mean) {
  const at::NoGradGuard no_grad;
  const auto n = static_cast<std::int64_t>(rows.rows);
  const auto width = static_cast<std::int64_t>(rows.columns);
  const at::Tensor values = at::from_blob(const_cast<float*>(rows.values.data()), {n, width}, at::kFloat);
  const at::Tensor centre = at::from_blob(const_cast<float*>(mean.data()), {1, width}, at::kFloat);
  const at::Tensor centred = values.to(at::kDouble).sub_(centre);
  const auto [variances, directions] = at::linalg_eigh(at::mm(centred.t(), centred).div_(static_cast<double>(n)));
  return {directions.t().flip({0}).contiguous(), variances.flip({0}).contiguous()};
}

/// An order of directions such that the products of the variances in all stretches are about equal, which
/// keeps the error of product quantisation small (Ge et al. 2013, eigenvalue allocation).
std::vector<std::size_t> balanced_order(const double* variances, std::size_t count, std::size_t stretches) {
  const std::vector<std::size_t> borders = stretch_borders(count, stretches);
  std::vector<std::vector<std::size_t>> chosen(stretches);
  std::vector<double> logarithms(stretches);
  for (std::size_t i = 0; i < count; ++i) {
    std::size_t best = stretches;
    for (std::size_t s = 0; s < stretches; ++s) {
      if (chosen[s].size() == borders[s + 1] - borders[s]) continue;
      if (best == stretches || logarithms[s] < logarithms[best]) best = s;
    }
    chosen[best].push_back(i);
    // Relative to the smallest variance that matters, so that logarithms rise with every direction.
    logarithms[best] += std::log(std::max(variances[i] / std::max(variances[0], 1e-300), 1e-12) * 1e12 + 1);
  }
  std::vector<std::size_t> order;
  for (const auto& stretch : chosen) order.insert(order.end(), stretch.begin(), stretch.end());
  return order;
}

/// Eigenvectors have no sign of their own: the value of largest magnitude is made positive.
void copy_direction(const double* direction, std::size_t n, float* row) {
  const auto larger = [](double a, double b) { return std::abs(a) < std::abs(b); };
  const double sign = *std::max_element(direction, direction + n, larger) < 0 ? -1 : 1;
  for (std::size_t i = 0; i < n; ++i) row[i] = static_cast<float>(sign * direction[i]);
}

}  // namespace

Projection::Projection(const CodecName& name, std::size_t dimension)
    : dimension_(dimension), prefix_(name.projection == ProjectionKind::kSlice ? name.projected : dimension),
      projected_(name.projected) {}

Projection Projection::fit(const CodecName& name, const Matrix& sample) {
  Projection fitted(name, sample.columns);
  if (!name.has_rotation()) return fitted;
  if (sample.rows < 2 || fitted.prefix_ > kMaxRotated) {
    throw InvalidArgument("pca and opq need 2 rows or more, of at most " + std::to_string(kMaxRotated) +
                          " dimensions, not [" + std::to_string(sample.rows) + ", " +
                          std::to_string(fitted.prefix_) + "]");
  }
  Matrix prefixes(sample.rows, fitted.prefix_);
  for (std::size_t i = 0; i < sample.rows; ++i) fitted.project(sample.row(i).data(), prefixes.row(i).data());
  fitted.fit_rotation(name, prefixes);
  return fitted;
}

void Projection::fit_rotation(const CodecName& name, const Matrix& prefixes) {
  mean_ = mean_of(prefixes);
  const auto [directions, variances] = principal_directions(prefixes, mean_);
  rotation_.resize(projected_ * prefix_);
  std::vector<std::size_t> order(projected_);
  for (std::size_t i = 0; i < projected_; ++i) order[i] = i;
  if (name.rotated) order = balanced_order(variances.const_data_ptr<double>(), projected_, name.count);
  const double* values = directions.const_data_ptr<double>();
  for (std::size_t i = 0; i < projected_; ++i) {
    copy_direction(values + order[i] * prefix_, prefix_, rotation_.data() + i * prefix_);
  }
}

Projection Projection::read(const CodecName& name, std::size_t dimension, ByteReader& reader) {
  Projection read(name, dimension);
  if (!name.has_rotation()) return read;
  if (read.prefix_ > kMaxRotated) reader.fail("has a rotation of too many dimensions");
  read.mean_ = read_finite(reader, read.prefix_);
  read.rotation_ = read_finite(reader, read.projected_ * read.prefix_);
  return read;
}

void Projection::write(ByteWriter& writer) const {
  writer.put_all(mean_.data(), mean_.size());
  writer.put_all(rotation_.data(), rotation_.size());
}

void Projection::project(const float* row, float* projected) const {
  std::vector<float> prefix(row, row + prefix_);
  if (prefix_ < dimension_) normalise(prefix.data(), prefix_);
  if (rotation_.empty()) {
    std::memcpy(projected, prefix.data(), prefix_ * sizeof(float));
    return;
  }
  const InnerProduct inner_product = best_inner_product();
  for (std::size_t i = 0; i < prefix_; ++i) prefix[i] -= mean_[i];
  for (std::size_t i = 0; i < projected_; ++i) {
    projected[i] = inner_product(prefix.data(), rotation_.data() + i * prefix_, prefix_);
  }
}

std::vector<float> Projection::project_query(std::span<const float> query, float& constant) const {
  constant = 0;
  if (rotation_.empty()) return {query.begin(), query.begin() + static_cast<std::ptrdiff_t>(prefix_)};
  const InnerProduct inner_product = best_inner_product();
  constant = inner_product(query.data(), mean_.data(), prefix_);
  std::vector<float> projected(projected_);
  for (std::size_t i = 0; i < projected_; ++i) {
    projected[i] = inner_product(query.data(), rotation_.data() + i * prefix_, prefix_);
  }
  return projected;
}

void Projection::restore(const float* projected, float* row) const {
  std::fill(row, row + dimension_, 0.0F);
  if (rotation_.empty()) {
    std::memcpy(row, projected, prefix_ * sizeof(float));
    return;
  }
  std::memcpy(row, mean_.data(), prefix_ * sizeof(float));
  for (std::size_t i = 0; i < projected_; ++i) {
    for (std::size_t j = 0; j < prefix_; ++j) row[j] += projected[i] * rotation_[i * prefix_ + j];
  }
}

}  // namespace taesr
