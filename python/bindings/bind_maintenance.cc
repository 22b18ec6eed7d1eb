#include <pybind11/functional.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "quoted.h"
#include "register.h"
#include "taesr/maintenance.h"

namespace py = pybind11;

namespace taesr {
namespace {

using Path = std::filesystem::path;
using WithoutLock = py::call_guard<py::gil_scoped_release>;

/// Calls back with the interpreter's lock; Ctrl-C works with and without a callback.
TransferProgress to_progress(const std::optional<py::function>& progress) {
  return [&progress](std::size_t done, std::size_t total) {
    const py::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (progress) (*progress)(done, total);
  };
}

void register_reports(py::module_& module) {
  py::class_<CollectionInfo>(module, "CollectionInfo", "A collection without its content.")
      .def_readonly("directory", &CollectionInfo::directory)
      .def_readonly("fingerprint", &CollectionInfo::fingerprint, "Of the model that made the embeddings.")
      .def_readonly("dimension", &CollectionInfo::dimension)
      .def_readonly("documents", &CollectionInfo::documents)
      .def_readonly("chunks", &CollectionInfo::chunks)
      .def_readonly("generation", &CollectionInfo::generation, "Commits since it was made.")
      .def_readonly("bytes", &CollectionInfo::bytes, "Of its files, snapshots not counted.")
      .def_readonly("problem", &CollectionInfo::problem, "Why it cannot be opened; empty where it can.")
      .def("__repr__", [](const CollectionInfo& self) {
        return "CollectionInfo(" + quoted(self.directory.string()) + ", " + std::to_string(self.documents) +
               " documents, " + std::to_string(self.chunks) + " chunks" +
               (self.problem.empty() ? ")" : ", problem=" + quoted(self.problem) + ")");
      });
  py::class_<Snapshot>(module, "Snapshot", "A copy of all rows of a collection at one time.")
      .def_readonly("name", &Snapshot::name, "Time in UTC, generation and checksum.")
      .def_readonly("milliseconds", &Snapshot::milliseconds, "When it was made, since 1970 in UTC.")
      .def_readonly("generation", &Snapshot::generation)
      .def_readonly("bytes", &Snapshot::bytes)
      .def("__repr__", [](const Snapshot& self) { return "Snapshot(" + quoted(self.name) + ")"; });
  py::class_<CompactReport>(module, "CompactReport", "What a compaction gained.")
      .def_readonly("bytes_before", &CompactReport::bytes_before)
      .def_readonly("bytes_after", &CompactReport::bytes_after)
      .def("__repr__", [](const CompactReport& self) {
        return "CompactReport(bytes_before=" + std::to_string(self.bytes_before) +
               ", bytes_after=" + std::to_string(self.bytes_after) + ")";
      });
  py::class_<CheckReport>(module, "CheckReport", "What a check of a collection found.")
      .def_readonly("documents", &CheckReport::documents)
      .def_readonly("chunks", &CheckReport::chunks)
      .def_readonly("problems", &CheckReport::problems, "Damage, one sentence each.")
      .def_readonly("notes", &CheckReport::notes, "What the next opening repairs by itself.")
      .def("__repr__", [](const CheckReport& self) {
        return "CheckReport(" + std::to_string(self.documents) + " documents, " +
               std::to_string(self.problems.size()) + " problems)";
      });
  py::class_<TransferReport>(module, "TransferReport", "What was exported or imported.")
      .def_readonly("documents", &TransferReport::documents)
      .def_readonly("chunks", &TransferReport::chunks)
      .def("__repr__", [](const TransferReport& self) {
        return "TransferReport(documents=" + std::to_string(self.documents) +
               ", chunks=" + std::to_string(self.chunks) + ")";
      });
}

void register_transfers(py::module_& module) {
  module.def("copy_collection", &copy_collection, py::arg("source"), py::arg("target"), WithoutLock());
  module.def(
      "export_collection",
      [](const Path& directory, const Path& folder, const std::optional<py::function>& progress) {
        const py::gil_scoped_release release;
        return export_collection(directory, folder, to_progress(progress));
      },
      py::arg("directory"), py::arg("folder"), py::kw_only(), py::arg("progress") = py::none());
  module.def(
      "import_collection",
      [](const Path& folder, const Path& directory, const std::optional<py::function>& progress) {
        const py::gil_scoped_release release;
        return import_collection(folder, directory, to_progress(progress));
      },
      py::arg("folder"), py::arg("directory"), py::kw_only(), py::arg("progress") = py::none());
}

}  // namespace

void register_maintenance(py::module_& module) {
  register_reports(module);
  register_transfers(module);
  module.def("describe_collection", &describe_collection, py::arg("directory"), WithoutLock());
  module.def("list_collections", &list_collections, py::arg("root"), WithoutLock());
  module.def("create_snapshot", &create_snapshot, py::arg("directory"), py::kw_only(), py::arg("keep") = 0,
             WithoutLock());
  module.def("list_snapshots", &list_snapshots, py::arg("directory"), WithoutLock());
  module.def("restore_snapshot", &restore_snapshot, py::arg("directory"), py::arg("name"), WithoutLock());
  module.def("compact_collection", &compact_collection, py::arg("directory"), WithoutLock());
  module.def("check_collection", &check_collection, py::arg("directory"), WithoutLock());
  module.def(
      "remove_documents",
      [](const Path& directory, const std::vector<std::string>& ids) {
        return remove_documents(directory, ids);
      },
      py::arg("directory"), py::arg("ids"), WithoutLock());
  module.def("remove_documents_matching", &remove_documents_matching, py::arg("directory"), py::arg("filter"),
             WithoutLock());
}

}  // namespace taesr
