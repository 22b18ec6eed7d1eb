#include <algorithm>
#include <cmath>
#include <thread>

#include "compression/codec_name.h"
#include "compression/projection.h"
#include "compression/quantiser.h"
#include "core/checksum.h"
#include "core/byte_io.h"
#include "core/parallel.h"
#include "index/top_k.h"
#include "taesr/compression.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr std::string_view kMagic = "TAESRCDC";
constexpr std::uint32_t kVersion = 1;
constexpr std::uint32_t kMaxName = 64;
constexpr std::size_t kRowsAtOnce = 512;

void check_rows(const Matrix& rows, std::size_t dimension) {
  if (rows.columns != dimension) {
    throw InvalidArgument("vectors have " + std::to_string(rows.columns) + " values; this codec is for " +
                          std::to_string(dimension));
  }
  const auto is_finite = [](float value) { return std::isfinite(value); };
  const auto bad = std::find_if_not(rows.values.begin(), rows.values.end(), is_finite);
  if (bad == rows.values.end()) return;
  const auto at = static_cast<std::size_t>(bad - rows.values.begin());
  throw InvalidArgument("row " + std::to_string(at / dimension) + " has " + std::to_string(*bad) +
                        " in dimension " + std::to_string(at % dimension) + "; values must be finite");
}

void check_fit(const Matrix& sample, const FitOptions& options) {
  if (sample.rows == 0 || sample.columns == 0 || sample.columns > kMaxCodecDimension) {
    throw InvalidArgument("a codec is fitted to at least 1 vector of 1 to 65536 values, not to [" +
                          std::to_string(sample.rows) + ", " + std::to_string(sample.columns) + "]");
  }
  if (options.iterations < 1 || options.iterations > 1000) {
    throw InvalidArgument("iterations is " + std::to_string(options.iterations) + "; allowed: 1 to 1000");
  }
  if (options.max_rows < 256) {
    throw InvalidArgument("max_rows is " + std::to_string(options.max_rows) + "; allowed: 256 or more");
  }
}

/// At most `most` rows, evenly spread.
Matrix spread(const Matrix& rows, std::size_t most) {
  if (rows.rows <= most) return rows;
  Matrix chosen(most, rows.columns);
  for (std::size_t i = 0; i < most; ++i) {
    const auto row = rows.row(i * rows.rows / most);
    std::copy(row.begin(), row.end(), chosen.row(i).begin());
  }
  return chosen;
}

Matrix project_all(const Projection& projection, const Matrix& rows) {
  Matrix projected(rows.rows, projection.projected());
  for (std::size_t i = 0; i < rows.rows; ++i) projection.project(rows.row(i).data(), projected.row(i).data());
  return projected;
}

std::size_t threads_for(std::size_t blocks) {
  return std::min<std::size_t>(std::max(1u, std::thread::hardware_concurrency()), blocks);
}

}  // namespace

struct VectorCodec::Impl {
  Impl(std::string codec_name, Projection fitted, std::unique_ptr<Quantiser> with)
      : name(std::move(codec_name)), projection(std::move(fitted)), quantiser(std::move(with)) {}

  /// Rows in `codes`.
  [[nodiscard]] std::size_t count(std::span<const std::uint8_t> codes) const {
    const std::size_t size = quantiser->code_size();
    if (codes.size() % size == 0) return codes.size() / size;
    throw InvalidArgument("codes are " + std::to_string(codes.size()) + " bytes, which is no multiple of the " +
                          std::to_string(size) + " that a vector takes as " + name);
  }

  void check_query(std::span<const float> query) const {
    Matrix row(1, query.size());
    std::copy(query.begin(), query.end(), row.values.begin());
    check_rows(row, projection.dimension());
  }

  /// Scores of `rows` codes; not finite only where codes are damaged, which is refused.
  void score(const Scorer& scorer, float constant, const std::uint8_t* codes, std::size_t rows,
             float* scores) const {
    scorer.score(codes, rows, scores);
    for (std::size_t i = 0; i < rows; ++i) {
      scores[i] += constant;
      if (!std::isfinite(scores[i])) throw FormatError("a code has no finite score: it is damaged");
    }
  }

