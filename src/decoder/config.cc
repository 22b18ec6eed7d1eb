#include "decoder/config.h"

#include <array>
#include <cmath>

#include <nlohmann/json.hpp>

#include "taesr/errors.h"

namespace taesr {
namespace {

using Json = nlohmann::json;

constexpr std::array<const char*, 5> kSharings = {"none", "cycle", "sequence", "middle_cycle",
                                                  "middle_sequence"};
constexpr std::array<const char*, 3> kRoutings = {"none", "expert_choice", "token_choice"};
constexpr std::array<const char*, 2> kGates = {"scaled", "preserving"};
constexpr std::int64_t kLargestSize = 1 << 20;
constexpr std::int64_t kLargestVocabulary = 1 << 24;
constexpr std::int64_t kMostLayers = 1024;
constexpr std::uint64_t kLargestConfig = 1 << 20;

/// Index of `name`.
template <std::size_t N>
std::size_t parse(const char* field, const std::string& name, const std::array<const char*, N>& names) {
  std::string allowed;
  for (std::size_t i = 0; i < N; ++i) {
    if (name == names[i]) return i;
    allowed += (i > 0 ? ", " : "") + std::string(names[i]);
  }
  throw InvalidArgument(std::string(field) + " is '" + name.substr(0, 60) + "'; allowed: " + allowed);
}

void check(const std::string& origin, const char* field, std::int64_t value, std::int64_t least,
           std::int64_t most) {
  if (value >= least && value <= most) return;
  throw InvalidArgument(origin + field + " is " + std::to_string(value) +
                        "; allowed: " + std::to_string(least) + " to " + std::to_string(most));
}

/// The fields of a config.json; every message carries the file's name.
class JsonFields {
 public:
  explicit JsonFields(const std::filesystem::path& path) : origin_("'" + path.string() + "': ") {
    const auto shallow = [&](int level, Json::parse_event_t, Json&) {
      if (level > 16) fail("is nested deeper than 16 levels");
      return true;
    };
    try {
      object_ = Json::parse(read_file(path, kLargestConfig), shallow);
    } catch (const Json::exception& error) {
      fail(std::string("is not valid JSON: ") + error.what());
    }
    if (!object_.is_object()) fail("is not a JSON object");
  }

  [[noreturn]] void fail(const std::string& reason) const { throw FormatError(origin_ + reason); }

  [[nodiscard]] bool has(const char* key) const { return object_.contains(key) && !object_[key].is_null(); }
  [[nodiscard]] const Json& at(const char* key) const {
    if (!has(key)) fail(std::string("'") + key + "' is missing");
    return object_[key];
  }
  [[nodiscard]] std::int64_t integer(const char* key) const {
    if (!at(key).is_number_integer()) fail(std::string("'") + key + "' is not an integer");
    return at(key).get<std::int64_t>();
  }
  [[nodiscard]] double number(const char* key) const { return number(key, at(key)); }
  [[nodiscard]] double number(const char* key, const Json& value) const {
    if (!value.is_number()) fail(std::string("'") + key + "' is not a number");
    return value.get<double>();
  }
  [[nodiscard]] std::string text(const char* key) const {
    if (!at(key).is_string()) fail(std::string("'") + key + "' is not a text");
    return at(key).get<std::string>();
  }
  /// Refuses a variant of the architecture: it would run and answer nonsense.
  void require(const char* key, const Json& expected) const {
    if (has(key) && object_[key] != expected) {
      fail(std::string("'") + key + "' is " + object_[key].dump().substr(0, 60) + "; only " +
           expected.dump() + " is read");
    }
  }

 private:
  std::string origin_;
  Json object_;
};

/// Older files have rope_theta at the top, newer ones inside rope_parameters.
double read_rope_theta(const JsonFields& fields) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!fields.has(key)) continue;
    const Json& rope = fields.at(key);
    if (!rope.is_object()) fields.fail(std::string("'") + key + "' is not an object");
    const std::string kind = rope.contains("rope_type") ? rope["rope_type"].dump() : "\"default\"";
    if (kind != "\"default\"") {
      fields.fail(std::string("'") + key + "': rope_type " + kind.substr(0, 40) +
                  " is not read; only \"default\"");
    }
    if (rope.contains("rope_theta")) return fields.number("rope_theta", rope["rope_theta"]);
  }
  return fields.has("rope_theta") ? fields.number("rope_theta") : 10'000;
}

