#include <utility>

#include "decoder/weight_names.h"
#include "decoder/weights.h"

namespace taesr {

std::map<std::string, Matrix> export_weights(const DecoderConfig& config, const DecoderWeights& weights) {
  std::map<std::string, Matrix> tensors;
  const auto add_matrix = [&](const std::string& name, const blocks::PackedMatrix& packed) {
    Matrix& made = tensors[name];
    made.rows = static_cast<std::size_t>(packed.out);
    made.columns = static_cast<std::size_t>(packed.in);
    made.values.resize(made.rows * made.columns);
    for (std::int64_t row = 0; row < packed.out; ++row) {
      packed.read_row(row, made.values.data() + row * packed.in);
    }
  };
  const auto add_numbers = [&](const std::string& name, const std::vector<float>& values,
                               std::size_t rows = 1) {
    if (values.empty()) return;
    Matrix& made = tensors[name];
    made.rows = rows;
    made.columns = values.size() / rows;
    made.values = values;
  };
  const WeightNames& names = kLlamaNames;
  add_matrix(names.token, weights.token);
  add_numbers(names.final_norm, weights.final_norm);
  if (weights.head) add_matrix(names.head, *weights.head);
  add_numbers(names.router, weights.routers, static_cast<std::size_t>(config.recursions));
  add_numbers(names.router_bias, weights.router_bias);
  for (std::size_t i = 0; i < weights.layers.size(); ++i) {
    const DecoderLayer& layer = weights.layers[i];
    const std::string prefix = names.layer + std::to_string(i) + ".";
    add_numbers(prefix + names.attention_norm, layer.attention_norm);
    add_numbers(prefix + names.mlp_norm, layer.mlp_norm);
    for (const auto& [name, matrix] :
         {std::pair(names.query, &layer.query), std::pair(names.key, &layer.key),
          std::pair(names.value, &layer.value), std::pair(names.output, &layer.output),
          std::pair(names.gate, &layer.gate), std::pair(names.up, &layer.up),
          std::pair(names.down, &layer.down)}) {
      add_matrix(prefix + name, *matrix);
    }
  }
  return tensors;
}

}  // namespace taesr
