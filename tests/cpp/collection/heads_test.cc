// Collections that keep sparse and late-interaction embeddings, too.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include <ATen/Parallel.h>

#include "collection/late_codec.h"
#include "collection/passage_text.h"
#include "index/sparse_codec.h"
#include "store/document_store.h"
#include "store/row_snapshot.h"
#include "support/child_process.h"
#include "support/files.h"
#include "support/heads_embedder.h"
#include "support/temporary_directory.h"
#include "taesr/collection.h"
#include "taesr/errors.h"
#include "taesr/maintenance.h"
#include "taesr/retriever.h"

namespace taesr {
namespace {

namespace fs = std::filesystem;
using testing::HeadsEmbedder;

const std::vector<std::string> kBoth = {"sparse", "late"};

/// Texts of 20 of 300 words, frequent and rare ones.
std::vector<Document> make_documents(std::size_t begin, std::size_t end) {
  std::vector<Document> documents;
  for (std::size_t i = begin; i < end; ++i) {
    std::mt19937 random(static_cast<unsigned>(i));
    Document document;
    document.id = "doc" + std::to_string(i);
    document.metadata = i % 3 == 0 ? R"({"third": true})" : "{}";
    for (int word = 0; word < 20; ++word) {
      const double uniform = static_cast<double>(random()) / 0x1p32;
      document.text += "w" + std::to_string(static_cast<int>(300 * uniform * uniform)) + " ";
    }
    documents.push_back(document);
  }
  return documents;
}

class HeadsTest : public ::testing::Test {
 protected:
  [[nodiscard]] Collection open(const std::vector<std::string>& heads = {}, bool read_only = false) const {
    OpenOptions options;
    options.heads = heads;
    options.read_only = read_only;
    return Collection::open(path_, embedder_, options);
  }

  /// What each chunk is embedded as, by id.
  static std::map<std::int64_t, std::string> texts_of(const Collection& collection) {
    std::vector<std::int64_t> ids(20000);
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int64_t>(i + 1);
    std::map<std::int64_t, std::string> texts;
    for (const StoredChunk& row : collection.chunks(ids)) {
      texts[row.id] = passage_text(row.title, row.chunk.section, row.chunk.text);
    }
    return texts;
  }

  static std::vector<Candidate> sparse_by_brute_force(const Collection& collection,
                                                      const SparseVector& query) {
    std::vector<Candidate> all;
    for (const auto& [id, text] : texts_of(collection)) {
      const float score = dot(query, HeadsEmbedder::sparse_of(text));
      if (score > 0) all.push_back({id, score});
    }
    std::ranges::sort(all, [](const Candidate& a, const Candidate& b) {
      return a.score != b.score ? a.score > b.score : a.chunk < b.chunk;
    });
    return all;
  }

  static double max_sim(const Matrix& query, const Matrix& tokens) {
    double sum = 0;
    for (std::size_t i = 0; i < query.rows; ++i) {
      double best = -1;
      for (std::size_t j = 0; j < tokens.rows; ++j) {
        double product = 0;
        for (std::size_t d = 0; d < query.columns; ++d) product += double{query.row(i)[d]} * tokens.row(j)[d];
        best = std::max(best, product);
      }
      sum += best;
    }
    return sum;
  }

  /// Both heads find what scoring every stored text finds.
  static void expect_exact(const Collection& collection) {
    const auto texts = texts_of(collection);
    ASSERT_EQ(texts.size(), collection.chunk_count());
    for (const std::string query : {"w1 w7 w100", "w250 w251", "w0 w3 w290 unknown"}) {
      const auto pieces = HeadsEmbedder::sparse_of(query);
      const auto expected = sparse_by_brute_force(collection, pieces);
      const auto found = collection.search_sparse(pieces, 10000);
      ASSERT_EQ(found.size(), expected.size()) << query;
      for (std::size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i].score, expected[i].score, 1e-3);
      const Matrix tokens = HeadsEmbedder::tokens_of(query);
      for (const Candidate& candidate : collection.search_late(tokens, 5)) {
        const double exact = max_sim(tokens, HeadsEmbedder::tokens_of(texts.at(candidate.chunk)));
        EXPECT_NEAR(candidate.score, exact, 0.1 * static_cast<double>(tokens.rows)) << query;
      }
    }
  }

