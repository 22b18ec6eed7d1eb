#include "model/weights.h"

#include <sstream>

#include "taesr/errors.h"

namespace taesr {
namespace {

using Shape = std::vector<std::int64_t>;

constexpr std::int64_t kDepthClasses = 3;  // easy, medium, hard

std::string numbered(const char* part, int layer) { return std::string(part) + "." + std::to_string(layer); }
std::string shared_name(int layer) { return numbered("shared", layer); }
std::string recursion_name(int layer, int recursion) {
  return shared_name(layer) + ".recursion." + std::to_string(recursion);
}

/// Collects the names and shapes in the order in which `resolve` asks for them.
class ShapeList {
 public:
  explicit ShapeList(const TAESRConfig& config) : hidden_(config.hidden_size), inner_(config.intermediate_size) {}

  void add(const std::string& name, Shape shape) { list.emplace_back(name, std::move(shape)); }
  void add_affine(const std::string& name, std::int64_t out, std::int64_t in) {
    add(name + ".weight", {out, in});
    add(name + ".bias", {out});
  }
  void add_norm(const std::string& name) {
    add(name + ".weight", {hidden_});
    add(name + ".bias", {hidden_});
  }
  void add_products(const std::string& name) {
    add_affine(name + ".attention.qkv", 3 * hidden_, hidden_);
    add_affine(name + ".attention.out", hidden_, hidden_);
    add_affine(name + ".mlp.up", inner_, hidden_);
    add_affine(name + ".mlp.down", hidden_, inner_);
  }
  void add_norms(const std::string& name) {
    add_norm(name + ".attention_norm");
    add_norm(name + ".mlp_norm");
  }
  void add_layers(const char* part, int count) {
    for (int layer = 0; layer < count; ++layer) {
      add_products(numbered(part, layer));
      add_norms(numbered(part, layer));
    }
  }

  std::vector<std::pair<std::string, Shape>> list;

 private:
  std::int64_t hidden_;
  std::int64_t inner_;
};

void add_heads(ShapeList& shapes, const TAESRConfig& config) {
  const std::int64_t hidden = config.hidden_size;
  shapes.add_affine("head", config.embedding_size, hidden);
  if (config.sparse_head) {
    shapes.add_affine("sparse.transform", hidden, hidden);
    shapes.add_norm("sparse.norm");
    shapes.add("sparse.bias", {config.vocab_size});
    shapes.add("sparse.idf", {config.vocab_size});
  }
  if (config.late_size > 0) shapes.add("late.weight", {config.late_size, hidden});
  if (config.router_size > 0) {
    shapes.add_affine("router.hidden", config.router_size, hidden + 1);
    shapes.add_affine("router.out", kDepthClasses, config.router_size);
  }
  for (const auto& [name, size] : config.subspaces) shapes.add_affine("subspace." + name, size, hidden);
}

std::string to_string(at::IntArrayRef shape) {
  std::ostringstream text;
  text << shape;
  return text.str();
}

/// Looks weights up by name; all were checked before.
class Resolver {
 public:
  explicit Resolver(const WeightMap& weights) : weights_(weights) {}

  const at::Tensor& tensor(const std::string& name) const { return weights_.at(name); }
  Affine affine(const std::string& name) const { return {tensor(name + ".weight"), tensor(name + ".bias")}; }
  LayerWeights products(const std::string& name) const {
    return {affine(name + ".attention.qkv"), affine(name + ".attention.out"), affine(name + ".mlp.up"),
            affine(name + ".mlp.down")};
  }
  LayerNorms norms(const std::string& name) const {
    return {affine(name + ".attention_norm"), affine(name + ".mlp_norm")};
  }
  std::vector<Layer> layers(const char* part, int count) const {
    std::vector<Layer> list;
    for (int layer = 0; layer < count; ++layer) {
      list.push_back({products(numbered(part, layer)), norms(numbered(part, layer))});
    }
    return list;
  }

