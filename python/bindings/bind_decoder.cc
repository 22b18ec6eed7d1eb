#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include "numpy_matrix.h"
#include "register.h"
#include "taesr/decoder.h"
#include "taesr/errors.h"

namespace py = pybind11;

namespace taesr {
namespace {

KvCaching parse_kv_caching(const std::string& name) {
  if (name == "full") return KvCaching::kFull;
  if (name == "shared") return KvCaching::kShared;
  throw InvalidArgument("kv_caching is '" + name.substr(0, 60) + "'; allowed: full, shared");
}

py::array_t<float> logits(const Decoder& decoder, const std::vector<int>& tokens) {
  Matrix made;
  {
    const py::gil_scoped_release release;
    made = decoder.logits(tokens);
  }
  return to_numpy(std::move(made));
}

std::map<std::string, py::array_t<float>> weights(const Decoder& decoder) {
  std::map<std::string, Matrix> made;
  {
    const py::gil_scoped_release release;
    made = decoder.weights();
  }
  std::map<std::string, py::array_t<float>> arrays;
  for (auto& [name, matrix] : made) arrays[name] = to_numpy(std::move(matrix));
  return arrays;
}

DecoderConfig make_config(std::int64_t vocab_size, std::int64_t hidden_size, std::int64_t intermediate_size,
                          std::int64_t layers, std::int64_t heads, std::int64_t kv_heads,
                          std::int64_t head_dim, std::int64_t max_positions, double rope_theta,
                          double norm_eps, bool tied_embeddings, const std::string& sharing,
                          std::int64_t recursions, const std::string& routing, const std::string& gate,
                          double gate_scale) {
  const DecoderConfig config{.vocab_size = vocab_size,
                             .hidden_size = hidden_size,
                             .intermediate_size = intermediate_size,
                             .layers = layers,
                             .heads = heads,
                             .kv_heads = kv_heads,
                             .head_dim = head_dim,
                             .max_positions = max_positions,
                             .rope_theta = rope_theta,
                             .norm_eps = norm_eps,
                             .tied_embeddings = tied_embeddings,
                             .sharing = parse_layer_sharing(sharing),
                             .recursions = recursions,
                             .routing = parse_routing(routing),
                             .gate = parse_gate(gate),
                             .gate_scale = gate_scale};
  config.validate("");
  return config;
}

DecoderTrace trace(const Decoder& decoder, const std::vector<int>& tokens) {
  const py::gil_scoped_release release;
  return decoder.trace(tokens);
}

std::vector<int> encode_chat(const Decoder& decoder,
                             const std::vector<std::pair<std::string, std::string>>& messages) {
  std::vector<ChatMessage> chat;
  for (const auto& [role, content] : messages) chat.push_back({role, content});
  const py::gil_scoped_release release;
  return decoder.encode_chat(chat);
}

GenerateOptions make_options(std::size_t max_tokens, double temperature, std::size_t top_k, double top_p,
                             double repetition_penalty, const std::map<int, double>& logit_bias,
                             const std::vector<std::string>& stop, std::uint64_t seed) {
  return {.max_tokens = max_tokens,
          .temperature = temperature,
          .top_k = top_k,
          .top_p = top_p,
          .repetition_penalty = repetition_penalty,
          .logit_bias = logit_bias,
          .stop = stop,
          .seed = seed};
}

SavedPrecision parse_saved_precision(const std::string& name) {
  constexpr std::array kNames = {"float32", "float16", "bfloat16", "q8_0", "q4_1", "q4_0"};
  std::string allowed;
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (name == kNames[i]) return static_cast<SavedPrecision>(i);
    allowed += (i > 0 ? ", " : "") + std::string(kNames[i]);
  }
  throw InvalidArgument("precision is '" + name.substr(0, 60) + "'; allowed: " + allowed);
}

using BlockArrays = std::map<std::string, py::array_t<std::uint8_t, py::array::c_style>>;

void save(const Decoder& decoder, const std::filesystem::path& path, const std::string& precision,
          const std::optional<std::filesystem::path>& tokenizer, const BlockArrays& blocks) {
  SaveDecoderOptions options{.precision = parse_saved_precision(precision),
                             .tokenizer = tokenizer.value_or(std::filesystem::path())};
  for (const auto& [name, array] : blocks) {
    options.blocks[name] =
        std::as_bytes(std::span(array.data(), static_cast<std::size_t>(array.size())));
  }
  const py::gil_scoped_release release;
  decoder.save(path, options);
}

/// The next piece, None at the end.
std::optional<std::string> next_piece(TextStream& stream) {
  const py::gil_scoped_release release;
  std::string piece;
  if (!stream.next(piece)) return std::nullopt;
  return piece;
}

}  // namespace

