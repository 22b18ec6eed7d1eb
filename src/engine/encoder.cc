#include "taesr/encoder.h"

#include <algorithm>
#include <cmath>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include "core/cpu.h"
#include "engine/batching.h"
#include "model/forward.h"
#include "model/model_folder.h"
#include "model/weights.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

// Large enough for the matrix products to run at full rate, small enough for the activations of the
// widest layer (16k tokens x 1536 values) to stay near the caches.
constexpr std::size_t kTokenBudget = 8192;

Precision resolve(Precision wanted) {
  if (wanted != Precision::kAuto) return wanted;
  return cpu_multiplies_bfloat16() ? Precision::kBFloat16 : Precision::kFloat32;
}

/// Matrices to the engine's dtype; vectors (norms, biases of norms) follow, since ATen wants one dtype.
void convert(WeightMap& weights, Precision precision) {
  const auto dtype = precision == Precision::kBFloat16 ? at::kBFloat16 : at::kFloat;
  for (auto& [name, tensor] : weights) {
    const bool head = name.starts_with("head.");  // pooling and head are float32 in every precision
    tensor = tensor.to(head ? at::kFloat : dtype);
  }
}

void add_scaled(std::span<float> sum, std::span<const float> row, float scale) {
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += scale * row[i];
}

void normalise(std::span<float> row) {
  double square = 0;
  for (const float value : row) square += static_cast<double>(value) * value;
  const auto scale = static_cast<float>(1.0 / std::max(std::sqrt(square), 1e-12));
  for (float& value : row) value *= scale;
}

}  // namespace

struct Encoder::Impl {
  std::filesystem::path source;
  TAESRConfig config;
  Tokenizer tokenizer;
  Precision precision;
  WeightMap weights;
  EncoderWeights resolved;
  std::string fingerprint;

  [[nodiscard]] std::size_t window_size() const { return static_cast<std::size_t>(config.max_position_embeddings) - 2; }

  /// Token ids by text, without special tokens.
  [[nodiscard]] std::vector<std::vector<int>> tokenize(std::span<const std::string> texts) const {
    std::vector<std::vector<int>> ids(texts.size());
    at::parallel_for(0, static_cast<std::int64_t>(texts.size()), 16, [&](std::int64_t begin, std::int64_t end) {
      for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
        ids[i] = tokenizer.encode(texts[i]);
      }
    });
    return ids;
  }

  void append_windows(std::vector<Window>& windows, std::size_t text, std::vector<int> ids, Overflow policy,
                      EncodeResult& result) const {
    result.token_counts[text] = ids.size();
    if (ids.size() > window_size() && policy == Overflow::kError) {
      throw InvalidArgument("text " + std::to_string(text) + " has " + std::to_string(ids.size()) + " tokens; at most " +
                            std::to_string(window_size()) +
                            " are read in one pass (on_overflow \"chunk\" reads all, \"truncate\" the first)");
    }
    if (ids.size() > window_size() && policy == Overflow::kTruncate) {
      ids.resize(window_size());
      ++result.truncated;
    }
    const auto spans = window_spans(ids.size(), window_size());
    result.windows[text] = spans.size();
    for (const auto& [begin, end] : spans) {
      Window window{text, {config.bos_id}};
      window.ids.insert(window.ids.end(), ids.begin() + static_cast<std::ptrdiff_t>(begin),
                        ids.begin() + static_cast<std::ptrdiff_t>(end));
      window.ids.push_back(config.eos_id);
      windows.push_back(std::move(window));
    }
  }

  [[nodiscard]] PackedBatch pack(std::span<const Window> windows, std::span<const std::size_t> chosen, Role role) const {
    std::vector<std::int64_t> tokens;
    PackedBatch batch;
    batch.offsets.push_back(0);
    for (const std::size_t index : chosen) {
      tokens.insert(tokens.end(), windows[index].ids.begin(), windows[index].ids.end());
      batch.offsets.push_back(static_cast<std::int64_t>(tokens.size()));
    }
    batch.tokens = at::tensor(tokens, at::kLong);
    batch.roles = at::tensor(std::vector<std::int64_t>(chosen.size(), static_cast<std::int64_t>(role)), at::kLong);
    return batch;
  }

  /// Unit embeddings of all windows, summed by text with their lengths as weights, made unit again.
  [[nodiscard]] Matrix run(std::span<const Window> windows, std::size_t texts, Role role, int recursions) const {
    Matrix sums(texts, static_cast<std::size_t>(config.embedding_size));
    for (const auto& chosen : plan_batches(windows, kTokenBudget)) {
      const auto pooled = encoder_forward(config, resolved, pack(windows, chosen, role), recursions).pooled.contiguous();
      const float* rows = pooled.const_data_ptr<float>();
      for (std::size_t i = 0; i < chosen.size(); ++i) {
        const Window& window = windows[chosen[i]];
        add_scaled(sums.row(window.text), {rows + i * sums.columns, sums.columns}, static_cast<float>(window.ids.size()));
      }
    }
    return sums;
  }
};