 private:
  const WeightMap& weights_;
};

void resolve_heads(EncoderWeights& resolved, const TAESRConfig& config, const Resolver& from) {
  resolved.head = from.affine("head");
  if (config.sparse_head) {
    resolved.sparse = {from.affine("sparse.transform"), from.affine("sparse.norm"), from.tensor("sparse.bias"),
                       from.tensor("sparse.idf")};
  }
  if (config.late_size > 0) resolved.late = from.tensor("late.weight");
  if (config.router_size > 0) resolved.router = {from.affine("router.hidden"), from.affine("router.out")};
  for (const auto& [name, size] : config.subspaces) resolved.subspaces[name] = from.affine("subspace." + name);
}

void check(const TAESRConfig& config, const WeightMap& weights, const std::string& origin) {
  const auto expected = weight_shapes(config);
  for (const auto& [name, shape] : expected) {
    const auto found = weights.find(name);
    if (found == weights.end()) throw InvalidArgument(origin + ": weight '" + name + "' is missing");
    if (found->second.sizes() != at::IntArrayRef(shape)) {
      throw InvalidArgument(origin + ": weight '" + name + "' has shape " + to_string(found->second.sizes()) +
                            "; the config asks for " + to_string(shape));
    }
  }
  if (weights.size() == expected.size()) return;
  std::map<std::string, Shape> known(expected.begin(), expected.end());
  for (const auto& [name, tensor] : weights) {
    if (!known.contains(name)) throw InvalidArgument(origin + ": unknown weight '" + name.substr(0, 100) + "'");
  }
}

}  // namespace

std::vector<std::pair<std::string, Shape>> weight_shapes(const TAESRConfig& config) {
  ShapeList shapes(config);
  shapes.add("embeddings.token.weight", {config.vocab_size, config.hidden_size});
  shapes.add("embeddings.position.weight", {config.max_position_embeddings, config.hidden_size});
  shapes.add("embeddings.role.weight", {2, config.hidden_size});
  shapes.add_norm("embeddings.norm");
  shapes.add_layers("entry", config.entry_layers);
  for (int layer = 0; layer < config.shared_layers; ++layer) {
    shapes.add_products(shared_name(layer));
    for (int r = 0; r < config.max_recursions(); ++r) shapes.add_norms(recursion_name(layer, r));
  }
  shapes.add("reinject.weight", {config.max_recursions(), config.hidden_size});
  if (config.token_routing != TokenRouting::kNone) {
    shapes.add("token_router.weight", {config.max_recursions(), config.hidden_size});
  }
  if (config.token_routing == TokenRouting::kTokenChoice) shapes.add("token_router.bias", {config.max_recursions()});
  shapes.add_layers("refinement", config.refinement_layers);
  shapes.add_layers("exit", config.exit_layers);
  add_heads(shapes, config);
  return shapes.list;
}

EncoderWeights EncoderWeights::resolve(const TAESRConfig& config, const WeightMap& weights, const std::string& origin) {
  check(config, weights, origin);
  const Resolver from(weights);
  EncoderWeights resolved;
  resolved.token = from.tensor("embeddings.token.weight");
  resolved.position = from.tensor("embeddings.position.weight");
  resolved.role = from.tensor("embeddings.role.weight");
  resolved.embedding_norm = from.affine("embeddings.norm");
  resolved.entry = from.layers("entry", config.entry_layers);
  for (int layer = 0; layer < config.shared_layers; ++layer) {
    resolved.shared.push_back(from.products(shared_name(layer)));
    auto& norms = resolved.shared_norms.emplace_back();
    for (int r = 0; r < config.max_recursions(); ++r) norms.push_back(from.norms(recursion_name(layer, r)));
  }
  resolved.reinject = from.tensor("reinject.weight");
  if (config.token_routing != TokenRouting::kNone) {
    const bool balanced = config.token_routing == TokenRouting::kTokenChoice;
    resolved.token_router = {from.tensor("token_router.weight"), balanced ? from.tensor("token_router.bias") : at::Tensor()};
  }
  resolved.refinement = from.layers("refinement", config.refinement_layers);
  resolved.exit = from.layers("exit", config.exit_layers);
  resolve_heads(resolved, config, from);
  return resolved;
}

}  // namespace taesr
