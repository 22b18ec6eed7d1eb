#include "taesr/config.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>
#include <sstream>

#include <nlohmann/json.hpp>

#include "core/file.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t kMaxConfigBytes = 1 << 20;
constexpr const char* kArchitecture = "taesr-encoder";

void check_range(const char* field, double value, double low, double high) {
  if (value >= low && value <= high) return;  // also false for NaN
  std::ostringstream message;
  message << "config field '" << field << "' is " << value << "; allowed: " << low << " to " << high;
  throw InvalidArgument(message.str());
}

[[noreturn]] void throw_type(const std::string& origin, const std::string& field, const char* wanted, const Json& got) {
  throw InvalidArgument(origin + ": field '" + field + "' must be " + wanted + ", got " + got.dump().substr(0, 60));
}

int read_int(const std::string& origin, const std::string& field, const Json& value) {
  if (!value.is_number_integer()) throw_type(origin, field, "an integer", value);
  const auto number = value.get<std::int64_t>();
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > std::numeric_limits<int>::max()) {
    throw_type(origin, field, "an integer below 2^31", value);
  }
  if (number < std::numeric_limits<int>::min() || number > std::numeric_limits<int>::max()) {
    throw_type(origin, field, "an integer of 32 bits", value);
  }
  return static_cast<int>(number);
}

/// Assigns JSON members to fields and remembers which were known, so that typing errors are caught.
class FieldReader {
 public:
  FieldReader(const Json& object, std::string origin) : object_(object), origin_(std::move(origin)) {}

  void read(const char* field, int& target) {
    if (const Json* value = find(field)) target = read_int(origin_, field, *value);
  }
  void read(const char* field, double& target) {
    const Json* value = find(field);
    if (value == nullptr) return;
    if (!value->is_number()) throw_type(origin_, field, "a number", *value);
    target = value->get<double>();
  }
  void read(const char* field, std::vector<int>& target) {
    const Json* value = find(field);
    if (value == nullptr) return;
    if (!value->is_array()) throw_type(origin_, field, "a list of integers", *value);
    target.clear();
    for (const Json& item : *value) target.push_back(read_int(origin_, field, item));
  }
  void read(const char* field, std::map<std::string, int>& target) {
    const Json* value = find(field);
    if (value == nullptr) return;
    if (!value->is_object()) throw_type(origin_, field, "an object of integers", *value);
    target.clear();
    for (const auto& [key, item] : value->items()) {
      target[key] = read_int(origin_, std::string(field) + "." + key, item);
    }
  }
  void require_constant(const char* field, const std::string& constant) {
    const Json* value = find(field);
    if (value != nullptr && *value != constant) throw_type(origin_, field, ("\"" + constant + "\"").c_str(), *value);
  }
  void reject_unknown() const {
    for (const auto& [key, unused] : object_.items()) {
      if (known_.contains(key)) continue;
      std::string names;
      for (const auto& name : known_) names += (names.empty() ? "" : ", ") + name;
      throw InvalidArgument(origin_ + ": unknown field '" + key.substr(0, 60) + "'; known: " + names);
    }
  }

 private:
  const Json* find(const char* field) {
    known_.insert(field);
    const auto found = object_.find(field);
    return found == object_.end() ? nullptr : &*found;
  }

  const Json& object_;
  std::string origin_;
  std::set<std::string> known_;
};

template <class Visitor>
void visit_fields(TAESRConfig& config, Visitor& visitor) {
  visitor.read("vocab_size", config.vocab_size);
  visitor.read("hidden_size", config.hidden_size);
  visitor.read("intermediate_size", config.intermediate_size);
  visitor.read("num_attention_heads", config.num_attention_heads);
  visitor.read("max_position_embeddings", config.max_position_embeddings);
  visitor.read("layer_norm_eps", config.layer_norm_eps);
  visitor.read("shared_layers", config.shared_layers);
  visitor.read("recursion_steps", config.recursion_steps);
  visitor.read("embedding_size", config.embedding_size);
  visitor.read("matryoshka_dimensions", config.matryoshka_dimensions);
  visitor.read("bos_id", config.bos_id);
  visitor.read("pad_id", config.pad_id);
  visitor.read("eos_id", config.eos_id);
  visitor.read("unk_id", config.unk_id);
}

/// The writing twin of FieldReader: one list of fields serves both directions.
struct FieldWriter {
  Json object = Json::object();
  template <class T>
  void read(const char* field, const T& value) {
    object[field] = value;
  }
};