void register_decoder(py::module_& module) {
  py::class_<DecoderConfig>(module, "DecoderConfig")
      .def(py::init(&make_config), py::kw_only(), py::arg("vocab_size"), py::arg("hidden_size"),
           py::arg("intermediate_size"), py::arg("layers"), py::arg("heads"), py::arg("kv_heads"),
           py::arg("head_dim"), py::arg("max_positions"), py::arg("rope_theta") = 10'000.0,
           py::arg("norm_eps") = 1e-5, py::arg("tied_embeddings") = true, py::arg("sharing") = "none",
           py::arg("recursions") = 1, py::arg("routing") = "none", py::arg("gate") = "scaled",
           py::arg("gate_scale") = 0.1)
      .def_static(
          "read", [](const std::filesystem::path& path) { return read_decoder_config(path); },
          py::arg("path"))
      .def_readonly("vocab_size", &DecoderConfig::vocab_size)
      .def_readonly("hidden_size", &DecoderConfig::hidden_size)
      .def_readonly("intermediate_size", &DecoderConfig::intermediate_size)
      .def_readonly("layers", &DecoderConfig::layers)
      .def_readonly("heads", &DecoderConfig::heads)
      .def_readonly("kv_heads", &DecoderConfig::kv_heads)
      .def_readonly("head_dim", &DecoderConfig::head_dim)
      .def_readonly("max_positions", &DecoderConfig::max_positions)
      .def_readonly("rope_theta", &DecoderConfig::rope_theta)
      .def_readonly("norm_eps", &DecoderConfig::norm_eps)
      .def_readonly("tied_embeddings", &DecoderConfig::tied_embeddings)
      .def_property_readonly("sharing", [](const DecoderConfig& self) { return name_of(self.sharing); })
      .def_readonly("recursions", &DecoderConfig::recursions)
      .def_property_readonly("routing", [](const DecoderConfig& self) { return name_of(self.routing); })
      .def_property_readonly("gate", [](const DecoderConfig& self) { return name_of(self.gate); })
      .def_readonly("gate_scale", &DecoderConfig::gate_scale)
      .def_property_readonly("unique_layers", &DecoderConfig::unique_layers)
      .def_property_readonly("end_layers", &DecoderConfig::end_layers)
      .def_property_readonly("block_layers", &DecoderConfig::block_layers)
      .def("unique_layer", &DecoderConfig::unique_layer, py::arg("layer"));

  py::class_<Generation>(module, "Generation")
      .def_readonly("text", &Generation::text)
      .def_readonly("tokens", &Generation::tokens)
      .def_property_readonly("finish", [](const Generation& self) { return name_of(self.finish); })
      .def_readonly("prompt_tokens", &Generation::prompt_tokens)
      .def_readonly("prefill_seconds", &Generation::prefill_seconds)
      .def_readonly("decode_seconds", &Generation::decode_seconds)
      .def_readonly("kv_bytes", &Generation::kv_bytes);

  py::class_<DecoderTrace>(module, "DecoderTrace")
      .def_readonly("recursions", &DecoderTrace::recursions)
      .def_readonly("kv_bytes", &DecoderTrace::kv_bytes)
      .def_readonly("kv_bytes_read", &DecoderTrace::kv_bytes_read);

  py::class_<GenerateOptions>(module, "GenerateOptions")
      .def(py::init(&make_options), py::kw_only(), py::arg("max_tokens"), py::arg("temperature"),
           py::arg("top_k"), py::arg("top_p"), py::arg("repetition_penalty"),
           py::arg("logit_bias"), py::arg("stop"), py::arg("seed"));

  py::class_<TextStream>(module, "TextStream")
      .def("next", &next_piece)
      .def("result", [](const TextStream& self) { return self.result(); });

  py::class_<Decoder, std::shared_ptr<Decoder>>(module, "Decoder")
      .def_static(
          "load",
          [](const std::filesystem::path& path, const std::string& kv_caching, const std::string& precision,
             const std::string& device) {
            const DecoderOptions options{.kv_caching = parse_kv_caching(kv_caching),
                                         .precision = parse_weight_precision(precision),
                                         .device = device};
            const py::gil_scoped_release release;
            return std::make_shared<Decoder>(Decoder::load(path, options));
          },
          py::arg("path"), py::arg("kv_caching"), py::arg("precision"), py::arg("device"))
      .def("encode", &Decoder::encode, py::arg("text"), py::arg("parse_special"),
           py::call_guard<py::gil_scoped_release>())
      .def(
          "decode", [](const Decoder& self, const std::vector<int>& tokens) { return self.decode(tokens); },
          py::arg("tokens"))
      .def("encode_chat", &encode_chat, py::arg("messages"))
      .def(
          "stream",
          [](const Decoder& self, const std::vector<int>& prompt, const GenerateOptions& options) {
            return self.stream(prompt, options);
          },
          py::arg("prompt"), py::arg("options"))
      .def("logits", &logits, py::arg("tokens"))
      .def("trace", &trace, py::arg("tokens"))
      .def_property_readonly("config", &Decoder::config)
      .def("weights", &weights)
      .def("save", &save, py::arg("path"), py::arg("precision"), py::arg("tokenizer"), py::arg("blocks"))
      .def_property_readonly("weight_bytes", &Decoder::weight_bytes);
}

}  // namespace taesr
