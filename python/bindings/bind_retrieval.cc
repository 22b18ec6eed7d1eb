#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "collection/passage_text.h"
#include "open_collection.h"
#include "quoted.h"
#include "register.h"
#include "taesr/errors.h"
#include "taesr/retriever.h"

namespace py = pybind11;

namespace taesr {
namespace {

using IdArray = py::array_t<std::int64_t, py::array::c_style | py::array::forcecast>;
using ScoreArray = py::array_t<float, py::array::c_style | py::array::forcecast>;
using PyLists = std::vector<std::pair<std::string, std::pair<IdArray, ScoreArray>>>;

std::vector<HeadList> to_lists(const PyLists& given) {
  std::vector<HeadList> lists;
  for (const auto& [head, list] : given) {
    const auto& [ids, scores] = list;
    if (ids.ndim() != 1 || scores.ndim() != 1 || ids.size() != scores.size()) {
      throw InvalidArgument("the list of head '" + head + "' has " + std::to_string(ids.size()) +
                            " ids and " + std::to_string(scores.size()) +
                            " scores; give one score for each id");
    }
    HeadList made{head, {}};
    for (py::ssize_t i = 0; i < ids.size(); ++i) made.candidates.push_back({ids.at(i), scores.at(i)});
    lists.push_back(std::move(made));
  }
  return lists;
}

template <typename Value>
py::array_t<Value> to_array(const std::vector<Value>& values, std::vector<py::ssize_t> shape) {
  py::array_t<Value> array(std::move(shape));
  if (!values.empty()) std::memcpy(array.mutable_data(), values.data(), values.size() * sizeof(Value));
  return array;
}

FusionOptions fusion_options(const std::string& method, const std::map<std::string, double>& weights,
                             double rrf_k) {
  return {parse_fusion_method(method), rrf_k, weights};
}

py::tuple fuse_lists(const PyLists& given, const std::string& method,
                     const std::map<std::string, double>& weights, double rrf_k) {
  const std::vector<HeadList> lists = to_lists(given);
  const std::vector<FusedCandidate> fused = fuse(lists, fusion_options(method, weights, rrf_k));
  std::vector<std::int64_t> ids;
  std::vector<double> scores;
  std::vector<double> shares;
  for (const FusedCandidate& candidate : fused) {
    ids.push_back(candidate.chunk);
    scores.push_back(candidate.score);
    shares.insert(shares.end(), candidate.shares.begin(), candidate.shares.end());
  }
  const auto rows = static_cast<py::ssize_t>(ids.size());
  return py::make_tuple(to_array(ids, {rows}), to_array(scores, {rows}),
                        to_array(shares, {rows, static_cast<py::ssize_t>(lists.size())}));
}

void register_fusion(py::module_& module) {
  module.def("fuse", &fuse_lists, py::arg("lists"), py::kw_only(), py::arg("method") = "rrf",
             py::arg("weights") = std::map<std::string, double>(), py::arg("rrf_k") = 60.0,
             "Lists (head, (ids int64 [n], scores float32 [n])), best first, as one: ids int64 [m], scores "
             "float64 [m] and each list's share in them, float64 [m, lists].");
  module.def(
      "standard_scores",
      [](const PyLists& given) {
        const std::vector<HeadList> lists = to_lists(given);
        const StandardScores standard = standard_scores(lists);
        const auto rows = static_cast<py::ssize_t>(standard.chunks.size());
        return py::make_tuple(to_array(standard.chunks, {rows}),
                              to_array(standard.values, {rows, static_cast<py::ssize_t>(lists.size())}));
      },
      py::arg("lists"),
      "The union of the lists' ids, ascending, int64 [m], and their scores less the mean, divided by the "
      "standard deviation, float64 [m, lists].");
  module.def("passage_text", &passage_text, py::arg("title"), py::arg("section"), py::arg("text"),
             "What is embedded of a chunk: its text below its title and headings.");
}

SearchOptions make_options(std::size_t k, const std::string& mode, const std::string& depth, std::size_t dim,
                           std::size_t candidates, const std::string& fusion,
                           const std::map<std::string, double>& weights, double rrf_k,
                           std::optional<double> mmr, std::size_t expand, std::optional<double> effort,
                           bool explain, const Collection::Filter& filter) {
  SearchOptions options;
  options.k = k;
  options.mode = parse_search_mode(mode);
  options.depth = depth;
  options.dim = dim;
  options.candidates = candidates;
  options.fusion = fusion_options(fusion, weights, rrf_k);
  options.mmr = mmr;
  options.expand = expand;
  options.effort = effort;
  options.explain = explain;
  options.filter = filter;
  return options;
}

void register_options(py::module_& module) {
  py::class_<SearchOptions>(module, "SearchOptions", "How a collection is searched.")
      .def(py::init(&make_options), py::kw_only(), py::arg("k") = 10, py::arg("mode") = "hybrid",
           py::arg("depth") = "auto", py::arg("dim") = 0, py::arg("candidates") = 0,
           py::arg("fusion") = "rrf", py::arg("weights") = std::map<std::string, double>(),
           py::arg("rrf_k") = 60.0, py::arg("mmr") = py::none(), py::arg("expand") = 0,
           py::arg("effort") = py::none(), py::arg("explain") = false,
           py::arg("filter") = Collection::Filter());
}

void register_results(py::module_& module) {
  py::class_<Explanation>(module, "Explanation", "Why a hit stands where it does.")
      .def_readonly("contributions", &Explanation::contributions,
                    "By head; added in this order they are the fused score.")
      .def_property_readonly(
          "terms",
          [](const Explanation& self) {
            std::vector<std::pair<std::string, float>> terms;
            for (const TermScore& term : self.terms) terms.emplace_back(term.term, term.score);
            return terms;
          },
          "Terms shared with the query and their parts of the BM25 score.")
      .def_readonly("depth", &Explanation::depth, "Recursions of the passage's embedding.")
      .def_readonly("redundancy", &Explanation::redundancy, "Largest cosine with an earlier hit, with mmr.");

  py::class_<Hit>(module, "Hit", "One result of a search.")
      .def_readonly("chunk", &Hit::chunk)
      .def_readonly("score", &Hit::score, "The head's own score, or the fused one of a hybrid search.")
      .def_readonly("ranks", &Hit::ranks, "By head, from 1; only of heads that found the chunk.")
      .def_readonly("scores", &Hit::scores, "By head.")
      .def_readonly("joined", &Hit::joined, "With expand: ids of the chunks in it.")
      .def_readonly("explanation", &Hit::explanation)
      .def("__repr__", [](const Hit& self) {
        return "Hit(document=" + quoted(self.chunk.document) +
               ", section=" + quoted(self.chunk.chunk.section) +
               ", score=" + std::string(py::repr(py::float_(self.score))) +
               ", ranks=" + std::string(py::repr(py::cast(self.ranks))) + ")";
      });

  py::class_<SearchResult>(module, "SearchResult", "The hits of a search, best first, and what it cost.")
      .def_readonly("hits", &SearchResult::hits)
      .def_readonly("depth", &SearchResult::depth, "Recursions used for the query; 0 without an embedding.")
      .def_property_readonly(
          "timings",
          [](const SearchResult& self) {
            return py::dict(py::arg("encode") = self.timings.encode,
                            py::arg("retrieve") = self.timings.retrieve,
                            py::arg("total") = self.timings.total);
          },
          "Milliseconds: encode, retrieve, total.")
      .def("__len__", [](const SearchResult& self) { return self.hits.size(); })
      .def("__repr__", [](const SearchResult& self) {
        return "SearchResult(" + std::to_string(self.hits.size()) +
               " hits, depth=" + std::to_string(self.depth) + ")";
      });
}

}  // namespace

/// After register_collection, whose rows and collections results are made of.
void register_retrieval(py::module_& module) {
  register_fusion(module);
  register_options(module);
  register_results(module);
  module.def(
      "search_batch",
      [](const OpenCollection& collection, const std::vector<std::string>& queries,
         const std::vector<SearchOptions>& options) {
        return collection.run([&](const Collection& open) { return search_batch(open, queries, options); });
      },
      py::arg("collection"), py::arg("queries"), py::arg("options"),
      "Searches for all queries, with one options for all or one for each.");
}

}  // namespace taesr
