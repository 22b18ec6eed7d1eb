#include "collection/late_codec.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "core/byte_io.h"
#include "store/row_snapshot.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr std::string_view kCodecName = "residual2/";
constexpr std::size_t kRowsACentroid = 16;  // fewer leave a centroid nothing but its own rows
constexpr std::size_t kLeastRows = 256;
constexpr std::uint64_t kGrowth = 4;  // a codec is fitted anew once there are so many times its tokens

/// `tokens` with random unit rows behind, up to kLeastRows.
Matrix filled_up(const Matrix& tokens) {
  Matrix filled(std::max(tokens.rows, kLeastRows), tokens.columns);
  std::copy(tokens.values.begin(), tokens.values.end(), filled.values.begin());
  std::mt19937_64 random(1);
  for (std::size_t i = tokens.rows; i < filled.rows; ++i) {
    double squares = 0;
    for (float& value : filled.row(i)) {
      // Sums of uniform numbers are near enough to normal ones, and the same with every standard library.
      double sum = 0;
      for (int j = 0; j < 4; ++j) sum += static_cast<double>(random() >> 11) * 0x1p-53 - 0.5;
      value = static_cast<float>(sum);
      squares += sum * sum;
    }
    for (float& value : filled.row(i)) value = static_cast<float>(value / std::sqrt(squares));
  }
  return filled;
}

std::span<const std::uint8_t> codes_of(std::span<const std::byte> data) {
  return {reinterpret_cast<const std::uint8_t*>(data.data()), data.size()};
}

Matrix decode(const TokenCodec& codec, std::span<const std::byte> data, const std::string& where) {
  const auto codes = codes_of(data);
  const std::size_t size = codec.code_size();
  if (codes.size() % size != 0) throw FormatError(where + " has a token code that is cut off");
  Matrix tokens(codes.size() / size, codec.dimension());
  for (std::size_t i = 0; i < tokens.rows; ++i) {
    if (!codec.is_valid(codes.data() + i * size)) throw FormatError(where + " has a damaged token code");
  }
  codec.decode(codes.data(), tokens.rows, tokens.values.data());
  return tokens;
}

}  // namespace

std::string LateCodec::name() const { return std::string(kCodecName) + std::to_string(version); }

StoredHead LateCodec::to_row(bool ready) const {
  ByteWriter writer;
  writer.put(version);
  writer.put(fitted_on);
  codec.write(writer);
  const auto bytes = std::as_bytes(std::span(writer.bytes()));
  return {std::string(kLateHead), name(), ready, {bytes.begin(), bytes.end()}};
}

LateCodec fit_late_codec(const Matrix& tokens, std::uint32_t version) {
  const Matrix sample = filled_up(tokens);
  TokenCodecOptions options;
  options.centroids = std::min(options.centroids, sample.rows / kRowsACentroid);
  return {TokenCodec::fit(sample, options), version, tokens.rows};
}

std::optional<LateCodec> read_late_codec(const StoredHead& head) {
  if (head.codec.empty()) return std::nullopt;
  const std::string where = "the codec of the late head";
  ByteReader reader({reinterpret_cast<const char*>(head.parameters.data()), head.parameters.size()}, where);
  const auto version = reader.get<std::uint32_t>();
  const auto fitted_on = reader.get<std::uint64_t>();
  LateCodec codec{TokenCodec::read(reader), version, fitted_on};
  reader.expect_end();
  if (codec.name() != head.codec)
    throw FormatError(where + " is named '" + head.codec + "' but is " + codec.name());
  return codec;
}

void refit_late_codec(DocumentStore& store) {
  const std::vector<StoredHead> heads = store.heads();
  const auto head = std::ranges::find(heads, kLateHead, &StoredHead::name);
  if (head == heads.end()) return;
  const auto old = read_late_codec(*head);
  const std::uint64_t most = TokenCodecOptions().max_rows;
  if (!old || old->fitted_on >= most) return;
  const std::size_t size = old->codec.code_size();
  std::optional<RowSnapshot> rows(store);
  std::uint64_t tokens = 0;
  for (const RowSnapshot::HeadSize& each : rows->head_sizes(store.space().fingerprint)) {
    if (each.head == kLateHead) tokens = static_cast<std::uint64_t>(each.bytes) / size;
  }
  if (tokens < kGrowth * std::max<std::uint64_t>(old->fitted_on, 1)) return;
  // Every n-th token of all, so that the sample is of all documents and no larger than it is used.
  const std::uint64_t step = std::max<std::uint64_t>(tokens / most, 1);
  std::vector<std::byte> codes;
  std::uint64_t position = 0;
  const auto take = [&](std::int64_t, const EmbeddingView& row) {
    for (std::size_t begin = 0; begin + size <= row.data.size(); begin += size) {
      const auto code = row.data.subspan(begin, size);
      if (position++ % step == 0) codes.insert(codes.end(), code.begin(), code.end());
    }
  };
  rows->for_each_embedding(kLateHead, 0, store.space().fingerprint, take);
  rows.reset();  // a reader's transaction, which must not keep the log from being emptied
  LateCodec fresh = fit_late_codec(decode(old->codec, codes, "the late head"), old->version + 1);
  fresh.fitted_on = tokens;
  store.recode_head(fresh.to_row(head->ready), [&](std::span<const std::byte> data) {
    const std::vector<std::uint8_t> recoded = fresh.codec.encode(decode(old->codec, data, "the late head"));
    const auto bytes = std::as_bytes(std::span(recoded));
    return std::vector<std::byte>(bytes.begin(), bytes.end());
  });
}

}  // namespace taesr