  testing::TemporaryDirectory directory_;
  fs::path path_ = directory_.path() / "kb";
  std::shared_ptr<const HeadsEmbedder> embedder_ = std::make_shared<const HeadsEmbedder>();
};

TEST_F(HeadsTest, ANewCollectionHasTheHeadsAskedForAndKeepsThem) {
  {
    Collection collection = open(kBoth);
    EXPECT_EQ(collection.heads(), (std::vector<std::string>{"dense", "keyword", "late", "sparse"}));
    collection.add(make_documents(0, 200));
    expect_exact(collection);
  }
  const Collection again = open({}, true);
  EXPECT_EQ(again.heads().size(), 4u);
  EXPECT_TRUE(again.notes().empty());
  expect_exact(again);
  EXPECT_TRUE(fs::exists(path_ / "sparse.idx"));
  EXPECT_TRUE(fs::exists(path_ / "late.idx"));
}

TEST_F(HeadsTest, HeadsThatTheModelOrTheCollectionLacksAreRefused) {
  const auto refusal = [](const auto& work) -> std::string {
    try {
      work();
    } catch (const InvalidArgument& error) {
      return error.what();
    }
    return "";
  };
  OpenOptions options;
  options.heads = {"late"};
  const auto without = std::make_shared<const HeadsEmbedder>(ExtraHeads{true, false});
  EXPECT_NE(refusal([&] { (void)Collection::open(path_, without, options); }).find("no late head"),
            std::string::npos);
  options.heads = {"sprase"};
  EXPECT_NE(refusal([&] { (void)Collection::open(path_, embedder_, options); }).find("sprase"),
            std::string::npos);
  Collection collection = open();
  collection.add(make_documents(0, 5));
  EXPECT_EQ(collection.heads().size(), 2u);
  EXPECT_THROW((void)collection.search_sparse({{1, 1.0F}}, 5), InvalidArgument);
  EXPECT_THROW((void)collection.search_late(HeadsEmbedder::tokens_of("w1"), 5), InvalidArgument);
  SearchOptions search_options;
  search_options.mode = SearchMode::kLate;
  EXPECT_NE(refusal([&] { (void)search(collection, "w1", search_options); }).find("ingest --heads late"),
            std::string::npos);
  search_options.mode = SearchMode::kSparse;
  search_options.effort = 0.5;
  EXPECT_THROW((void)search(collection, "w1", search_options), InvalidArgument);
  {
    Collection closed = std::move(collection);
  }
  EXPECT_NE(refusal([&] { (void)open({"sparse"}); }).find("add_heads"), std::string::npos);
  EXPECT_NE(refusal([&] { (void)open({"sparse"}, true); }).find("add_heads"), std::string::npos);
}

TEST_F(HeadsTest, AddingHeadsEmbedsWhatIsThereAndGoesOnAfterAnInterruption) {
  Collection collection = open();
  collection.add(make_documents(0, 700));
  AddOptions options;
  std::vector<std::size_t> seen;
  options.progress = [&](std::size_t done, std::size_t total) {
    EXPECT_EQ(total, 700u);
    seen.push_back(done);
    return false;
  };
  EXPECT_EQ(collection.add_heads(kBoth, options), 256u);
  EXPECT_EQ(collection.heads().size(), 2u) << "not yet";
  collection.add(make_documents(700, 710));  // without the heads that are not ready
  EXPECT_EQ(collection.add_heads(kBoth), 710u - 256u);
  EXPECT_EQ(collection.heads().size(), 4u);
  EXPECT_EQ(collection.add_heads(kBoth), 0u);
  collection.add(make_documents(710, 720));
  expect_exact(collection);
  EXPECT_TRUE(check_collection(path_).problems.empty());
}

TEST_F(HeadsTest, FollowsUpdatesAndRemovals) {
  Collection collection = open(kBoth);
  collection.add(make_documents(0, 1500));
  std::vector<std::string> gone;
  for (std::size_t i = 0; i < 1500; i += 2) gone.push_back("doc" + std::to_string(i));
  EXPECT_EQ(collection.remove(gone), 750u);
  expect_exact(collection);
  std::vector<Document> changed = make_documents(2000, 2100);
  for (std::size_t i = 0; i < changed.size(); ++i) changed[i].id = "doc" + std::to_string(2 * i + 1);
  EXPECT_EQ(collection.add(changed).updated, 100u);
  collection.add(make_documents(3000, 4500));
  expect_exact(collection);
}

TEST_F(HeadsTest, AFilterAndAFewerResultsThanAskedForAreKept) {
  Collection collection = open(kBoth);
  collection.add(make_documents(0, 90));
  const auto tokens = HeadsEmbedder::tokens_of("w1 w2");
  EXPECT_EQ(collection.search_late(tokens, 1000).size(), 90u);
  EXPECT_EQ(collection.search_late(tokens, 1000, {{"third", "true"}}).size(), 30u);
  EXPECT_TRUE(collection.search_late(Matrix(), 10).empty());
  EXPECT_TRUE(collection.search_sparse({}, 10).empty());
  const auto pieces = HeadsEmbedder::sparse_of("w1 w2");
  for (const Candidate& found : collection.search_sparse(pieces, 1000, {{"third", "true"}})) {
    EXPECT_EQ((found.chunk - 1) % 3, 0);
  }
}

TEST_F(HeadsTest, ATextWithoutTokensOrPiecesIsNoDamage) {
  class Silent : public HeadsEmbedder {
   public:
    [[nodiscard]] Embeddings embed_all(std::span<const std::string> texts, Role role,
                                       const std::string& depth, const ExtraHeads& heads) const override {
      Embeddings made = embed(texts, role, depth);
      made.sparse.resize(heads.sparse ? texts.size() : 0);
      made.late.resize(heads.late ? texts.size() : 0);
      return made;
    }
  };
  {
    Collection collection =
        Collection::open(path_, std::make_shared<const Silent>(), {.heads = kBoth});
    collection.add(make_documents(0, 3));
    EXPECT_TRUE(collection.search_late(HeadsEmbedder::tokens_of("w1"), 5).empty());
    EXPECT_TRUE(collection.search_sparse(HeadsEmbedder::sparse_of("w1"), 5).empty());
  }
  Collection collection = open();
  EXPECT_TRUE(collection.notes().empty()) << collection.notes().front();
  collection.add(make_documents(3, 10));
  EXPECT_EQ(collection.search_late(HeadsEmbedder::tokens_of("w1"), 50).size(), 10u);
}

TEST_F(HeadsTest, BadEmbeddingsAreRefusedAndNothingIsStored) {
  class Broken : public HeadsEmbedder {
   public:
    explicit Broken(int kind) : kind_(kind) {}
    [[nodiscard]] Embeddings embed_all(std::span<const std::string> texts, Role role,
                                       const std::string& depth, const ExtraHeads& heads) const override {
      Embeddings made = HeadsEmbedder::embed_all(texts, role, depth, heads);
      if (kind_ == 0) made.sparse.pop_back();
      if (kind_ == 1) made.late.clear();
      if (kind_ == 2) made.sparse.front().front().weight = NAN;
      if (kind_ == 3) made.late.front().values.front() = INFINITY;
      if (kind_ == 4) made.late.back() = Matrix(2, 5);
      return made;
    }

   private:
    int kind_;
  };
  for (int kind = 0; kind < 5; ++kind) {
    const fs::path path = directory_.path() / std::to_string(kind);
    Collection collection = Collection::open(path, std::make_shared<const Broken>(kind), {.heads = kBoth});
    EXPECT_THROW(collection.add(make_documents(0, 4)), InvalidArgument) << kind;
    EXPECT_EQ(collection.document_count(), 0u);
  }
}

TEST_F(HeadsTest, MissingAndDamagedIndexFilesAreMadeAnewFromTheRows) {
  {
    open(kBoth).add(make_documents(0, 1300));
  }
  for (const std::string name : {"sparse.idx", "late.idx"}) {
    const std::string bytes = testing::read_bytes(path_ / name);
    std::string changed = bytes;
    changed[bytes.size() / 2] ^= 1;
    for (const std::string& damaged : {changed, bytes.substr(0, bytes.size() / 2), std::string()}) {
      testing::write_bytes(path_ / name, damaged);
      const Collection collection = open();
      ASSERT_EQ(collection.notes().size(), 1u) << name;
      EXPECT_NE(collection.notes().front().find(name), std::string::npos);
      expect_exact(collection);
    }
    fs::remove(path_ / name);
    expect_exact(open({}, true));
    EXPECT_EQ(open().notes().size(), 1u);
    EXPECT_TRUE(open().notes().empty());
  }
}

TEST_F(HeadsTest, AKilledWriterLeavesEveryBatchWithAllItsHeads) {
  testing::Pipe pipe;
  testing::ChildProcess writer([&] {
    at::set_num_threads(1);  // threads do not survive a fork
    Collection collection = open(kBoth);
    AddOptions options;
    options.progress = [&](std::size_t, std::size_t) {
      pipe.send(1);
      return true;
    };
    collection.add(make_documents(0, 6000), options);
    return 0;
  });
  unsigned char byte = 0;
  for (int batch = 0; batch < 4; ++batch) ASSERT_TRUE(pipe.receive(byte));
  writer.kill_and_wait();
  const Collection collection = open();
  EXPECT_GE(collection.document_count(), 1024u);
  EXPECT_EQ(collection.heads().size(), 4u);
  expect_exact(collection);
  EXPECT_TRUE(check_collection(path_).problems.empty());
}

TEST_F(HeadsTest, ReadersFollowHeadsThatAreAdded) {
  Collection writer = open();
  writer.add(make_documents(0, 50));
  const Collection reader = open({}, true);
  EXPECT_EQ(reader.heads().size(), 2u);
  writer.add_heads(kBoth);
  EXPECT_EQ(reader.heads().size(), 4u);
  expect_exact(reader);
}

TEST_F(HeadsTest, ExportAndImportKeepTheHeads) {
  {
    open(kBoth).add(make_documents(0, 300));
  }
  const fs::path out = directory_.path() / "out";
  export_collection(path_, out);
  const fs::path back = directory_.path() / "back";
  import_collection(out, back);
  {
    const Collection collection = Collection::open(back, embedder_);
    EXPECT_TRUE(collection.notes().empty());
    EXPECT_EQ(collection.heads().size(), 4u);
    expect_exact(collection);
  }
  EXPECT_TRUE(check_collection(back).problems.empty());
  for (const std::string name : {"late_codec.npy", "late.npy", "sparse_offsets.npy"}) {
    const std::string bytes = testing::read_bytes(out / name);
    std::string changed = bytes;
    changed[bytes.size() - 3] ^= 1;
    testing::write_bytes(out / name, changed);
    EXPECT_THROW(import_collection(out, directory_.path() / "no"), ChecksumError) << name;
    testing::write_bytes(out / name, bytes);
  }
}

TEST_F(HeadsTest, CompactionFitsTheCodecAnewWhenThereAreManyMoreTokens) {
  const auto codec = [&] {
    const DocumentStore store(path_ / "collection.sqlite", DocumentStore::Access::kReadOnly,
                              {embedder_->fingerprint(), embedder_->dimension()});
    return store.heads().front().codec;
  };
  Collection collection = open(kBoth);
  for (std::size_t i = 0; i < 3; ++i) collection.add(make_documents(i, i + 1));
  EXPECT_EQ(codec(), "residual2/1");
  collection.add(make_documents(3, 400));
  const Collection reader = open({}, true);
  const auto error = [&](const Collection& searched) {
    double sum = 0;
    const auto texts = texts_of(searched);
    const Matrix tokens = HeadsEmbedder::tokens_of("w1 w7 w100");
    for (const Candidate& candidate : searched.search_late(tokens, 400)) {
      sum += std::abs(candidate.score - max_sim(tokens, HeadsEmbedder::tokens_of(texts.at(candidate.chunk))));
    }
    return sum / 400;
  };
  const double before = error(collection);
  collection.compact();
  EXPECT_EQ(codec(), "residual2/2");
  EXPECT_LT(error(collection), 1.25 * before + 0.01);
  EXPECT_NEAR(error(reader), error(collection), 1e-6) << "readers follow";
  collection.add(make_documents(400, 500));
  expect_exact(collection);
  collection.compact();
  EXPECT_EQ(codec(), "residual2/2") << "not without need";
  EXPECT_TRUE(check_collection(path_).problems.empty());
}

TEST_F(HeadsTest, RestoringASnapshotRestoresTheHeadsOfItsTime) {
  Collection collection = open();
  collection.add(make_documents(0, 40));
  const Snapshot before = collection.create_snapshot();
  collection.add_heads(kBoth);
  const Snapshot after = collection.create_snapshot();
  collection.restore_snapshot(before.name);
  EXPECT_EQ(collection.heads().size(), 2u);
  collection.restore_snapshot(after.name);
  EXPECT_EQ(collection.heads().size(), 4u);
  expect_exact(collection);
}

TEST_F(HeadsTest, TokensTakeNoMoreThanTheirCodes) {
  open(kBoth).add(make_documents(0, 100));
  const VectorSpace space{embedder_->fingerprint(), embedder_->dimension()};
  const DocumentStore store(path_ / "collection.sqlite", DocumentStore::Access::kReadOnly, space);
  EXPECT_EQ(store.embedding(1, kLateHead)->data.size(), 20 * (4 + HeadsEmbedder::kTokenSize / 4));
  EXPECT_LE(store.embedding(1, kSparseHead)->data.size(), 1 + 20 * 5);
}

TEST_F(HeadsTest, CheckNamesDamagedEmbeddingsOfEitherHead) {
  {
    open(kBoth).add(make_documents(0, 30));
  }
  for (const std::string head : {"sparse", "late"}) {
    for (const std::string damage : {"UPDATE embedding SET data = x'ffffff' WHERE chunk = 3 AND head = '",
                                     "DELETE FROM embedding WHERE chunk = 3 AND head = '"}) {
      fs::remove_all(directory_.path() / "copy");
      copy_collection(path_, directory_.path() / "copy");
      {
        Database database(directory_.path() / "copy" / "collection.sqlite", Database::Mode::kReadWrite);
        database.execute(damage + head + "'");
      }
      const CheckReport report = check_collection(directory_.path() / "copy");
      ASSERT_EQ(report.problems.size(), 1u) << head;
      EXPECT_NE(report.problems.front().find(head), std::string::npos) << report.problems.front();
    }
  }
}

TEST_F(HeadsTest, HybridFusesAllHeadsAndExplanationsAddUp) {
  Collection collection = open(kBoth);
  collection.add(make_documents(0, 400));
  SearchOptions options;
  options.explain = true;
  for (const FusionMethod method : {FusionMethod::kReciprocalRank, FusionMethod::kWeighted}) {
    options.fusion.method = method;
    options.fusion.weights = {{"dense", 0.4}, {"keyword", 0.3}, {"late", 0.2}, {"sparse", 0.1}};
    const SearchResult result = search(collection, "w1 w100 w250", options);
    ASSERT_EQ(result.hits.size(), 10u);
    for (const Hit& hit : result.hits) {
      EXPECT_EQ(hit.explanation->contributions.size(), 4u);
      double fused = 0;
      for (const auto& [head, share] : hit.explanation->contributions) fused += share;
      EXPECT_EQ(fused, hit.score) << "to the last bit";
      EXPECT_TRUE(method != FusionMethod::kWeighted || hit.scores.size() == 4);
    }
  }
  options.fusion.weights = {{"dense", 0.6}, {"keyword", 0.4}};
  EXPECT_THROW((void)search(collection, "w1", options), InvalidArgument) << "two heads have no weight";
}

TEST_F(HeadsTest, SingleModesRankAsTheirHeads) {
  Collection collection = open(kBoth);
  collection.add(make_documents(0, 400));
  SearchOptions options;
  const std::string query = "w1 w100 w250";
  options.mode = SearchMode::kSparse;
  const auto sparse = collection.search_sparse(HeadsEmbedder::sparse_of(query), 10);
  options.k = 10;
  SearchResult result = search(collection, query, options);
  ASSERT_EQ(result.hits.size(), sparse.size());
  for (std::size_t i = 0; i < sparse.size(); ++i) {
    EXPECT_EQ(result.hits[i].chunk.id, sparse[i].chunk);
    EXPECT_EQ(result.hits[i].ranks.at("sparse"), i + 1);
  }
  options.mode = SearchMode::kLate;
  const auto late = collection.search_late(HeadsEmbedder::tokens_of(query), 10);
  result = search(collection, query, options);
  ASSERT_EQ(result.hits.size(), 10u);
  for (std::size_t i = 0; i < 10; ++i) EXPECT_EQ(result.hits[i].chunk.id, late[i].chunk);
  EXPECT_EQ(result.depth, 3);
}

}  // namespace
}  // namespace taesr
