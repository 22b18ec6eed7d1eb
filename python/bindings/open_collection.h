#pragma once

#include <pybind11/pybind11.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "taesr/collection.h"
#include "taesr/errors.h"

namespace taesr {

/// A collection that can be closed while other threads still search it: they finish first.
class OpenCollection {
 public:
  OpenCollection(const std::filesystem::path& directory, std::shared_ptr<const Embedder> embedder,
                 const OpenOptions& options)
      : directory_(directory.string()) {
    const pybind11::gil_scoped_release release;
    collection_ = std::make_shared<Collection>(Collection::open(directory, std::move(embedder), options));
  }
  ~OpenCollection() { close(); }
  OpenCollection(const OpenCollection&) = delete;
  OpenCollection& operator=(const OpenCollection&) = delete;

  void close() {
    auto collection = std::move(collection_);  // under the interpreter's lock, unlike the writing of files
    const pybind11::gil_scoped_release release;
    collection.reset();
  }

  /// Calls with the collection and without the interpreter's lock.
  template <typename Work>
  auto run(const Work& work) const {
    const std::shared_ptr<Collection> collection = get();
    const pybind11::gil_scoped_release release;
    return work(*collection);
  }

  [[nodiscard]] std::shared_ptr<Collection> get() const {
    if (!collection_) throw InvalidArgument("the collection '" + directory_ + "' is closed; open it again");
    return collection_;
  }
  [[nodiscard]] bool closed() const { return !collection_; }
  [[nodiscard]] const std::string& directory() const { return directory_; }

 private:
  std::string directory_;
  std::shared_ptr<Collection> collection_;
};

}  // namespace taesr
