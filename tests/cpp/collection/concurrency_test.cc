#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string>
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

/// 2 seconds, or those of TAESR_CONCURRENCY_SECONDS.
std::chrono::seconds time_to_spend() {
  const char* wanted = std::getenv("TAESR_CONCURRENCY_SECONDS");
  return std::chrono::seconds(wanted == nullptr ? 2 : std::max(1, std::atoi(wanted)));
}

/// Documents that stay, enough for a graph, and what is nearest to the words of each, searched exactly.
class Core {
 public:
  static constexpr std::size_t kSize = 2500;
  static constexpr std::size_t kNearest = 10;

  explicit Core(const Embedder& embedder) {
    for (std::size_t i = 0; i < kSize; ++i) {
      documents_.push_back({});
      documents_.back().id = "core" + std::to_string(i);
      documents_.back().text = "alpha" + std::to_string(i) + " beta" + std::to_string(i % 300);
      texts_.push_back(documents_.back().text);
    }
    vectors_ = embedder.embed(texts_, Role::kPassage, "medium").vectors;
  }

  [[nodiscard]] std::span<const Document> documents() const { return documents_; }
  [[nodiscard]] std::span<const float> query(std::size_t i) const { return vectors_.row(i); }

  /// Share of the exact neighbours of document i that are among the first ten of `hits` that stay.
  [[nodiscard]] double recall(std::size_t i, const std::vector<StoredChunk>& hits) const {
    std::vector<std::size_t> order(kSize);
    std::iota(order.begin(), order.end(), 0);
    std::vector<float> scores;
    for (std::size_t j = 0; j < kSize; ++j) {
      scores.push_back(std::inner_product(query(i).begin(), query(i).end(), vectors_.row(j).begin(), 0.0F));
    }
    std::ranges::partial_sort(order, order.begin() + kNearest, [&](auto a, auto b) { return scores[a] > scores[b]; });
    std::size_t found = 0;
    std::size_t looked_at = 0;
    for (const StoredChunk& hit : hits) {
      if (!hit.document.starts_with("core") || looked_at++ == kNearest) continue;
      const auto number = static_cast<std::size_t>(std::stoul(hit.document.substr(4)));
      found += std::find(order.begin(), order.begin() + kNearest, number) == order.begin() + kNearest ? 0 : 1;
    }
    return static_cast<double>(found) / kNearest;
  }

 private:
  std::vector<Document> documents_;
  std::vector<std::string> texts_;
  Matrix vectors_;
};

TEST(Concurrency, EightReadersKeepTheirRecallBesideAWriter) {
  const testing::TemporaryDirectory directory;
  const auto embedder = std::make_shared<const testing::FakeEmbedder>(24);
  const Core core(*embedder);
  Collection writer = Collection::open(directory.path(), embedder);
  writer.add(core.documents());
  const Collection reader = Collection::open(directory.path(), embedder, {.create = false, .read_only = true});
  std::atomic<bool> stop = false;
  std::atomic<std::size_t> searches = 0;
  std::vector<double> recalls(8);
  std::vector<std::jthread> threads;
  for (std::size_t t = 0; t < recalls.size(); ++t) {
    threads.emplace_back([&, t] {
      const Collection& searched = t % 2 == 0 ? writer : reader;
      double sum = 0;
      std::size_t count = 0;
      for (std::size_t i = t; !stop || count == 0; i = (i + 61) % Core::kSize, ++count) {
        std::vector<std::int64_t> ids;  // many enough to have ten of those that stay among them
        for (const Candidate& hit : searched.search_dense(core.query(i), 60)) ids.push_back(hit.chunk);
        sum += core.recall(i, searched.chunks(ids));
        ++searches;
      }
      recalls[t] = sum / static_cast<double>(count);
    });
  }
  const auto end = std::chrono::steady_clock::now() + time_to_spend();
  for (std::size_t round = 0; std::chrono::steady_clock::now() < end; ++round) {
    std::vector<Document> documents;
    std::vector<std::string> old;
    for (std::size_t i = 0; i < 50; ++i) {
      documents.push_back(make_document(round * 50 + i));
      if (round >= 4) old.push_back("doc" + std::to_string((round - 4) * 50 + i));
    }
    writer.add(documents);
    EXPECT_EQ(writer.remove(old), old.size());
  }
  stop = true;
  threads.clear();
  for (const double recall : recalls) EXPECT_GE(recall, 0.95);
  std::printf("rounds: %zu searches, the least recall of a reader %.4f\n", searches.load(),
              *std::ranges::min_element(recalls));
}

}  // namespace
}  // namespace taesr
