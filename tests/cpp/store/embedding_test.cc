// Embeddings of further heads, which the store keeps without looking inside.

#include <gtest/gtest.h>

#include "store/document_store.h"
#include "store/row_snapshot.h"
#include "support/temporary_directory.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

const VectorSpace kSpace{"model-a", 2};

std::vector<std::byte> bytes_of(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

class EmbeddingTest : public ::testing::Test {
 protected:
  EmbeddingTest()
      : store_(directory_.path() / "collection.sqlite", DocumentStore::Access::kReadWrite, kSpace) {}

  void put(const std::string& id, std::size_t chunks, bool with_heads) {
    Document document;
    document.id = id;
    document.text = "text";
    PreparedDocument prepared;
    prepared.document = &document;
    prepared.content_hash = "hash";
    prepared.vectors = Matrix(chunks, 2);
    for (std::size_t i = 0; i < chunks; ++i) {
      prepared.chunks.push_back({"", "text", 0, 4, 1});
      prepared.vectors.row(i)[0] = 1;
      if (!with_heads) continue;
      const std::string n = std::to_string(i);
      prepared.heads.push_back({{"sparse", "impact8/1", 2, bytes_of("sparse" + n)},
                                {"late", "residual2/3", 5, bytes_of(std::string("la\0te", 5) + n)}});
    }
    store_.put(std::span(&prepared, 1));
  }
  [[nodiscard]] std::vector<std::string> seen(std::string_view head, std::int64_t after = 0) const {
    std::vector<std::string> found;
    RowSnapshot(store_).for_each_embedding(
        head, after, kSpace.fingerprint, [&](std::int64_t id, const EmbeddingView& row) {
          const std::string data(reinterpret_cast<const char*>(row.data.data()), row.data.size());
          found.push_back(std::to_string(id) + " " + std::string(row.codec) + " " +
                          std::to_string(row.depth) + " " + data);
        });
    return found;
  }

  testing::TemporaryDirectory directory_;
  DocumentStore store_;
};

TEST_F(EmbeddingTest, EveryHeadOfAChunkIsStoredWithItsDocument) {
  put("a", 2, true);
  EXPECT_EQ(seen("sparse"), (std::vector<std::string>{"1 impact8/1 2 sparse0", "2 impact8/1 2 sparse1"}));
  EXPECT_EQ(seen("late", 1), (std::vector<std::string>{"2 residual2/3 5 " + std::string("la\0te1", 6)}));
  EXPECT_EQ(seen("dense").size(), 2u);
  EXPECT_FALSE(store_.embedding(1, "unknown"));
  EXPECT_EQ(store_.embedding(1, kLateHead)->data, bytes_of(std::string("la\0te0", 6)));
}

TEST_F(EmbeddingTest, HeadsAreAddedLaterAndReplaceEarlierOnes) {
  put("a", 2, false);
  const Revision before = RowSnapshot(store_).revision();
  store_.put_embeddings(std::vector<ChunkEmbedding>{{1, {"sparse", "impact8/1", 1, bytes_of("old")}}});
  store_.put_embeddings(std::vector<ChunkEmbedding>{{1, {"sparse", "impact8/2", 3, bytes_of("new")}},
                                                    {2, {"sparse", "impact8/2", 3, {}}}});
  EXPECT_EQ(seen("sparse"), (std::vector<std::string>{"1 impact8/2 3 new", "2 impact8/2 3 "}));
  EXPECT_NE(RowSnapshot(store_).revision(), before) << "what is derived from them has to notice";
}

TEST_F(EmbeddingTest, TheyGoWithTheirDocument) {
  put("a", 2, true);
  put("b", 1, true);
  store_.remove(std::vector<std::string>{"a"});
  EXPECT_EQ(seen("sparse"), (std::vector<std::string>{"3 impact8/1 2 sparse0"}));
  EXPECT_EQ(store_.connection()->query_integer("SELECT count(*) FROM embedding"), 3);
}

TEST_F(EmbeddingTest, WhatCannotBeStoredIsRefusedAndNothingOfItsCallIsKept) {
  put("a", 1, false);
  const auto refuse = [&](const HeadEmbedding& bad, std::int64_t chunk = 1) {
    const std::vector<ChunkEmbedding> rows = {{1, {"late", "x/1", 0, bytes_of("good")}}, {chunk, bad}};
    EXPECT_THROW(store_.put_embeddings(rows), InvalidArgument) << bad.head << " " << bad.codec;
    EXPECT_FALSE(store_.embedding(1, "late"));
  };
  refuse({"sparse", "x/1", 0, {}}, 99);
  refuse({"dense", "float32/1", 0, {}});
  refuse({"", "x/1", 0, {}});
  refuse({"../late", "x/1", 0, {}});
  refuse({"Late", "x/1", 0, {}});
  refuse({std::string(33, 'a'), "x/1", 0, {}});
  refuse({"sparse", "", 0, {}});
  refuse({"sparse", "x y", 0, {}});
}

TEST_F(EmbeddingTest, ADenseVectorInAnotherCodecIsNotReadAsFloats) {
  put("a", 1, false);
  Database(directory_.path() / "collection.sqlite", Database::Mode::kReadWrite)
      .execute("UPDATE embedding SET codec = 'float32/2'");
  EXPECT_THROW(RowSnapshot(store_).for_each_vector(0, kSpace, [](std::int64_t, std::span<const float>) {}),
               FormatError);
}

}  // namespace
}  // namespace taesr