/// What files of ours have beside the architecture's own metadata.
void read_sharing(const GgufFile& file, DecoderConfig& config) {
  const auto text = [&](const char* key) { return std::string(file.text(key)); };
  if (file.has(kGgufSharing)) config.sharing = parse_layer_sharing(text(kGgufSharing));
  if (file.has(kGgufRecursions)) config.recursions = file.integer(kGgufRecursions, 1, kMostLayers);
  if (file.has(kGgufRouting)) config.routing = parse_routing(text(kGgufRouting));
  if (file.has(kGgufGate)) config.gate = parse_gate(text(kGgufGate));
  if (file.has(kGgufGateScale)) config.gate_scale = file.number(kGgufGateScale);
}

}  // namespace

LayerSharing parse_layer_sharing(const std::string& name) {
  return static_cast<LayerSharing>(parse("sharing", name, kSharings));
}
Routing parse_routing(const std::string& name) {
  return static_cast<Routing>(parse("routing", name, kRoutings));
}
Gate parse_gate(const std::string& name) { return static_cast<Gate>(parse("gate", name, kGates)); }
const char* name_of(LayerSharing sharing) { return kSharings[static_cast<std::size_t>(sharing)]; }
const char* name_of(Routing routing) { return kRoutings[static_cast<std::size_t>(routing)]; }
const char* name_of(Gate gate) { return kGates[static_cast<std::size_t>(gate)]; }

std::int64_t DecoderConfig::end_layers() const {
  return sharing == LayerSharing::kMiddleCycle || sharing == LayerSharing::kMiddleSequence ? 1 : 0;
}

std::int64_t DecoderConfig::unique_layers() const {
  return sharing == LayerSharing::kNone ? layers : block_layers() + 2 * end_layers();
}

std::int64_t DecoderConfig::unique_layer(std::int64_t layer) const {
  const std::int64_t first = end_layers();
  if (sharing == LayerSharing::kNone || layer < first) return layer;
  if (layer >= layers - first) return unique_layers() - 1;
  const bool cycle = sharing == LayerSharing::kCycle || sharing == LayerSharing::kMiddleCycle;
  return first + (cycle ? (layer - first) % block_layers() : (layer - first) / recursions);
}

void DecoderConfig::validate(const std::string& origin) const {
  check(origin, "vocab_size", vocab_size, 1, kLargestVocabulary);
  check(origin, "hidden_size", hidden_size, 1, kLargestSize);
  check(origin, "intermediate_size", intermediate_size, 1, kLargestSize);
  check(origin, "layers", layers, 1, kMostLayers);
  check(origin, "heads", heads, 1, 1024);
  check(origin, "kv_heads", kv_heads, 1, heads);
  check(origin, "head_dim", head_dim, 2, 1024);
  check(origin, "max_positions", max_positions, 1, 1 << 24);
  const auto fail = [&](const std::string& reason) { throw InvalidArgument(origin + reason); };
  if (head_dim % 2 != 0) {
    fail("head_dim is " + std::to_string(head_dim) + "; rotary positions need an even one");
  }
  if (heads % kv_heads != 0) {
    fail("heads (" + std::to_string(heads) + ") must be a multiple of kv_heads (" + std::to_string(kv_heads) +
         ")");
  }
  if (!(rope_theta > 0) || !std::isfinite(rope_theta)) fail("rope_theta must be above 0");
  if (!(norm_eps > 0) || !(norm_eps < 1)) fail("norm_eps must be above 0 and below 1");
  const std::int64_t shared = layers - 2 * end_layers();
  if (sharing == LayerSharing::kNone) {
    check(origin, "recursions (without sharing)", recursions, 1, 1);
  } else if (recursions < 1 || shared < recursions || shared % recursions != 0) {
    fail("recursions is " + std::to_string(recursions) + "; with sharing " + name_of(sharing) +
         " it must divide the " + std::to_string(shared) + " shared of " + std::to_string(layers) +
         " layers");
  }
  if (routing != Routing::kNone && sharing != LayerSharing::kCycle && sharing != LayerSharing::kMiddleCycle) {
    fail(std::string("routing ") + name_of(routing) + " needs sharing cycle or middle_cycle, not " +
         name_of(sharing));
  }
  if (!(gate_scale > 0) || !std::isfinite(gate_scale)) fail("gate_scale must be above 0");
}

