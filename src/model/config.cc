#include "taesr/config.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <set>
#include <type_traits>

#include <nlohmann/json.hpp>

#include "core/file.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t kMaxConfigBytes = 1 << 20;
constexpr const char* kArchitecture = "taesr-encoder";
constexpr std::array<std::pair<Sharing, const char*>, 4> kSharing = {{{Sharing::kMiddleCycle, "middle_cycle"},
                                                                      {Sharing::kCycle, "cycle"},
                                                                      {Sharing::kMiddleSequence, "middle_sequence"},
                                                                      {Sharing::kSequence, "sequence"}}};
constexpr std::array<std::pair<TokenRouting, const char*>, 3> kTokenRouting = {
    {{TokenRouting::kNone, "none"},
     {TokenRouting::kExpertChoice, "expert_choice"},
     {TokenRouting::kTokenChoice, "token_choice"}}};
constexpr std::array<std::pair<SparseQueries, const char*>, 2> kSparseQueries = {
    {{SparseQueries::kTable, "table"}, {SparseQueries::kEncoder, "encoder"}}};

const auto& names_of(Sharing) { return kSharing; }
const auto& names_of(SparseQueries) { return kSparseQueries; }
const auto& names_of(TokenRouting) { return kTokenRouting; }

template <class Enum>
const char* name_of(Enum value) {
  const auto& names = names_of(value);
  return std::find_if(names.begin(), names.end(), [&](const auto& entry) { return entry.first == value; })->second;
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
  void read(const char* field, bool& target) {
    const Json* value = find(field);
    if (value == nullptr) return;
    if (!value->is_boolean()) throw_type(origin_, field, "true or false", *value);
    target = value->get<bool>();
  }
  template <class Enum>
    requires std::is_enum_v<Enum>
  void read(const char* field, Enum& target) {
    const Json* value = find(field);
    if (value == nullptr) return;
    std::string allowed;
    for (const auto& [candidate, name] : names_of(target)) {
      if (*value == name) {
        target = candidate;
        return;
      }
      allowed += std::string(allowed.empty() ? "" : ", ") + "\"" + name + "\"";
    }
    throw_type(origin_, field, ("one of " + allowed).c_str(), *value);
  }
  void read(const char* field, std::vector<double>& target) {
    const Json* value = find(field);
    if (value == nullptr) return;
    if (!value->is_array()) throw_type(origin_, field, "a list of numbers", *value);
    target.clear();
    for (const Json& item : *value) {
      if (!item.is_number()) throw_type(origin_, field, "a list of numbers", *value);
      target.push_back(item.get<double>());
    }
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
  visitor.read("sharing", config.sharing);
  visitor.read("entry_layers", config.entry_layers);
  visitor.read("shared_layers", config.shared_layers);
  visitor.read("refinement_layers", config.refinement_layers);
  visitor.read("exit_layers", config.exit_layers);
  visitor.read("recursion_steps", config.recursion_steps);
  visitor.read("embedding_size", config.embedding_size);
  visitor.read("matryoshka_dimensions", config.matryoshka_dimensions);
  visitor.read("sparse_head", config.sparse_head);
  visitor.read("sparse_queries", config.sparse_queries);
  visitor.read("late_size", config.late_size);
  visitor.read("router_size", config.router_size);
  visitor.read("router_confidence", config.router_confidence);
  visitor.read("subspaces", config.subspaces);
  visitor.read("token_routing", config.token_routing);
  visitor.read("token_capacity", config.token_capacity);
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
    if constexpr (std::is_enum_v<T>) {
      object[field] = name_of(value);
    } else {
      object[field] = value;
    }
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

}  // namespace

std::string to_string(Sharing sharing) { return name_of(sharing); }
std::string to_string(TokenRouting routing) { return name_of(routing); }
std::string to_string(SparseQueries queries) { return name_of(queries); }

int TAESRConfig::max_recursions() const { return recursion_steps.at("hard"); }

double TAESRConfig::capacity(int r) const {
  return token_capacity[std::min(static_cast<std::size_t>(r), token_capacity.size() - 1)];
}

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
