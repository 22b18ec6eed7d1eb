#include <algorithm>
#include <sstream>

#include "taesr/config.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr int kMaxLayers = 64;
constexpr int kMaxSubspaces = 32;
constexpr double kLeastCapacity = 1e-3;

void check_range(const std::string& field, double value, double low, double high, const std::string& when = "") {
  if (value >= low && value <= high) return;  // also false for NaN
  std::ostringstream message;
  message << "config field '" << field << "' is " << value << "; allowed" << when << ": " << low;
  if (high > low) message << " to " << high;
  throw InvalidArgument(message.str());
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
    check_range("recursion_steps." + name, count, 1, 64);
  }
  if (steps.at("easy") > steps.at("medium") || steps.at("medium") > steps.at("hard")) {
    throw InvalidArgument("config field 'recursion_steps' must not decrease from easy over medium to hard");
  }
}

void validate_layers(const TAESRConfig& config) {
  check_range("shared_layers", config.shared_layers, 1, kMaxLayers);
  const bool middle = config.sharing == Sharing::kMiddleCycle || config.sharing == Sharing::kMiddleSequence;
  const int most = middle ? kMaxLayers : 0;
  const std::string when = middle ? "" : " with sharing \"" + to_string(config.sharing) + "\"";
  check_range("entry_layers", config.entry_layers, 0, most, when);
  check_range("refinement_layers", config.refinement_layers, 0, most, when);
  check_range("exit_layers", config.exit_layers, 0, most, when);
}

/// Their names become parts of weight names, so they must hold neither dots nor anything odd.
void validate_subspaces(const std::map<std::string, int>& subspaces) {
  check_range("subspaces (how many)", static_cast<double>(subspaces.size()), 0, kMaxSubspaces);
  for (const auto& [name, size] : subspaces) {
    const bool plain = !name.empty() && name.size() <= 40 && std::all_of(name.begin(), name.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    });
    if (!plain) {
      throw InvalidArgument("config field 'subspaces' has the name '" + name.substr(0, 60) +
                            "'; allowed: 1 to 40 of the characters a-z, 0-9 and _");
    }
    check_range("subspaces." + name, size, 1, 8192);
  }
}

void validate_token_routing(const TAESRConfig& config) {
  const bool cycle = config.sharing == Sharing::kMiddleCycle || config.sharing == Sharing::kCycle;
  const std::string routing = to_string(config.token_routing);
  if (config.token_routing != TokenRouting::kNone && !cycle) {
    throw InvalidArgument("config field 'token_routing' is \"" + routing + "\"; with sharing \"" +
                          to_string(config.sharing) + "\" only \"none\" is allowed");
  }
  const bool expert = config.token_routing == TokenRouting::kExpertChoice;
  if (expert != !config.token_capacity.empty()) {
    throw InvalidArgument("config field 'token_capacity' has " + std::to_string(config.token_capacity.size()) +
                          " values; token_routing \"" + routing + "\" asks for " +
                          (expert ? "1 to " + std::to_string(config.max_recursions()) : "none"));
  }
  check_range("token_capacity (how many)", static_cast<double>(config.token_capacity.size()), 0,
              config.max_recursions());
  double most = 1;  // tokens that have stopped do not start again
  for (const double share : config.token_capacity) {
    check_range("token_capacity", share, kLeastCapacity, most, most < 1 ? " after a smaller share" : "");
    most = share;
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
  validate_layers(*this);
  validate_recursion_steps(recursion_steps);
  check_range("embedding_size", embedding_size, 8, 8192);
  if (matryoshka_dimensions.empty()) throw InvalidArgument("config field 'matryoshka_dimensions' is empty");
  for (std::size_t i = 0; i < matryoshka_dimensions.size(); ++i) {
    const int least = i == 0 ? 1 : matryoshka_dimensions[i - 1] + 1;
    check_range("matryoshka_dimensions", matryoshka_dimensions[i], least, embedding_size);
  }
  check_range("late_size", late_size, 0, 1024);
  check_range("router_size", router_size, 0, 4096);
  check_range("router_confidence", router_confidence, 0, 1);
  validate_subspaces(subspaces);
  validate_token_routing(*this);
  check_range("bos_id", bos_id, 0, vocab_size - 1);
  check_range("pad_id", pad_id, 0, vocab_size - 1);
  check_range("eos_id", eos_id, 0, vocab_size - 1);
  check_range("unk_id", unk_id, 0, vocab_size - 1);
}

}  // namespace taesr
