#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "index/bm25.h"
#include "index/hnsw_index.h"
#include "index/impact_index.h"
#include "index/maxsim.h"
#include "register.h"
#include "taesr/errors.h"

namespace py = pybind11;

namespace taesr {
namespace {

using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
using Pieces = py::array_t<std::int32_t, py::array::c_style | py::array::forcecast>;
using Borders = py::array_t<std::int64_t, py::array::c_style | py::array::forcecast>;

/// Compressed sparse rows, checked.
std::vector<SparseVector> to_rows(const Borders& borders, const Pieces& pieces, const Floats& weights) {
  const auto* border = borders.data();
  const py::ssize_t rows = borders.size() - 1;
  if (rows < 0 || border[0] != 0 || border[rows] != pieces.size() || pieces.size() != weights.size()) {
    throw InvalidArgument("indptr must rise from 0 to the number of indices, which is that of the values");
  }
  std::vector<SparseVector> found(static_cast<std::size_t>(rows));
  for (py::ssize_t i = 0; i < rows; ++i) {
    if (border[i] > border[i + 1]) throw InvalidArgument("indptr must not fall");
    for (std::int64_t j = border[i]; j < border[i + 1]; ++j) {
      found[static_cast<std::size_t>(i)].push_back({pieces.data()[j], weights.data()[j]});
    }
  }
  return found;
}

ImpactIndex build(const Borders& borders, const Pieces& pieces, const Floats& weights, std::uint32_t bits,
                  bool bm25, double k1, double b) {
  std::vector<SparseVector> rows = to_rows(borders, pieces, weights);
  const py::gil_scoped_release release;
  if (bm25) rows = bm25_weights(std::move(rows), {k1, b});
  ImpactBuilder builder;
  for (std::size_t i = 0; i < rows.size(); ++i) builder.append(static_cast<std::int64_t>(i + 1), rows[i]);
  return builder.build(bits);
}

std::vector<std::vector<std::pair<std::int64_t, float>>> search(const ImpactIndex& self, const Borders& borders,
                                                                const Pieces& pieces, const Floats& weights,
                                                                std::size_t k, bool pruned) {
  const std::vector<SparseVector> queries = to_rows(borders, pieces, weights);
  std::vector<std::vector<std::pair<std::int64_t, float>>> found(queries.size());
  const py::gil_scoped_release release;
  for (std::size_t i = 0; i < queries.size(); ++i) {
    for (const Candidate& hit : pruned ? self.search(queries[i], k) : self.search_all(queries[i], k)) {
      found[i].emplace_back(hit.chunk - 1, hit.score);
    }
  }
  return found;
}

Matrix to_matrix(const Floats& rows) {
  if (rows.ndim() != 2) throw InvalidArgument("rows must be float32 [n, dimension]");
  Matrix matrix(static_cast<std::size_t>(rows.shape(0)), static_cast<std::size_t>(rows.shape(1)));
  std::copy_n(rows.data(), matrix.values.size(), matrix.values.data());
  return matrix;
}

HnswIndex make_hnsw(std::size_t dimension, const std::string& format, const std::string& metric, std::size_t links,
                    std::size_t construction_width, std::size_t search_width, double compact_beyond) {
  HnswIndexOptions options;
  options.compact_beyond = compact_beyond;
  if (format == "float16") {
    options.format = VectorFormat::kFloat16;
  } else if (format == "int8") {
    options.format = VectorFormat::kInt8;
  } else if (format != "float32") {
    throw InvalidArgument("format is '" + format.substr(0, 60) + "'; allowed: float32, float16, int8");
  }
  if (metric == "inner_product") {
    options.metric = VectorMetric::kInnerProduct;
  } else if (metric != "cosine") {
    throw InvalidArgument("metric is '" + metric.substr(0, 60) + "'; allowed: cosine, inner_product");
  }
  options.graph = {links, construction_width, search_width};
  return HnswIndex(dimension, options);
}

void stage(HnswIndex& self, const Floats& vectors) {
  const Matrix rows = to_matrix(vectors);
  const py::gil_scoped_release release;
  for (std::size_t i = 0; i < rows.rows; ++i) self.append(self.last_id() + 1, rows.row(i));
}

/// Ids are positions and one, ascending and each once.
IdList ids_of(std::vector<std::int64_t> positions) {
  std::sort(positions.begin(), positions.end());
  positions.erase(std::unique(positions.begin(), positions.end()), positions.end());
  for (std::int64_t& position : positions) ++position;
  return positions;
}

/// Positions int64 [queries, k], -1 where there are fewer.
py::array_t<std::int64_t> nearest(const HnswIndex& self, const Floats& queries, std::size_t k,
                                  const HnswIndex::Filter* filter) {
  const Matrix rows = to_matrix(queries);
  py::array_t<std::int64_t> found({rows.rows, k});
  std::int64_t* position = found.mutable_data();
  const py::gil_scoped_release release;
  for (std::size_t i = 0; i < rows.rows; ++i) {
    const auto hits = filter != nullptr ? self.search(rows.row(i), k, *filter) : self.search(rows.row(i), k);
    for (std::size_t j = 0; j < k; ++j) *position++ = j < hits.size() ? hits[j].chunk - 1 : -1;
  }
  return found;
}

std::vector<std::pair<std::int64_t, float>> score_tokens(const TokenIndex& self, const Floats& query,
                                                         std::vector<std::int64_t> ids) {
  const Matrix rows = to_matrix(query);
  std::vector<std::pair<std::int64_t, float>> scored;
  const py::gil_scoped_release release;
  for (const Candidate& hit : self.score(rows, ids)) scored.emplace_back(hit.chunk, hit.score);
  return scored;
}

}  // namespace

void register_indexes(py::module_& module) {
  py::class_<ImpactIndex>(module, "ImpactIndex", "Inverted index over sparse rows; positions are from 0.")
      .def_static("build", &build, py::arg("indptr"), py::arg("indices"), py::arg("values"), py::kw_only(),
                  py::arg("bits") = 8, py::arg("bm25") = false, py::arg("k1") = 1.5, py::arg("b") = 0.75)
      .def("search", &search, py::arg("indptr"), py::arg("indices"), py::arg("values"), py::kw_only(), py::arg("k"),
           py::arg("pruned") = true)
      .def_property_readonly("nbytes", &ImpactIndex::bytes)
      .def("__len__", &ImpactIndex::size);
  py::class_<HnswIndex::Filter>(module, "HnswFilter", "Positions to choose from.");
  py::class_<HnswIndex>(module, "HnswIndex", "Approximate search of vectors; positions are from 0.")
      .def(py::init(&make_hnsw), py::arg("dimension"), py::kw_only(), py::arg("format") = "float32",
           py::arg("metric") = "cosine", py::arg("links") = 16, py::arg("construction_width") = 200,
           py::arg("search_width") = 128, py::arg("compact_beyond") = HnswIndexOptions().compact_beyond)
      .def("stage", &stage, py::arg("vectors"))
      .def("link", [](HnswIndex& self) { self.link(); }, py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("needs_compaction", &HnswIndex::needs_compaction)
      .def(
          "remove",
          [](HnswIndex& self, std::vector<std::int64_t> positions) { self.remove(ids_of(std::move(positions))); },
          py::arg("positions"))
      .def(
          "prepare_filter",
          [](const HnswIndex& self, std::vector<std::int64_t> positions) {
            return self.prepare(ids_of(std::move(positions)));
          },
          py::arg("positions"))
      .def("search", &nearest, py::arg("queries"), py::arg("k"), py::arg("filter") = py::none())
      .def("set_search_width", &HnswIndex::set_search_width, py::arg("width"))
      .def("__len__", &HnswIndex::size);
  py::class_<TokenIndex>(module, "TokenIndex", "Compressed token vectors of texts, scored by MaxSim.")
      .def(py::init([](const Floats& sample, std::size_t centroids) {
             const Matrix rows = to_matrix(sample);
             const py::gil_scoped_release release;
             return TokenIndex(TokenCodec::fit(rows, {.centroids = centroids}));
           }),
           py::arg("sample"), py::kw_only(), py::arg("centroids") = 1024)
      .def(
          "append",
          [](TokenIndex& self, std::int64_t id, const Floats& tokens) {
            const Matrix rows = to_matrix(tokens);
            const py::gil_scoped_release release;
            self.append(id, rows);
          },
          py::arg("id"), py::arg("tokens"))
      .def("score", &score_tokens, py::arg("query"), py::arg("ids"))
      .def(
          "candidates",
          [](const TokenIndex& self, const Floats& query, std::size_t count, std::size_t probes) {
            const Matrix rows = to_matrix(query);
            const py::gil_scoped_release release;
            return self.candidates(rows, count, probes);
          },
          py::arg("query"), py::arg("count"), py::arg("probes") = 8)
      .def_property_readonly("code_size", [](const TokenIndex& self) { return self.codec().code_size(); })
      .def("__len__", &TokenIndex::size);
}

}  // namespace taesr
