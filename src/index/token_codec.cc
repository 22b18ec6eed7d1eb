#include "index/token_codec.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/from_blob.h>
#include <c10/util/Half.h>

#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr float kLevels[4] = {-1.510F, -0.4528F, 0.4528F, 1.510F};  // Max 1960, table I, for four levels
constexpr float kBorder = 0.9816F;                                  // between the inner and the outer ones
constexpr float kSmallestStep = 1e-6F;
constexpr float kLargestValue = 1000;
constexpr std::int64_t kRowsAtOnce = 2048;

void check_tokens(const Matrix& tokens, std::size_t dimension) {
  if (tokens.columns != dimension) {
    throw InvalidArgument("token vectors have " + std::to_string(tokens.columns) + " values; this codec is for " +
                          std::to_string(dimension));
  }
  for (const float value : tokens.values) {
    if (std::abs(value) <= kLargestValue) continue;  // false for NaN
    throw InvalidArgument("a token vector has the value " + std::to_string(value) +
                          "; allowed: -1000 to 1000, and unit vectors are best");
  }
}

void check_options(const Matrix& sample, const TokenCodecOptions& options) {
  const auto check = [](const char* name, std::size_t value, std::size_t least, std::size_t most) {
    if (value >= least && value <= most) return;
    throw InvalidArgument(std::string(name) + " is " + std::to_string(value) + "; allowed: " +
                          std::to_string(least) + " to " + std::to_string(most));
  };
  check("rows of the sample", sample.rows, 1, std::numeric_limits<std::size_t>::max());
  check("dimension", sample.columns, 1, TokenCodec::kMaxDimension);
  check("centroids", options.centroids, 1, 65536);
  check("iterations", options.iterations, 1, 100);
  check("max_rows", options.max_rows, 1, std::size_t{1} << 24);
}

at::Tensor view(const Matrix& matrix) {
  return at::from_blob(const_cast<float*>(matrix.values.data()),
                       {static_cast<std::int64_t>(matrix.rows), static_cast<std::int64_t>(matrix.columns)},
                       at::kFloat);
}

/// The nearest centroid of each row: that of the largest x . c - |c|^2 / 2.
std::vector<std::uint16_t> assign(const Matrix& rows, const Matrix& centroids) {
  const at::NoGradGuard no_grad;
  const at::Tensor table = view(centroids);
  const at::Tensor offsets = table.square().sum(1).mul_(-0.5);
  const at::Tensor all = view(rows);
  std::vector<std::uint16_t> nearest(rows.rows);
  for (std::int64_t begin = 0; begin < all.size(0); begin += kRowsAtOnce) {
    const std::int64_t end = std::min(begin + kRowsAtOnce, all.size(0));
    const at::Tensor best = at::addmm(offsets, all.slice(0, begin, end), table.t()).argmax(1);
    const std::int64_t* values = best.const_data_ptr<std::int64_t>();
    for (std::int64_t i = begin; i < end; ++i) {
      nearest[static_cast<std::size_t>(i)] = static_cast<std::uint16_t>(values[i - begin]);
    }
  }
  return nearest;
}

/// Rows drawn at random, each once.
Matrix draw_rows(const Matrix& rows, std::size_t count, std::uint64_t seed) {
  std::vector<std::size_t> order(rows.rows);
  std::iota(order.begin(), order.end(), 0);
  std::mt19937_64 random(seed);
  Matrix drawn(count, rows.columns);
  for (std::size_t i = 0; i < count; ++i) {
    std::swap(order[i], order[i + random() % (order.size() - i)]);
    const auto row = rows.row(order[i]);
    std::copy(row.begin(), row.end(), drawn.row(i).begin());
  }
  return drawn;
}

/// Moves centroids to the means of their rows; one without rows stays where it is.
void move_centroids(const Matrix& rows, const std::vector<std::uint16_t>& assigned, Matrix& centroids) {
  std::vector<double> sums(centroids.values.size());
  std::vector<double> counts(centroids.rows);
  for (std::size_t i = 0; i < rows.rows; ++i) {
    counts[assigned[i]] += 1;
    for (std::size_t j = 0; j < rows.columns; ++j) sums[assigned[i] * rows.columns + j] += rows.row(i)[j];
  }
  for (std::size_t i = 0; i < sums.size(); ++i) {
    if (counts[i / rows.columns] > 0) centroids.values[i] = static_cast<float>(sums[i] / counts[i / rows.columns]);
  }
}

Matrix spread(const Matrix& rows, std::size_t most) {
  if (rows.rows <= most) return rows;
  Matrix chosen(most, rows.columns);
  for (std::size_t i = 0; i < most; ++i) {
    const auto row = rows.row(i * rows.rows / most);
    std::copy(row.begin(), row.end(), chosen.row(i).begin());
  }
  return chosen;
}

}  // namespace