/// Refuses deep nesting before the parser recurses into it; a config has two levels.
Json parse_object(const std::string& text, const std::string& origin) {
  const auto limit_depth = [&](int depth, Json::parse_event_t, Json&) {
    if (depth > 8) throw InvalidArgument(origin + ": nested deeper than 8 levels");
    return true;
  };
  try {
    Json object = Json::parse(text, limit_depth);
    if (!object.is_object()) throw InvalidArgument(origin + ": must be one JSON object");
    return object;
  } catch (const Json::parse_error& error) {
    // What stands before the fault names the field better than nlohmann's "last read" does.
    const std::size_t end = std::min(error.byte, text.size());
    const std::size_t begin = end > 40 ? end - 40 : 0;
    throw InvalidArgument(origin + ": not valid JSON (NaN and Infinity are not) at byte " + std::to_string(error.byte) +
                          ", after " + Json(text.substr(begin, end - begin)).dump(-1, ' ', true, Json::error_handler_t::replace));
  }
}

void validate_recursion_steps(const std::map<std::string, int>& steps) {
  for (const char* name : {"easy", "medium", "hard"}) {
    if (!steps.contains(name)) throw InvalidArgument(std::string("config field 'recursion_steps' lacks '") + name + "'");
  }
  for (const auto& [name, count] : steps) {
    if (name != "easy" && name != "medium" && name != "hard") {
      throw InvalidArgument("config field 'recursion_steps' has the unknown name '" + name.substr(0, 60) +
                            "'; allowed: easy, medium, hard");
    }
    check_range(("recursion_steps." + name).c_str(), count, 1, 64);
  }
  if (steps.at("easy") > steps.at("medium") || steps.at("medium") > steps.at("hard")) {
    throw InvalidArgument("config field 'recursion_steps' must not decrease from easy over medium to hard");
  }
}

}  // namespace

void TAESRConfig::validate() const {
  check_range("vocab_size", vocab_size, 8, 1 << 20);
  check_range("hidden_size", hidden_size, 8, 8192);
  check_range("intermediate_size", intermediate_size, 8, 65536);
  check_range("num_attention_heads", num_attention_heads, 1, 128);
  if (hidden_size % num_attention_heads != 0) {
    throw InvalidArgument("config field 'hidden_size' is " + std::to_string(hidden_size) +
                          "; it must be a multiple of num_attention_heads, " + std::to_string(num_attention_heads));
  }
  check_range("max_position_embeddings", max_position_embeddings, 8, 1 << 17);
  check_range("layer_norm_eps", layer_norm_eps, 0, 1e-2);
  check_range("shared_layers", shared_layers, 1, 64);
  validate_recursion_steps(recursion_steps);
  check_range("embedding_size", embedding_size, 8, 8192);
  if (matryoshka_dimensions.empty()) throw InvalidArgument("config field 'matryoshka_dimensions' is empty");
  for (std::size_t i = 0; i < matryoshka_dimensions.size(); ++i) {
    const int least = i == 0 ? 1 : matryoshka_dimensions[i - 1] + 1;
    check_range("matryoshka_dimensions", matryoshka_dimensions[i], least, embedding_size);
  }
  check_range("bos_id", bos_id, 0, vocab_size - 1);
  check_range("pad_id", pad_id, 0, vocab_size - 1);
  check_range("eos_id", eos_id, 0, vocab_size - 1);
  check_range("unk_id", unk_id, 0, vocab_size - 1);
}

int TAESRConfig::max_recursions() const { return recursion_steps.at("hard"); }

int TAESRConfig::recursions(const std::string& depth) const {
  if (depth == "auto") return recursion_steps.at("medium");
  if (const auto named = recursion_steps.find(depth); named != recursion_steps.end()) return named->second;
  int number = 0;
  const auto [end, error] = std::from_chars(depth.data(), depth.data() + depth.size(), number);
  if (error == std::errc() && end == depth.data() + depth.size() && number >= 1 && number <= max_recursions()) {
    return number;
  }
  throw InvalidArgument("depth is '" + depth.substr(0, 60) + "'; allowed: easy, medium, hard, auto or a number from 1 to " +
                        std::to_string(max_recursions()));
}

TAESRConfig TAESRConfig::from_json(const std::string& text, const std::string& origin) {
  const Json object = parse_object(text, origin);
  FieldReader reader(object, origin);
  reader.require_constant("architecture", kArchitecture);
  TAESRConfig config;
  visit_fields(config, reader);
  reader.reject_unknown();
  config.validate();
  return config;
}

std::string TAESRConfig::to_json() const {
  FieldWriter writer;
  writer.object["architecture"] = kArchitecture;
  TAESRConfig copy = *this;
  visit_fields(copy, writer);
  return writer.object.dump(2) + "\n";
}

TAESRConfig TAESRConfig::from_file(const std::filesystem::path& path) {
  return from_json(read_file(path, kMaxConfigBytes), path.string());
}

}  // namespace taesr