DecoderConfig read_decoder_config(const GgufFile& file) {
  const std::string origin = "'" + file.origin() + "': ";
  if (file.text("general.architecture") != "llama") {
    throw FormatError(origin + "architecture '" +
                      std::string(file.text("general.architecture").substr(0, 60)) +
                      "' is not read; only 'llama'");
  }
  if (file.has("llama.rope.scaling.type") && file.text("llama.rope.scaling.type") != "none") {
    throw FormatError(origin + "metadata 'llama.rope.scaling.type': scaled rotary positions are not read");
  }
  const auto size = [&](const char* key, std::int64_t most) { return file.integer(key, 1, most); };
  DecoderConfig config;
  config.hidden_size = size("llama.embedding_length", kLargestSize);
  config.intermediate_size = size("llama.feed_forward_length", kLargestSize);
  config.layers = size("llama.block_count", kMostLayers);
  config.heads = size("llama.attention.head_count", 1024);
  config.kv_heads = file.has("llama.attention.head_count_kv")
                        ? size("llama.attention.head_count_kv", config.heads)
                        : config.heads;
  config.head_dim = file.has("llama.attention.key_length") ? size("llama.attention.key_length", 1024)
                                                           : config.hidden_size / config.heads;
  config.max_positions = size("llama.context_length", 1 << 24);
  config.norm_eps = file.number("llama.attention.layer_norm_rms_epsilon");
  if (file.has("llama.rope.freq_base")) config.rope_theta = file.number("llama.rope.freq_base");
  if (file.has("llama.rope.dimension_count")) {
    (void)file.integer("llama.rope.dimension_count", config.head_dim, config.head_dim);
  }
  const auto table = file.tensors().find("token_embd.weight");
  if (table == file.tensors().end()) throw FormatError(origin + "tensor 'token_embd.weight' is missing");
  config.vocab_size = table->second.shape.front();
  config.tied_embeddings = file.tensors().find("output.weight") == file.tensors().end();
  read_sharing(file, config);
  config.validate(origin);
  return config;
}

DecoderConfig read_decoder_config(const std::filesystem::path& path) {
  const JsonFields fields(path);
  fields.require("model_type", "llama");
  fields.require("hidden_act", "silu");
  fields.require("attention_bias", false);
  fields.require("mlp_bias", false);
  DecoderConfig config;
  config.vocab_size = fields.integer("vocab_size");
  config.hidden_size = fields.integer("hidden_size");
  config.intermediate_size = fields.integer("intermediate_size");
  config.layers = fields.integer("num_hidden_layers");
  config.heads = fields.integer("num_attention_heads");
  config.kv_heads = fields.has("num_key_value_heads") ? fields.integer("num_key_value_heads") : config.heads;
  if (config.heads < 1) fields.fail("'num_attention_heads' must be at least 1");
  config.head_dim = fields.has("head_dim") ? fields.integer("head_dim") : config.hidden_size / config.heads;
  config.max_positions = fields.integer("max_position_embeddings");
  config.rope_theta = read_rope_theta(fields);
  config.norm_eps = fields.number("rms_norm_eps");
  config.tied_embeddings = fields.has("tie_word_embeddings") && fields.at("tie_word_embeddings") == true;
  if (fields.has("sharing")) config.sharing = parse_layer_sharing(fields.text("sharing"));
  if (fields.has("recursions")) config.recursions = fields.integer("recursions");
  if (fields.has("routing")) config.routing = parse_routing(fields.text("routing"));
  if (fields.has("gate")) config.gate = parse_gate(fields.text("gate"));
  // What the two kinds are usually trained with.
  config.gate_scale = config.routing == Routing::kTokenChoice ? 1 : 0.1;
  if (fields.has("gate_scale")) config.gate_scale = fields.number("gate_scale");
  config.validate("'" + path.string() + "': ");
  return config;
}

void check_tokens(const DecoderConfig& config, std::span<const int> tokens) {
  if (static_cast<std::int64_t>(tokens.size()) > config.max_positions) {
    throw InvalidArgument(std::to_string(tokens.size()) + " tokens are more than the model's " +
                          std::to_string(config.max_positions) + " positions; shorten the text");
  }
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= config.vocab_size) {
      throw InvalidArgument("token " + std::to_string(i) + " is " + std::to_string(tokens[i]) +
                            "; allowed: 0 to " + std::to_string(config.vocab_size - 1));
    }
  }
}

}  // namespace taesr
