#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "support/fake_embedder.h"
#include "taesr/collection.h"

namespace taesr::testing {

/// What a collection has to hold: each document's text and metadata by id, and the same at the time of
/// its latest snapshot.
struct Expected {
  std::map<std::string, std::string> documents;
  std::map<std::string, std::string> at_snapshot;
};

/// Changes drawn from a seed, one after the other, each of which is made as a whole or not at all. The
/// same seed and state lead to the same changes in another process.
class Changes {
 public:
  Changes(unsigned seed, Expected start) : random_(seed), expected_(std::move(start)) {}

  /// Makes the next change, in `collection` unless that is null, and in what is expected of it.
  void make_next(Collection* collection) {
    switch (random_() % 8) {
      case 0:
      case 1:
      case 2:
        return add(collection);
      case 3:
        return remove(collection);
      case 4:
        return remove_group(collection);
      case 5:
        return update_metadata(collection);
      case 6:
        if (collection != nullptr) collection->compact();
        return;
      default:
        return random_() % 2 == 0 ? take_snapshot(collection) : restore(collection);
    }
  }
  [[nodiscard]] const Expected& expected() const { return expected_; }

 private:
  static std::string metadata_of(unsigned group) { return R"({"group": )" + std::to_string(group) + "}"; }
  [[nodiscard]] std::string draw_id() { return "doc" + std::to_string(random_() % 120); }

  void add(Collection* collection) {
    std::map<std::string, Document> documents;  // an id once
    for (unsigned i = 1 + random_() % 12; i > 0; --i) {
      Document document;
      document.id = draw_id();
      document.text = "common version" + std::to_string(random_()) + "\n";
      for (unsigned words = random_() % 300; words > 0; --words)
        document.text += " w" + std::to_string(random_() % 5000);
      document.metadata = metadata_of(random_() % 20);
      documents.insert_or_assign(document.id, document);
    }
    std::vector<Document> batch;
    for (const auto& [id, document] : documents) {
      batch.push_back(document);
      expected_.documents[id] = document.text + document.metadata;
    }
    if (collection != nullptr) collection->add(batch);
  }
  void remove(Collection* collection) {
    std::vector<std::string> ids;
    for (unsigned i = 1 + random_() % 10; i > 0; --i) ids.push_back(draw_id());
    for (const std::string& id : ids) expected_.documents.erase(id);
    if (collection != nullptr) collection->remove(ids);
  }
  void remove_group(Collection* collection) {
    const unsigned group = random_() % 20;
    std::erase_if(expected_.documents,
                  [&](const auto& entry) { return entry.second.ends_with(metadata_of(group)); });
    if (collection != nullptr) collection->remove_matching({{"group", std::to_string(group)}});
  }
  void update_metadata(Collection* collection) {
    const std::string id = draw_id();
    const std::string metadata = metadata_of(random_() % 20);
    const auto found = expected_.documents.find(id);
    if (found != expected_.documents.end())
      found->second = found->second.substr(0, found->second.rfind('{')) + metadata;
    if (collection != nullptr) collection->update_metadata(id, metadata);
  }
  void take_snapshot(Collection* collection) {
    expected_.at_snapshot = expected_.documents;
    if (collection != nullptr) collection->create_snapshot(3);
  }
  void restore(Collection* collection) {
    std::swap(expected_.documents, expected_.at_snapshot);  // what was there becomes the latest snapshot
    if (collection != nullptr) collection->restore_snapshot("latest");
  }

  std::mt19937 random_;
  Expected expected_;
};

inline std::map<std::string, std::string> documents_of(const Collection& collection) {
  std::map<std::string, std::string> documents;
  for (const DocumentInfo& info : collection.documents()) {
    const auto document = collection.document(info.id);
    documents[info.id] = document->text + document->metadata;
  }
  return documents;
}

/// Opens a collection after an interruption, in less than a second, and compares everything with what it
/// has to hold: the state after the last change that was acknowledged, or after the one under way.
inline Collection open_and_compare(const std::filesystem::path& path,
                                   const std::shared_ptr<const Embedder>& embedder,
                                   const Expected& acknowledged, const Expected& under_way) {
  const auto begin = std::chrono::steady_clock::now();
  Collection collection = Collection::open(path, embedder);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  EXPECT_LT(seconds.count(), 1.0) << "to open";
  const auto documents = documents_of(collection);
  EXPECT_TRUE(documents == acknowledged.documents || documents == under_way.documents);
  std::set<std::string> ids;
  for (const auto& [id, text] : documents) ids.insert(id);
  std::vector<std::int64_t> hits;
  for (const Candidate& hit : collection.search_keyword("common", 100000)) hits.push_back(hit.chunk);
  std::set<std::string> found;
  for (const StoredChunk& chunk : collection.chunks(hits)) found.insert(chunk.document);
  EXPECT_EQ(found, ids);
  EXPECT_EQ(collection.search_dense(std::vector<float>(embedder->dimension(), 1.0f), 100000).size(),
            collection.chunk_count());
  const CheckReport report = check_collection(path);
  EXPECT_TRUE(report.problems.empty()) << report.problems.front();
  return collection;
}

}  // namespace taesr::testing
