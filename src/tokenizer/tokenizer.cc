#include "taesr/tokenizer.h"

#include <sentencepiece_processor.h>

#include "core/file.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr std::uint64_t kMaxModelBytes = 256ULL << 20;

}  // namespace

struct Tokenizer::Impl {
  sentencepiece::SentencePieceProcessor processor;

  void check_id(int id) const {
    if (id >= 0 && id < processor.GetPieceSize()) return;
    throw InvalidArgument("token id " + std::to_string(id) + " is out of range; allowed: 0 to " +
                          std::to_string(processor.GetPieceSize() - 1));
  }
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  auto impl = std::make_unique<Impl>();
  // Read here, not by SentencePiece: its own reader reports a missing file and a damaged one alike.
  const auto status = impl->processor.LoadFromSerializedProto(read_file(path, kMaxModelBytes));
  if (!status.ok() || impl->processor.GetPieceSize() <= 0) {
    throw FormatError("'" + path.string() + "' is not a SentencePiece model, or is damaged");
  }
  return Tokenizer(std::move(impl));
}

std::vector<int> Tokenizer::encode(std::string_view text) const {
  std::vector<int> ids;
  const auto status = impl_->processor.Encode(text, &ids);
  if (!status.ok()) throw Error("tokenizer failed: " + status.ToString());
  return ids;
}

std::string Tokenizer::decode(std::span<const int> ids) const {
  for (const int id : ids) impl_->check_id(id);
  std::string text;
  const auto status = impl_->processor.Decode(std::vector<int>(ids.begin(), ids.end()), &text);
  if (!status.ok()) throw Error("tokenizer failed: " + status.ToString());
  return text;
}

std::size_t Tokenizer::size() const { return static_cast<std::size_t>(impl_->processor.GetPieceSize()); }

std::string Tokenizer::piece(int id) const {
  impl_->check_id(id);
  return impl_->processor.IdToPiece(id);
}

}  // namespace taesr
