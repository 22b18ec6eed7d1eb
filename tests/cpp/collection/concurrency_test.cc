#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "support/fake_embedder.h"
#include "support/temporary_directory.h"
#include "taesr/collection.h"
#include "taesr/retriever.h"

namespace taesr {
namespace {

Document make_document(std::size_t i) {
  Document document;
  document.id = "doc" + std::to_string(i);
  document.text = "common words and unique" + std::to_string(i) + " ones";
  document.metadata = i % 2 == 0 ? R"({"even": true})" : "{}";
  return document;
}

/// Searches in several threads until told to stop; every answer must make sense by itself.
void search_until(const std::atomic<bool>& stop, const Collection& collection,
                  std::atomic<std::size_t>& searches) {
  SearchOptions options;
  options.k = 5;
  for (std::size_t i = 0; !stop; ++i) {
    options.mode = i % 3 == 0 ? SearchMode::kDense : i % 3 == 1 ? SearchMode::kKeyword : SearchMode::kHybrid;
    options.filter = i % 4 == 0 ? Collection::Filter{{"even", "true"}} : Collection::Filter{};
    const SearchResult result = search(collection, "common unique" + std::to_string(i % 50), options);
    for (const Hit& hit : result.hits) {
      EXPECT_FALSE(hit.chunk.chunk.text.empty());
      EXPECT_TRUE(i % 4 != 0 || hit.chunk.metadata != "{}");
    }
    EXPECT_LE(collection.documents().size(), 3000u);
    ++searches;
  }
}

void run_beside_searches(const Collection& searched, const std::function<void()>& change) {
  std::atomic<bool> stop = false;
  std::atomic<std::size_t> searches = 0;
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { search_until(stop, searched, searches); });
  change();
  while (searches < 20) std::this_thread::yield();
  stop = true;
}

TEST(Concurrency, SearchesRunBesideAddsAndRemovals) {
  const testing::TemporaryDirectory directory;
  const auto embedder = std::make_shared<const testing::FakeEmbedder>(8);
  Collection collection = Collection::open(directory.path(), embedder);
  run_beside_searches(collection, [&] {
    for (std::size_t round = 0; round < 10; ++round) {
      std::vector<Document> documents;
      for (std::size_t i = 0; i < 250; ++i) documents.push_back(make_document(round * 250 + i));
      collection.add(documents);
      if (round == 9) {
        std::vector<std::string> ids;  // enough for the indexes to be made anew
        for (std::size_t i = 0; i < 1000; ++i) ids.push_back("doc" + std::to_string(i));
        EXPECT_EQ(collection.remove(ids), 1000u);
      }
    }
  });
  EXPECT_EQ(collection.document_count(), 1500u);
}

TEST(Concurrency, ReadersFollowAWriterWhileTheySearch) {
  const testing::TemporaryDirectory directory;
  const auto embedder = std::make_shared<const testing::FakeEmbedder>(8);
  Collection writer = Collection::open(directory.path(), embedder);
  const Collection reader =
      Collection::open(directory.path(), embedder, {.create = false, .read_only = true});
  run_beside_searches(reader, [&] {
    for (std::size_t i = 0; i < 60; ++i) writer.add(std::vector<Document>{make_document(i)});
  });
  EXPECT_EQ(reader.search_keyword("common", 1000).size(), 60u);
}

TEST(Concurrency, AddsOfTwoThreadsTakeTurns) {
  const testing::TemporaryDirectory directory;
  const auto embedder = std::make_shared<const testing::FakeEmbedder>(8);
  Collection collection = Collection::open(directory.path(), embedder);
  std::vector<std::jthread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < 10; ++i) collection.add(std::vector<Document>{make_document(100 * t + i)});
    });
  }
  threads.clear();
  EXPECT_EQ(collection.document_count(), 40u);
  EXPECT_EQ(collection.search_keyword("common", 1000).size(), 40u);
}

}  // namespace
}  // namespace taesr
