#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "open_collection.h"
#include "python_embedder.h"
#include "quoted.h"
#include "register.h"
#include "taesr/collection.h"
#include "taesr/errors.h"

namespace py = pybind11;

namespace taesr {
namespace {

using FloatArray = py::array_t<float, py::array::c_style | py::array::forcecast>;

std::shared_ptr<const Embedder> to_embedder(const py::object& object) {
  if (py::isinstance<Embedder>(object)) return object.cast<std::shared_ptr<Embedder>>();
  return std::make_shared<const PythonEmbedder>(object);
}

std::vector<std::pair<std::int64_t, float>> to_pairs(const std::vector<Candidate>& candidates) {
  std::vector<std::pair<std::int64_t, float>> pairs;
  pairs.reserve(candidates.size());
  for (const Candidate& candidate : candidates) pairs.emplace_back(candidate.chunk, candidate.score);
  return pairs;
}

/// Calls back with the interpreter's lock. Ctrl-C works with and without a callback.
std::function<bool(std::size_t, std::size_t)> to_progress(const std::optional<py::function>& progress) {
  return [&progress](std::size_t done, std::size_t total) {
    const py::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (!progress) return true;
    const py::object go_on = (*progress)(done, total);
    return go_on.is_none() || go_on.cast<bool>();
  };
}

AddReport add(const OpenCollection& self, const std::vector<Document>& documents,
              const ChunkOptions& chunking, const std::string& depth, bool replace,
              const std::optional<py::function>& progress) {
  const AddOptions options{chunking, depth, replace, to_progress(progress)};
  return self.run([&](Collection& collection) { return collection.add(documents, options); });
}

std::size_t add_heads(const OpenCollection& self, const std::vector<std::string>& heads,
                      const std::string& depth, const std::optional<py::function>& progress) {
  AddOptions options;
  options.depth = depth;
  options.progress = to_progress(progress);
  return self.run([&](Collection& collection) { return collection.add_heads(heads, options); });
}

void register_rows(py::module_& module) {
  py::class_<StoredChunk>(
      module, "StoredChunk",
      "A chunk with the document that it belongs to. Offsets are bytes of the UTF-8 text.")
      .def_readonly("id", &StoredChunk::id)
      .def_readonly("document", &StoredChunk::document, "Id of the document.")
      .def_readonly("title", &StoredChunk::title)
      .def_readonly("source", &StoredChunk::source)
      .def_readonly("metadata", &StoredChunk::metadata, "The document's, one JSON object.")
      .def_property_readonly("section", [](const StoredChunk& self) { return self.chunk.section; })
      .def_property_readonly("text", [](const StoredChunk& self) { return self.chunk.text; })
      .def_property_readonly("begin", [](const StoredChunk& self) { return self.chunk.begin; })
      .def_property_readonly("end", [](const StoredChunk& self) { return self.chunk.end; })
      .def_property_readonly("tokens", [](const StoredChunk& self) { return self.chunk.tokens; })
      .def("__repr__", [](const StoredChunk& self) {
        return "StoredChunk(id=" + std::to_string(self.id) + ", document=" + quoted(self.document) +
               ", section=" + quoted(self.chunk.section) + ", " + std::to_string(self.chunk.tokens) +
               " tokens)";
      });

  py::class_<DocumentInfo>(module, "DocumentInfo", "One document of a collection, without its text.")
      .def_readonly("id", &DocumentInfo::id)
      .def_readonly("title", &DocumentInfo::title)
      .def_readonly("source", &DocumentInfo::source)
      .def_readonly("content_hash", &DocumentInfo::content_hash)
      .def_readonly("chunks", &DocumentInfo::chunks, "How many it has.")
      .def("__repr__", [](const DocumentInfo& self) {
        return "DocumentInfo(id=" + quoted(self.id) + ", title=" + quoted(self.title) +
               ", chunks=" + std::to_string(self.chunks) + ")";
      });

  py::class_<AddReport>(module, "AddReport", "What adding documents did.")
      .def_readonly("added", &AddReport::added)
      .def_readonly("updated", &AddReport::updated)
      .def_readonly("unchanged", &AddReport::unchanged)
      .def_readonly("chunks", &AddReport::chunks, "Embedded by this call.")
      .def("__repr__", [](const AddReport& self) {
        return "AddReport(added=" + std::to_string(self.added) + ", updated=" + std::to_string(self.updated) +
               ", unchanged=" + std::to_string(self.unchanged) + ", chunks=" + std::to_string(self.chunks) +
               ")";
      });
}

void register_searches(py::class_<OpenCollection>& type) {
  type.def(
          "search_dense",
          [](const OpenCollection& self, const FloatArray& query, std::size_t k,
             const Collection::Filter& filter) {
            if (query.ndim() != 1) throw InvalidArgument("a query vector must have one axis");
            const std::span<const float> vector(query.data(), static_cast<std::size_t>(query.size()));
            return to_pairs(self.run([&](const Collection& c) { return c.search_dense(vector, k, filter); }));
          },
          py::arg("query"), py::arg("k"), py::kw_only(), py::arg("filter") = Collection::Filter(),
          "Pairs (chunk id, cosine), best first, for a vector or a prefix of one.")
      .def(
          "search_keyword",
          [](const OpenCollection& self, const std::string& query, std::size_t k,
             const Collection::Filter& filter) {
            return to_pairs(
                self.run([&](const Collection& c) { return c.search_keyword(query, k, filter); }));
          },
          py::arg("query"), py::arg("k"), py::kw_only(), py::arg("filter") = Collection::Filter(),
          "Pairs (chunk id, BM25 score), best first.")
      .def(
          "chunks",
          [](const OpenCollection& self, const std::vector<std::int64_t>& ids) {
            return self.run([&](const Collection& c) { return c.chunks(ids); });
          },
          py::arg("ids"), "Stored chunks in the order asked for; ids that are gone are left out.");
}

void register_contents(py::class_<OpenCollection>& type) {
  type.def("add", &add, py::arg("documents"), py::kw_only(), py::arg("chunking") = ChunkOptions(),
           py::arg("depth") = "auto", py::arg("replace") = false, py::arg("progress") = py::none(),
           "Adds new documents and replaces changed ones. `progress(done, total)` is called after each "
           "batch; it stops "
           "by returning False or raising, and what was committed stays.")
      .def("add_heads", &add_heads, py::arg("heads"), py::kw_only(), py::arg("depth") = "auto",
           py::arg("progress") = py::none(),
           "Embeds what is there for further heads, \"sparse\" or \"late\"; returns how many chunks that "
           "were. Interrupted, the next call goes on where this one stopped.")
      .def_property_readonly(
          "heads",
          [](const OpenCollection& self) { return self.run([](const Collection& c) { return c.heads(); }); },
          "Names of the heads that can be searched.")
      .def(
          "remove",
          [](const OpenCollection& self, const std::vector<std::string>& ids) {
            return self.run([&](Collection& c) { return c.remove(ids); });
          },
          py::arg("ids"), "Removes documents; unknown ids are ignored. Returns how many there were.")
      .def(
          "remove_matching",
          [](const OpenCollection& self, const Collection::Filter& filter) {
            return self.run([&](Collection& c) { return c.remove_matching(filter); });
          },
          py::arg("filter"), "Removes the documents with this metadata. Returns how many there were.")
      .def(
          "update_metadata",
          [](const OpenCollection& self, const std::string& id, const std::string& metadata) {
            return self.run([&](Collection& c) { return c.update_metadata(id, metadata); });
          },
          py::arg("id"), py::arg("metadata"), "Gives a document other metadata; False for an unknown id.")
      .def("documents",
           [](const OpenCollection& self) {
             return self.run([](const Collection& c) { return c.documents(); });
           })
      .def(
          "document",
          [](const OpenCollection& self, const std::string& id) {
            return self.run([&](const Collection& c) { return c.document(id); });
          },
          py::arg("id"))
      .def_property_readonly("document_count",
                             [](const OpenCollection& self) {
                               return self.run([](const Collection& c) { return c.document_count(); });
                             })
      .def_property_readonly("chunk_count",
                             [](const OpenCollection& self) {
                               return self.run([](const Collection& c) { return c.chunk_count(); });
                             })
      .def_property_readonly("notes", [](const OpenCollection& self) { return self.get()->notes(); });
}

void register_upkeep(py::class_<OpenCollection>& type) {
  type.def("compact",
           [](const OpenCollection& self) { return self.run([](Collection& c) { return c.compact(); }); })
      .def(
          "create_snapshot",
          [](const OpenCollection& self, std::size_t keep) {
            return self.run([&](const Collection& c) { return c.create_snapshot(keep); });
          },
          py::kw_only(), py::arg("keep") = 0)
      .def("snapshots",
           [](const OpenCollection& self) {
             return self.run([](const Collection& c) { return c.snapshots(); });
           })
      .def(
          "restore_snapshot",
          [](const OpenCollection& self, const std::string& name) {
            return self.run([&](Collection& c) { return c.restore_snapshot(name); });
          },
          py::arg("name"));
}

}  // namespace

void register_collection(py::module_& module) {
  register_rows(module);
  py::class_<OpenCollection> type(module, "Collection", "Documents with their embeddings in one directory.");
  type.def_static(
          "open",
          [](const std::filesystem::path& directory, const py::object& embedder, bool create, bool read_only,
             double compact_beyond, const std::vector<std::string>& heads) {
            return std::make_unique<OpenCollection>(directory, to_embedder(embedder),
                                                    OpenOptions{create, read_only, compact_beyond, heads});
          },
          py::arg("directory"), py::arg("embedder"), py::kw_only(), py::arg("create") = true,
          py::arg("read_only") = false, py::arg("compact_beyond") = OpenOptions().compact_beyond,
          py::arg("heads") = std::vector<std::string>())
      .def("close", &OpenCollection::close, "Writes the indexes and frees the collection; twice is harmless.")
      .def_property_readonly("closed", &OpenCollection::closed)
      .def_property_readonly("directory", &OpenCollection::directory)
      .def("__enter__", [](py::object self) { return self; })
      .def("__exit__", [](OpenCollection& self, const py::args&) { self.close(); })
      .def("__repr__", [](const OpenCollection& self) {
        return "Collection(" + quoted(self.directory()) + (self.closed() ? ", closed)" : ")");
      });
  register_searches(type);
  register_contents(type);
  register_upkeep(type);
}

}  // namespace taesr