TokenCodec TokenCodec::fit(const Matrix& sample, const TokenCodecOptions& options) {
  check_options(sample, options);
  check_tokens(sample, sample.columns);
  const Matrix rows = spread(sample, options.max_rows);
  TokenCodec codec;
  codec.centroids_ = draw_rows(rows, std::min(options.centroids, rows.rows), options.seed);
  for (std::size_t i = 0; i < options.iterations; ++i) {
    move_centroids(rows, assign(rows, codec.centroids_), codec.centroids_);
  }
  const std::vector<std::uint16_t> nearest = assign(rows, codec.centroids_);
  std::vector<double> squares(rows.columns);
  for (std::size_t i = 0; i < rows.rows; ++i) {
    for (std::size_t j = 0; j < rows.columns; ++j) {
      const double residual = double{rows.row(i)[j]} - codec.centroids_.row(nearest[i])[j];
      squares[j] += residual * residual;
    }
  }
  for (const double sum : squares) {
    const auto typical = static_cast<float>(std::sqrt(sum / static_cast<double>(rows.rows)));
    codec.steps_.push_back(std::max(typical, kSmallestStep));
  }
  return codec;
}

std::vector<std::uint8_t> TokenCodec::encode(const Matrix& tokens) const {
  check_tokens(tokens, dimension());
  std::vector<std::uint8_t> codes(tokens.rows * code_size());
  const std::vector<std::uint16_t> nearest = assign(tokens, centroids_);
  for (std::size_t i = 0; i < tokens.rows; ++i) {
    encode_token(tokens.row(i).data(), nearest[i], codes.data() + i * code_size());
  }
  return codes;
}

void TokenCodec::encode_token(const float* token, std::uint16_t centroid, std::uint8_t* code) const {
  const auto centre = centroids_.row(centroid);
  double squares = 0;  // of the residual in steps
  for (std::size_t j = 0; j < dimension(); ++j) {
    const double steps = (token[j] - centre[j]) / steps_[j];
    squares += steps * steps;
  }
  // Levels are for values of variance 1: those of this token are brought there first.
  const auto spread_of_token = static_cast<float>(std::sqrt(squares / static_cast<double>(dimension())));
  std::memset(code + 4, 0, code_size() - 4);
  double product = 0;
  double norm = 0;
  for (std::size_t j = 0; j < dimension(); ++j) {
    const float residual = token[j] - centre[j];
    const float scaled = spread_of_token > 0 ? residual / (steps_[j] * spread_of_token) : 0;
    const unsigned level = scaled < 0 ? (scaled < -kBorder ? 0 : 1) : (scaled > kBorder ? 3 : 2);
    code[4 + j / 4] |= static_cast<std::uint8_t>(level << 2 * (j % 4));
    const double decoded = double{kLevels[level]} * steps_[j];
    product += decoded * residual;
    norm += decoded * decoded;
  }
  const auto scale = static_cast<float>(product / norm);
  const std::uint16_t half = c10::detail::fp16_ieee_from_fp32_value(std::clamp(scale, 0.0F, 60000.0F));
  std::memcpy(code, &centroid, 2);
  std::memcpy(code + 2, &half, 2);
}

std::uint16_t TokenCodec::centroid_of(const std::uint8_t* code) {
  std::uint16_t centroid;
  std::memcpy(&centroid, code, sizeof centroid);
  return centroid;
}

bool TokenCodec::is_valid(const std::uint8_t* code) const {
  std::uint16_t half;
  std::memcpy(&half, code + 2, sizeof half);
  return centroid_of(code) < centroids_.rows && half < 0x7c00;  // a finite scale of 0 or more
}

void TokenCodec::decode(const std::uint8_t* codes, std::size_t count, float* tokens) const {
  for (std::size_t i = 0; i < count; ++i, codes += code_size(), tokens += dimension()) {
    const float* centre = centroids_.row(centroid_of(codes)).data();
    std::uint16_t half;
    std::memcpy(&half, codes + 2, sizeof half);
    const float scale = c10::detail::fp16_ieee_to_fp32_value(half);
    for (std::size_t j = 0; j < dimension(); ++j) {
      const float level = kLevels[codes[4 + j / 4] >> 2 * (j % 4) & 3];
      tokens[j] = centre[j] + scale * (steps_[j] * level);
    }
  }
}

void TokenCodec::write(ByteWriter& writer) const {
  writer.put(static_cast<std::uint32_t>(dimension()));
  writer.put(static_cast<std::uint32_t>(centroids_.rows));
  writer.put_all(steps_.data(), steps_.size());
  writer.put_all(centroids_.values.data(), centroids_.values.size());
}

TokenCodec TokenCodec::read(ByteReader& reader) {
  const auto dimension = reader.get<std::uint32_t>();
  const auto count = reader.get<std::uint32_t>();
  if (dimension < 1 || dimension > kMaxDimension) reader.fail("claims token vectors of an impossible dimension");
  if (count < 1 || count > 65536) reader.fail("claims an impossible number of centroids");
  TokenCodec codec;
  codec.steps_ = reader.get_all<float>(dimension);
  codec.centroids_.rows = count;
  codec.centroids_.columns = dimension;
  codec.centroids_.values = reader.get_all<float>(std::size_t{count} * dimension);
  for (const float step : codec.steps_) {
    if (!(step >= kSmallestStep && step <= 4 * kLargestValue)) reader.fail("has a step out of range");
  }
  for (const float value : codec.centroids_.values) {
    if (!(std::abs(value) <= kLargestValue)) reader.fail("has a centroid out of range");
  }
  return codec;
}

}  // namespace taesr