Encoder::Encoder(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Encoder::~Encoder() = default;
Encoder::Encoder(Encoder&&) noexcept = default;
Encoder& Encoder::operator=(Encoder&&) noexcept = default;

Encoder Encoder::load(const std::optional<std::filesystem::path>& path, Precision precision) {
  const std::filesystem::path folder = path.value_or(default_model_path());
  if (!std::filesystem::is_directory(folder)) {
    throw IoError("'" + folder.string() + "' is not a model folder; it should hold " + kConfigFile + ", " + kWeightsFile +
                  " and " + kTokenizerFile);
  }
  auto config = TAESRConfig::from_file(folder / kConfigFile);
  auto tokenizer = Tokenizer::load(folder / kTokenizerFile);
  if (tokenizer.size() != static_cast<std::size_t>(config.vocab_size)) {
    throw FormatError("'" + folder.string() + "': the tokenizer has " + std::to_string(tokenizer.size()) +
                      " pieces, the config asks for " + std::to_string(config.vocab_size));
  }
  const std::string origin = "'" + (folder / kWeightsFile).string() + "'";
  auto weights = load_weights(folder / kWeightsFile);
  precision = resolve(precision);
  convert(weights, precision);
  auto resolved = EncoderWeights::resolve(config, weights, origin);
  auto fingerprint = fingerprint_of(folder);
  return Encoder(std::unique_ptr<Impl>(new Impl{folder, std::move(config), std::move(tokenizer), precision,
                                                std::move(weights), std::move(resolved), std::move(fingerprint)}));
}

EncodeResult Encoder::encode(std::span<const std::string> texts, const EncodeOptions& options) const {
  const std::size_t dim = options.dim == 0 ? dimension() : options.dim;
  if (dim > dimension()) {
    throw InvalidArgument("dim is " + std::to_string(dim) + "; allowed: 1 to " + std::to_string(dimension()));
  }
  const int recursions = impl_->config.recursions(options.depth);
  EncodeResult result;
  result.depths.assign(texts.size(), recursions);
  result.token_counts.resize(texts.size());
  result.windows.resize(texts.size());

  std::vector<Window> windows;
  auto ids = impl_->tokenize(texts);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    impl_->append_windows(windows, i, std::move(ids[i]), options.on_overflow, result);
  }
  const at::NoGradGuard no_grad;
  const Matrix full = impl_->run(windows, texts.size(), options.role, recursions);
  result.embeddings = Matrix(texts.size(), dim);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    std::copy_n(full.row(i).begin(), dim, result.embeddings.row(i).begin());
    normalise(result.embeddings.row(i));
  }
  return result;
}

Embeddings Encoder::embed(std::span<const std::string> texts, Role role, const std::string& depth) const {
  EncodeResult result = encode(texts, {.role = role, .depth = depth});
  return {std::move(result.embeddings), std::move(result.depths)};
}

std::size_t Encoder::dimension() const { return static_cast<std::size_t>(impl_->config.embedding_size); }
std::string Encoder::fingerprint() const { return impl_->fingerprint; }
std::size_t Encoder::count_tokens(const std::string& text) const { return impl_->tokenizer.encode(text).size(); }
std::size_t Encoder::max_tokens() const { return impl_->window_size(); }
const TAESRConfig& Encoder::config() const { return impl_->config; }
const Tokenizer& Encoder::tokenizer() const { return impl_->tokenizer; }
Precision Encoder::precision() const { return impl_->precision; }
const std::filesystem::path& Encoder::source() const { return impl_->source; }

}  // namespace taesr