  /// Positions of the codes with the fewest bits that differ from `bits`.
  [[nodiscard]] std::vector<std::uint32_t> nearest_bits(const std::uint8_t* bits, const std::uint8_t* codes,
                                                        std::size_t rows, std::size_t most) const;

  std::string name;
  Projection projection;
  std::unique_ptr<Quantiser> quantiser;
};

VectorCodec::VectorCodec(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
VectorCodec::~VectorCodec() = default;
VectorCodec::VectorCodec(VectorCodec&&) noexcept = default;
VectorCodec& VectorCodec::operator=(VectorCodec&&) noexcept = default;

const std::string& VectorCodec::name() const { return impl_->name; }
std::size_t VectorCodec::dimension() const { return impl_->projection.dimension(); }
std::size_t VectorCodec::code_size() const { return impl_->quantiser->code_size(); }

VectorCodec VectorCodec::fit(const std::string& name, const Matrix& sample, const FitOptions& options) {
  check_fit(sample, options);
  check_rows(sample, sample.columns);
  const CodecName parsed = parse_codec_name(name, sample.columns);
  const Matrix rows = spread(sample, options.max_rows);
  Projection projection = Projection::fit(parsed, rows);
  auto quantiser = fit_quantiser(parsed, project_all(projection, rows), options);
  return VectorCodec(std::make_unique<Impl>(name, std::move(projection), std::move(quantiser)));
}

std::string VectorCodec::save() const {
  ByteWriter writer;
  writer.put_text(kMagic);
  writer.put(kVersion);
  writer.put(static_cast<std::uint32_t>(name().size()));
  writer.put_text(name());
  writer.put(static_cast<std::uint32_t>(dimension()));
  impl_->projection.write(writer);
  impl_->quantiser->write(writer);
  writer.put(xxh64(writer.bytes()));
  return writer.take();
}

VectorCodec VectorCodec::load(std::string_view bytes, const std::string& source) {
  ByteReader reader(bytes, "'" + source + "'");
  if (reader.remaining() < kMagic.size() || reader.take(kMagic.size()) != kMagic) {
    throw FormatError("'" + source + "' is not a codec of taesr");
  }
  const auto version = reader.get<std::uint32_t>();
  if (version != kVersion) {
    throw VersionError("'" + source + "' has format version " + std::to_string(version) +
                       ", this build reads " + std::to_string(kVersion));
  }
  if (reader.remaining() < sizeof(std::uint64_t)) reader.fail("ends too early");
  const std::size_t content = bytes.size() - sizeof(std::uint64_t);
  ByteReader checksum(bytes.substr(content), source);
  if (checksum.get<std::uint64_t>() != xxh64(bytes.substr(0, content))) {
    throw ChecksumError("'" + source + "' is damaged: its checksum differs");
  }
  const auto name_size = reader.get<std::uint32_t>();
  if (name_size > kMaxName) reader.fail("claims a name of impossible length");
  const std::string name(reader.take(name_size));
  const auto dimension = reader.get<std::uint32_t>();
  if (dimension < 1 || dimension > kMaxCodecDimension) reader.fail("claims an impossible dimension");
  CodecName parsed;
  try {
    parsed = parse_codec_name(name, dimension);
  } catch (const InvalidArgument& error) {
    reader.fail(std::string("names a codec that is none: ") + error.what());
  }
  Projection projection = Projection::read(parsed, dimension, reader);
  auto quantiser = read_quantiser(parsed, reader);
  if (reader.remaining() != sizeof(std::uint64_t)) reader.fail("has bytes too many or too few");
  return VectorCodec(std::make_unique<Impl>(name, std::move(projection), std::move(quantiser)));
}

std::vector<std::uint8_t> VectorCodec::encode(const Matrix& rows) const {
  check_rows(rows, dimension());
  std::vector<std::uint8_t> codes(rows.rows * code_size());
  const std::size_t blocks = (rows.rows + kRowsAtOnce - 1) / kRowsAtOnce;
  parallel_for(0, blocks, threads_for(blocks), [&](std::size_t block) {
    std::vector<float> projected(impl_->projection.projected());
    const std::size_t end = std::min(rows.rows, (block + 1) * kRowsAtOnce);
    for (std::size_t i = block * kRowsAtOnce; i < end; ++i) {
      impl_->projection.project(rows.row(i).data(), projected.data());
      impl_->quantiser->encode(projected.data(), codes.data() + i * code_size());
    }
  });
  return codes;
}

Matrix VectorCodec::decode(std::span<const std::uint8_t> codes) const {
  Matrix rows(impl_->count(codes), dimension());
  std::vector<float> projected(impl_->projection.projected());
  for (std::size_t i = 0; i < rows.rows; ++i) {
    impl_->quantiser->decode(codes.data() + i * code_size(), projected.data());
    impl_->projection.restore(projected.data(), rows.row(i).data());
  }
  return rows;
}

std::vector<float> VectorCodec::score(std::span<const float> query,
                                      std::span<const std::uint8_t> codes) const {
  impl_->check_query(query);
  float constant = 0;
  const auto scorer = impl_->quantiser->scorer(impl_->projection.project_query(query, constant));
  std::vector<float> scores(impl_->count(codes));
  impl_->score(*scorer, constant, codes.data(), scores.size(), scores.data());
  return scores;
}

std::vector<std::uint32_t> VectorCodec::Impl::nearest_bits(const std::uint8_t* bits,
                                                           const std::uint8_t* codes, std::size_t rows,
                                                           std::size_t most) const {
  const CodeKernels& kernels = best_code_kernels();
  const std::size_t size = quantiser->code_size();
  std::vector<std::uint32_t> distances(rows);
  std::vector<std::size_t> counts(8 * size + 1);  // codes by distance
  for (std::size_t i = 0; i < rows; ++i) ++counts[distances[i] = kernels.hamming(bits, codes + i * size, size)];
  std::size_t limit = 0;  // the distance at which `most` codes are reached
  for (std::size_t reached = counts[0]; reached < most && limit < 8 * size;) reached += counts[++limit];
  std::vector<std::uint32_t> found;
  for (std::uint32_t i = 0; i < rows; ++i) {
    if (distances[i] <= limit) found.push_back(i);
  }
  return found;
}

std::vector<std::pair<std::uint32_t, float>> VectorCodec::search(std::span<const float> query,
                                                                 std::span<const std::uint8_t> codes,
                                                                 std::size_t k, std::size_t rescore) const {
  const CodecName parsed = parse_codec_name(name(), dimension());
  if (rescore > 0 && parsed.quantiser != QuantiserKind::kBinary) {
    throw InvalidArgument("rescore is " + std::to_string(rescore) + "; codec " + name() +
                          " scores its codes at once: only binary ones allow more than 0");
  }
  impl_->check_query(query);
  const std::size_t rows = impl_->count(codes);
  TopK best(std::min(k, rows));
  const auto offer = [&](std::uint32_t row, float score) { best.offer({row, score}); };
  float constant = 0;
  const std::vector<float> projected = impl_->projection.project_query(query, constant);
  const auto scorer = impl_->quantiser->scorer(projected);
  if (rescore > 0 && rescore * k < rows) {
    std::vector<std::uint8_t> bits(code_size());
    for (std::size_t i = 0; i < projected.size(); ++i) {
      if (projected[i] > 0) bits[i / 8] |= static_cast<std::uint8_t>(1u << i % 8);
    }
    for (const std::uint32_t row : impl_->nearest_bits(bits.data(), codes.data(), rows, rescore * k)) {
      float score = 0;
      impl_->score(*scorer, constant, codes.data() + row * code_size(), 1, &score);
      offer(row, score);
    }
  } else {
    std::vector<float> scores(rows);
    impl_->score(*scorer, constant, codes.data(), rows, scores.data());
    for (std::uint32_t row = 0; row < rows; ++row) offer(row, scores[row]);
  }
  std::vector<std::pair<std::uint32_t, float>> found;
  for (const Candidate& candidate : best.take()) {
    found.emplace_back(static_cast<std::uint32_t>(candidate.chunk), candidate.score);
  }
  return found;
}

}  // namespace taesr
