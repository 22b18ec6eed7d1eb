// Collections as wholes: listing, copying, moving to other formats and back, snapshots, compaction, checks.

#include "taesr/maintenance.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "collection/collection_files.h"
#include "core/checksum.h"
#include "store/document_store.h"
#include "support/child_process.h"
#include "support/fake_embedder.h"
#include "support/files.h"
#include "support/temporary_directory.h"
#include "taesr/collection.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

namespace fs = std::filesystem;
using testing::FakeEmbedder;
using testing::read_bytes;
using testing::write_bytes;

const auto kEmbedder = std::make_shared<const FakeEmbedder>(8);

Document make_document(std::size_t i, const std::string& text = "") {
  Document document;
  document.id = "doc" + std::to_string(i);
  document.title = "Title \"ü\" " + std::to_string(i);
  document.text = text.empty() ? "unique" + std::to_string(i) + " words\nof text" : text;
  document.sections = {{"One", 0, 3}, {"One > Two", 3, document.text.size()}};
  document.source = "/docs/" + document.id;
  document.metadata = i % 2 == 0 ? R"({"parity": "even", "year": 2026, "half": 0.5, "tags": ["a", true]})"
                                 : R"({"parity": "odd", "year": 2025})";
  return document;
}

/// Takes 30 kB of the database, and no time to embed.
Document make_big_document(std::size_t i) {
  Document document = make_document(i);
  document.source = std::string(30000, 'x');
  return document;
}

std::vector<Document> make_documents(std::size_t begin, std::size_t end) {
  std::vector<Document> documents;
  for (std::size_t i = begin; i < end; ++i) documents.push_back(make_document(i));
  return documents;
}

/// Everything that a user can see of a collection, as text.
std::string content_of(const Collection& collection) {
  std::ostringstream all;
  for (const DocumentInfo& info : collection.documents()) {
    const Document document = *collection.document(info.id);
    all << info.id << '|' << info.chunks << '|' << document.title << '|' << document.text << '|'
        << document.source << '|' << nlohmann::json::parse(document.metadata) << '|' << document.content_hash;
    for (const Section& section : document.sections)
      all << '|' << section.path << section.begin << '-' << section.end;
    all << '\n';
  }
  std::vector<std::string> found;
  std::vector<float> query(8, 0.0f);
  query[0] = 1;
  for (const Candidate& hit : collection.search_dense(query, 10000)) {
    const auto chunks = collection.chunks(std::array{hit.chunk});
    found.push_back(chunks.at(0).document + " " + std::to_string(chunks[0].chunk.begin) + " " +
                    std::to_string(hit.score));
  }
  std::sort(found.begin(), found.end());
  for (const std::string& line : found) all << line << '\n';
  return all.str();
}

class MaintenanceTest : public ::testing::Test {
 protected:
  [[nodiscard]] Collection open(const fs::path& path, OpenOptions options = {}) const {
    return Collection::open(path, kEmbedder, options);
  }
  [[nodiscard]] Collection open() const { return open(path_); }
  [[nodiscard]] std::string content(const fs::path& path) const {
    return content_of(open(path, {.create = false, .read_only = true}));
  }
  static void expect_healthy(const fs::path& path) {
    const CheckReport report = check_collection(path);
    EXPECT_TRUE(report.problems.empty()) << report.problems.front();
  }
  template <typename Error, typename Work>
  static void expect_refused(const std::string& why, const Work& work) {
    try {
      work();
      FAIL() << "accepted: " << why;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what();
    }
  }

  testing::TemporaryDirectory directory_;
  fs::path path_ = directory_.path() / "kb";
};

TEST_F(MaintenanceTest, CollectionsAreListedByNameAndDamagedOnesWithTheirReason) {
  open(directory_.path() / "b").add(make_documents(0, 3));
  open(directory_.path() / "a").add(make_documents(0, 5));
  fs::create_directories(directory_.path() / "other");
  fs::create_directories(directory_.path() / "damaged");
  write_bytes(directory_.path() / "damaged" / "collection.sqlite", std::string(5000, 'x'));
  const auto found = list_collections(directory_.path());
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].directory.filename(), "a");
  EXPECT_EQ(found[0].documents, 5u);
  EXPECT_EQ(found[0].chunks, open(directory_.path() / "a").chunk_count());
  EXPECT_EQ(found[0].fingerprint, "fake-1");
  EXPECT_EQ(found[0].dimension, 8u);
  EXPECT_EQ(found[0].generation, 1);
  EXPECT_GT(found[0].bytes, 4096u);
  EXPECT_EQ(found[0].problem, "");
  EXPECT_NE(found[2].problem, "") << found[2].directory;
  EXPECT_EQ(list_collections(directory_.path() / "a").size(), 1u) << "the folder itself";
  expect_refused<IoError>("not a folder", [&] { return list_collections(directory_.path() / "none"); });
  expect_refused<IoError>("no collection", [&] { return describe_collection(directory_.path() / "other"); });
}

TEST_F(MaintenanceTest, ACopyMadeBesideAWriterHoldsTheSame) {
  Collection writer = open();
  writer.add(make_documents(0, 40));
  writer.remove(std::vector<std::string>{"doc3"});
  const fs::path copy = directory_.path() / "copy";
  copy_collection(path_, copy);
  EXPECT_EQ(content(copy), content_of(writer));
  writer.add(make_documents(100, 110));
  open(copy).add(make_documents(200, 201));
  EXPECT_EQ(open(copy).document_count(), 40u) << "they are apart";
  EXPECT_EQ(
      Database(copy / "collection.sqlite", Database::Mode::kReadOnly).prepare("PRAGMA journal_mode").step(),
      true);
  expect_healthy(copy);
  expect_refused<IoError>("exists already", [&] { copy_collection(path_, copy); });
  expect_refused<IoError>("no collection", [&] { copy_collection(directory_.path() / "none", copy); });
  for (const auto& entry : fs::directory_iterator(directory_.path()))
    EXPECT_EQ(entry.path().string().find("unfinished"), std::string::npos) << entry.path();
}

TEST_F(MaintenanceTest, ADocumentComesBackFromAnExportAsItWas) {
  {
    Collection collection = open();
    collection.add(make_documents(0, 700));
    collection.remove(std::vector<std::string>{"doc5", "doc699"});
    Document empty;
    empty.id = "no text at all";
    collection.add(std::vector<Document>{empty});
  }
  const fs::path folder = directory_.path() / "out";
  const fs::path back = directory_.path() / "back";
  const TransferReport out = export_collection(path_, folder);
  EXPECT_EQ(out.documents, 699u);
  std::size_t last_done = 0;
  const TransferReport in = import_collection(folder, back, [&](std::size_t done, std::size_t total) {
    EXPECT_GT(done, last_done);
    EXPECT_EQ(total, 699u);
    last_done = done;
  });
  EXPECT_EQ(last_done, 699u);
  EXPECT_EQ(in.documents, out.documents);
  EXPECT_EQ(in.chunks, out.chunks);
  EXPECT_EQ(content(back), content(path_));
  expect_healthy(back);
  Collection again = open(back);
  EXPECT_TRUE(again.notes().empty()) << "the indexes came with it";
  EXPECT_EQ(again.add(make_documents(0, 5)).unchanged, 5u) << "content hashes stay";
  EXPECT_EQ(again.remove_matching({{"parity", "even"}}), 350u) << "metadata keeps its types";
}

TEST_F(MaintenanceTest, AnExportIsReadableByOtherPrograms) {
  open().add(make_documents(0, 3));
  const fs::path folder = directory_.path() / "out";
  export_collection(path_, folder);
  std::istringstream lines(read_bytes(folder / "documents.jsonl"));
  std::string line;
  std::size_t i = 0;
  for (; std::getline(lines, line); ++i) {
    const auto json = nlohmann::json::parse(line);
    EXPECT_EQ(json["id"], "doc" + std::to_string(i));
    EXPECT_EQ(json["metadata"]["year"], i % 2 == 0 ? 2026 : 2025);
    EXPECT_EQ(json["sections"][1]["path"], "One > Two");
  }
  EXPECT_EQ(i, 3u);
  const std::string npy = read_bytes(folder / "dense.npy");
  EXPECT_TRUE(npy.starts_with("\x93NUMPY\x01"));
  const std::size_t chunks = open().chunk_count();
  EXPECT_EQ((npy.size() - chunks * 8 * sizeof(float)) % 64, 0u);
  EXPECT_NE(npy.find("'shape': (" + std::to_string(chunks) + ", 8)"), std::string::npos);
  const auto manifest = nlohmann::json::parse(read_bytes(folder / "manifest.json"));
  EXPECT_EQ(manifest["fingerprint"], "fake-1");
  EXPECT_EQ(manifest["files"]["dense.npy"]["bytes"], npy.size());
}

TEST_F(MaintenanceTest, EmbeddingsOfFurtherHeadsAreExportedAndImported) {
  open().add(make_documents(0, 3));
  const VectorSpace space{"fake-1", 8};
  const auto bytes = [](std::string_view text) {
    const auto all = std::as_bytes(std::span(text));
    return std::vector<std::byte>(all.begin(), all.end());
  };
  {
    DocumentStore store(path_ / "collection.sqlite", DocumentStore::Access::kReadWrite, space);
    store.put_embeddings(std::vector<ChunkEmbedding>{{1, {"late", "residual2/1", 4, bytes("abc")}},
                                                     {3, {"late", "residual2/2", 5, bytes("")}},
                                                     {2, {"sparse", "impact8/1", 6, bytes("xyz")}}});
  }
  export_collection(path_, directory_.path() / "out");
  import_collection(directory_.path() / "out", directory_.path() / "back");
  const DocumentStore store(directory_.path() / "back" / "collection.sqlite",
                            DocumentStore::Access::kReadOnly, space);
  EXPECT_EQ(store.embedding(1, "late")->data, bytes("abc"));
  EXPECT_EQ(store.embedding(1, "late")->depth, 4);
  EXPECT_FALSE(store.embedding(2, "late"));
  EXPECT_EQ(store.embedding(3, "late")->codec, "residual2/2");
  EXPECT_EQ(store.embedding(2, "sparse")->data, bytes("xyz"));
  EXPECT_FALSE(store.embedding(1, "sparse"));
}

TEST_F(MaintenanceTest, ChangedFilesOfAnExportAreRefusedAndLeaveNoCollection) {
  open().add(make_documents(0, 20));
  const fs::path folder = directory_.path() / "out";
  const fs::path back = directory_.path() / "back";
  export_collection(path_, folder);
  for (const std::string name : {"documents.jsonl", "chunks.jsonl", "dense.npy", "manifest.json"}) {
    const std::string original = read_bytes(folder / name);
    std::string changed = original;
    changed[changed.size() / 2] ^= 1;
    write_bytes(folder / name, changed);
    EXPECT_THROW(import_collection(folder, back), FormatError) << name;
    write_bytes(folder / name, original.substr(0, original.size() - 2));
    EXPECT_THROW(import_collection(folder, back), FormatError) << name;
    fs::remove(folder / name);
    EXPECT_THROW(import_collection(folder, back), IoError) << name;
    write_bytes(folder / name, original);
    EXPECT_FALSE(fs::exists(back));
  }
  import_collection(folder, back);
}

/// Files with checksums that fit, but with content that no export writes.
TEST_F(MaintenanceTest, ContentOfAnExportThatCannotBeIsNamedByFileAndLine) {
  open().add(make_documents(0, 3));
  const fs::path folder = directory_.path() / "out";
  export_collection(path_, folder);
  const std::string manifest_text = read_bytes(folder / "manifest.json");
  const auto manifest = nlohmann::json::parse(manifest_text);
  const auto refuse = [&](const std::string& name, const std::string& from, const std::string& to,
                          const std::string& why) {
    const std::string original = read_bytes(folder / name);
    std::string changed = original;
    ASSERT_NE(changed.find(from), std::string::npos) << from;
    changed.replace(changed.find(from), from.size(), to);
    write_bytes(folder / name, changed);
    auto fitting = manifest;
    if (name != "manifest.json") {
      std::array<char, 17> sum{};
      std::snprintf(sum.data(), sum.size(), "%016llx", static_cast<unsigned long long>(xxh64(changed)));
      fitting["files"][name] = {{"bytes", changed.size()}, {"xxh64", sum.data()}};
      write_bytes(folder / "manifest.json", fitting.dump());
    }
    expect_refused<Error>(why, [&] { import_collection(folder, directory_.path() / "back"); });
    EXPECT_FALSE(fs::exists(directory_.path() / "back"));
    write_bytes(folder / name, original);
    write_bytes(folder / "manifest.json", manifest_text);
  };
  refuse("documents.jsonl", R"("doc1")", R"("doc0")", "line 2");
  refuse("documents.jsonl", R"("title")", R"("tilte")", "'title' is missing");
  refuse("documents.jsonl", R"("metadata":{)",
         R"("metadata":{"deep":)" + std::string(5000, '[') + std::string(5000, ']') + ",", "nested deeper");
  refuse("documents.jsonl", R"("chunks":1)", R"("chunks":9)", "more chunks");
  refuse("documents.jsonl", R"("chunks":1)", R"("chunks":-1)", "'chunks' is missing or not");
  refuse("documents.jsonl", R"("end":3)", R"("end":99999)", "section 'One' spans");
  refuse("chunks.jsonl", R"("end":)", R"("end":1)", "line 1");
  refuse("chunks.jsonl", R"("document":"doc1")", R"("document":"doc2")", "of document 'doc1'");
  refuse("chunks.jsonl", R"({"document":"doc0")", R"([1],{"document":"doc0")", "line 1: not JSON");
  refuse("manifest.json", R"("dimension": 8)", R"("dimension": 0)", "dimension of 0");
  refuse("manifest.json", R"("dimension": 8)", R"("dimension": 9)", "dense.npy");
  refuse("manifest.json", R"("version": 1)", R"("version": 2)", "another version");
  refuse("manifest.json", R"("dense")", R"("../../dense")", "head is '../../dense'");
  std::string npy = read_bytes(folder / "dense.npy");
  refuse("dense.npy", npy.substr(npy.size() - 4), std::string("\0\0\x80\x7f", 4), "not of length 1");
  refuse("dense.npy", "'<f4'", "'<f8'", "dense.npy");
  refuse("dense.npy", "'fortran_order': False", "'fortran_order': True ", "dense.npy");
  import_collection(folder, directory_.path() / "back");
}

TEST_F(MaintenanceTest, AnExceptionFromTheProgressUndoesAnImport) {
  open().add(make_documents(0, 10));
  export_collection(path_, directory_.path() / "out");
  EXPECT_THROW(import_collection(directory_.path() / "out", directory_.path() / "back",
                                 [](std::size_t, std::size_t) { throw std::runtime_error("stop"); }),
               std::runtime_error);
  EXPECT_THROW(export_collection(path_, directory_.path() / "out2",
                                 [](std::size_t, std::size_t) { throw std::runtime_error("stop"); }),
               std::runtime_error);
  EXPECT_FALSE(fs::exists(directory_.path() / "back"));
  EXPECT_FALSE(fs::exists(directory_.path() / "out2"));
}

TEST_F(MaintenanceTest, RestoringASnapshotBringsBackItsTimeAndCanBeUndone) {
  open().add(make_documents(0, 30));
  const std::string then = content(path_);
  const Snapshot snapshot = create_snapshot(path_);
  {
    Collection collection = open();
    collection.remove(std::vector<std::string>{"doc1", "doc2"});
    collection.add(std::vector<Document>{make_document(3, "something else"), make_document(77)});
  }
  const std::string now = content(path_);
  ASSERT_NE(then, now);
  EXPECT_EQ(restore_snapshot(path_, snapshot.name).name, snapshot.name);
  EXPECT_EQ(content(path_), then);
  expect_healthy(path_);
  const auto snapshots = list_snapshots(path_);
  ASSERT_EQ(snapshots.size(), 2u) << "what was there before was kept";
  restore_snapshot(path_, snapshots.back().name);
  EXPECT_EQ(content(path_), now);
  EXPECT_EQ(restore_snapshot(path_, snapshot.name.substr(0, 19)).name, snapshot.name)
      << "the beginning will do";
}

TEST_F(MaintenanceTest, ReadersAndIndexesFollowARestoreThoughIdsCouldBeUsedAgain) {
  Collection writer = open();
  writer.add(make_documents(0, 5));
  writer.create_snapshot();
  writer.add(make_documents(5, 10));
  const Collection reader = open(path_, {.create = false, .read_only = true});
  EXPECT_EQ(content_of(reader), content_of(writer));
  const auto old_ids = [&] {
    std::set<std::int64_t> ids;
    for (const Candidate& hit : reader.search_keyword("words", 100)) ids.insert(hit.chunk);
    return ids;
  }();
  writer.restore_snapshot("latest");
  EXPECT_EQ(writer.document_count(), 5u);
  writer.add(make_documents(20, 25));
  EXPECT_EQ(content_of(reader), content_of(writer));
  EXPECT_EQ(reader.search_keyword("unique7", 10).size(), 0u);
  ASSERT_EQ(reader.search_keyword("unique22", 10).size(), 1u);
  EXPECT_FALSE(old_ids.contains(reader.search_keyword("unique22", 10)[0].chunk));
  EXPECT_EQ(writer.snapshots().size(), 2u);
}

TEST_F(MaintenanceTest, TheOldestSnapshotsBeyondANumberAreRemoved) {
  Collection collection = open();
  std::vector<std::string> names;
  for (std::size_t i = 0; i < 5; ++i) {
    collection.add(std::vector<Document>{make_document(i)});
    names.push_back(collection.create_snapshot(3).name);
  }
  const auto left = list_snapshots(path_);
  ASSERT_EQ(left.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(left[i].name, names[i + 2]);
    EXPECT_EQ(left[i].generation, static_cast<std::int64_t>(i + 3));
    EXPECT_GT(left[i].bytes, 0u);
    EXPECT_GT(left[i].milliseconds, 1600000000000);
  }
  expect_refused<InvalidArgument>(names[3], [&] { collection.restore_snapshot("2020"); });
  expect_refused<InvalidArgument>("more than one", [&] { collection.restore_snapshot("2"); });
  EXPECT_THROW(collection.restore_snapshot(""), InvalidArgument);
  EXPECT_THROW(collection.restore_snapshot("../collection"), InvalidArgument);
}

TEST_F(MaintenanceTest, ADamagedSnapshotIsRefusedAndTheCollectionStays) {
  open().add(make_documents(0, 30));
  const Snapshot snapshot = create_snapshot(path_);
  const fs::path file = path_ / "snapshots" / (snapshot.name + ".sqlite");
  std::string bytes = read_bytes(file);
  bytes[bytes.find("unique7")] ^= 1;  // SQLite itself would not notice
  write_bytes(file, bytes);
  const std::string before = content(path_);
  EXPECT_THROW(restore_snapshot(path_, "latest"), ChecksumError);
  EXPECT_THROW(open().restore_snapshot("latest"), ChecksumError);
  EXPECT_EQ(content(path_), before);
  EXPECT_EQ(check_collection(path_).problems.size(), 1u);
}

TEST_F(MaintenanceTest, ACollectionThatCannotBeReadIsRestoredAndItsFileIsKept) {
  open().add(make_documents(0, 30));
  const std::string then = content(path_);
  create_snapshot(path_);
  const std::string good = read_bytes(path_ / "collection.sqlite");
  for (const std::string& bad : {std::string(9000, 'x'), good.substr(0, 5000), std::string()}) {
    write_bytes(path_ / "collection.sqlite", bad);
    write_bytes(path_ / "collection.sqlite-wal", "the log of the damaged file");
    restore_snapshot(path_, "latest");
    EXPECT_EQ(content(path_), then);
    EXPECT_EQ(read_bytes(path_ / "collection.sqlite.damaged"), bad);
    expect_healthy(path_);
  }
  fs::remove(path_ / "collection.sqlite");
  restore_snapshot(path_, "latest");
  EXPECT_EQ(content(path_), then);
}

TEST_F(MaintenanceTest, ASnapshotOfAnotherModelIsRefused) {
  open().add(make_documents(0, 3));
  const Snapshot snapshot = create_snapshot(path_);
  const fs::path other = directory_.path() / "other";
  Collection::open(other, std::make_shared<const FakeEmbedder>(8, "fake-2")).add(make_documents(0, 3));
  fs::create_directories(other / "snapshots");
  fs::copy_file(path_ / "snapshots" / (snapshot.name + ".sqlite"),
                other / "snapshots" / (snapshot.name + ".sqlite"));
  EXPECT_THROW(restore_snapshot(other, snapshot.name), ModelMismatch);
  expect_healthy(other);
}

TEST_F(MaintenanceTest, ChangesAreRefusedWhileAWriterIsOpenAndItIsNamed) {
  Collection writer = open();
  writer.add(make_documents(0, 3));
  create_snapshot(path_);
  const std::string holder = "process " + std::to_string(::getpid());
  expect_refused<IoError>(holder, [&] { restore_snapshot(path_, "latest"); });
  expect_refused<IoError>(holder, [&] { compact_collection(path_); });
  expect_refused<IoError>(holder, [&] { remove_documents(path_, std::vector<std::string>{"doc1"}); });
  expect_refused<IoError>(holder, [&] { static_cast<void>(open()); });
  testing::ChildProcess child([&] {
    try {
      compact_collection(path_);
      return 1;
    } catch (const IoError& error) {
      return std::string(error.what()).find(holder) != std::string::npos ? 0 : 2;
    }
  });
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(check_collection(path_).documents, 3u) << "a check may run beside";
}

TEST_F(MaintenanceTest, CompactionGivesBackTheSpaceAndChangesNothingElse) {
  {
    Collection collection = open(path_, {.compact_beyond = 1});
    std::vector<Document> documents;
    for (std::size_t i = 0; i < 200; ++i) documents.push_back(make_big_document(i));
    collection.add(documents);
    std::vector<std::string> ids;
    for (std::size_t i = 0; i < 150; ++i) ids.push_back("doc" + std::to_string(i));
    collection.remove(ids);
  }
  const std::string before = content(path_);
  const CompactReport report = compact_collection(path_);
  EXPECT_LT(report.bytes_after * 2, report.bytes_before);
  EXPECT_EQ(content(path_), before);
  expect_healthy(path_);
  EXPECT_TRUE(open().notes().empty());
  Collection collection = open();
  const CompactReport again = collection.compact();
  EXPECT_LE(again.bytes_after, again.bytes_before);
  EXPECT_EQ(content_of(collection), before);
}

TEST_F(MaintenanceTest, TheDatabaseIsCompactedByItselfBeyondTheShareAskedFor) {
  const auto bytes_after_removing = [&](std::size_t removed, double share) {
    const fs::path path = directory_.path() / ("kb" + std::to_string(removed) + std::to_string(share));
    Collection collection = open(path, {.compact_beyond = share});
    std::vector<Document> documents;
    for (std::size_t i = 0; i < 200; ++i) documents.push_back(make_big_document(i));
    collection.add(documents);
    std::vector<std::string> ids;
    for (std::size_t i = 0; i < removed; ++i) ids.push_back("doc" + std::to_string(i));
    collection.remove(ids);
    EXPECT_EQ(collection.document_count(), 200 - removed);
    return Database(path / "collection.sqlite", Database::Mode::kReadOnly).query_integer("PRAGMA page_count");
  };
  const std::int64_t whole = bytes_after_removing(0, 0.3);
  EXPECT_EQ(bytes_after_removing(40, 0.3), whole);
  EXPECT_LT(bytes_after_removing(80, 0.3), whole * 7 / 10);
  EXPECT_EQ(bytes_after_removing(80, 1), whole);
  EXPECT_LT(bytes_after_removing(40, 0.1), whole * 9 / 10);
  expect_refused<InvalidArgument>("compact_beyond", [&] { return open(path_, {.compact_beyond = -0.1}); });
  expect_refused<InvalidArgument>("compact_beyond", [&] { return open(path_, {.compact_beyond = NAN}); });
}

TEST_F(MaintenanceTest, DocumentsAreRemovedByMetadataWithoutTheModel) {
  open().add(make_documents(0, 10));
  EXPECT_EQ(remove_documents_matching(path_, {{"parity", "even"}, {"year", "2025"}}), 0u);
  EXPECT_EQ(remove_documents_matching(path_, {{"parity", "even"}}), 5u);
  EXPECT_EQ(remove_documents(path_, std::vector<std::string>{"doc1", "doc0", "unknown"}), 1u);
  Collection collection = open();
  EXPECT_TRUE(collection.notes().empty());
  EXPECT_EQ(collection.remove_matching({{"year", "2025"}}), 4u);
  EXPECT_EQ(collection.document_count(), 0u);
  EXPECT_TRUE(collection.search_keyword("words", 10).empty());
  EXPECT_THROW(collection.remove_matching({}), InvalidArgument);
  EXPECT_THROW(remove_documents_matching(path_, {}), InvalidArgument);
}

TEST_F(MaintenanceTest, MetadataChangesWithoutEmbeddingAgain) {
  Collection collection = open();
  collection.add(make_documents(0, 2));
  Document filed = make_document(7);
  filed.content_hash = "of the file";
  collection.add(std::vector<Document>{filed});
  const auto ids = [&](const Collection::Filter& filter) {
    std::vector<std::int64_t> found;
    for (const Candidate& hit : collection.search_keyword("words", 10, filter)) found.push_back(hit.chunk);
    std::sort(found.begin(), found.end());
    return found;
  };
  const auto before = ids({});
  const std::string metadata = R"({"parity": "neither", "list": ["x", 5]})";
  EXPECT_TRUE(collection.update_metadata("doc1", metadata));
  EXPECT_TRUE(collection.update_metadata("doc7", metadata));
  EXPECT_FALSE(collection.update_metadata("unknown", metadata));
  EXPECT_EQ(ids({}), before) << "the chunks are the same";
  EXPECT_EQ(ids({{"parity", "neither"}, {"list", "5"}}).size(), 2u);
  EXPECT_EQ(ids({{"parity", "odd"}}).size(), 0u);
  EXPECT_EQ(collection.document("doc1")->metadata, metadata);
  Document changed = make_document(1);
  changed.metadata = metadata;
  EXPECT_EQ(collection.add(std::vector<Document>{changed}).unchanged, 1u) << "the hash follows";
  EXPECT_EQ(collection.add(std::vector<Document>{make_document(1)}).updated, 1u);
  EXPECT_EQ(collection.add(std::vector<Document>{filed}).unchanged, 1u) << "a hash that was given stays";
  EXPECT_THROW(collection.update_metadata("doc1", "[1]"), InvalidArgument);
  EXPECT_THROW(collection.update_metadata("doc1", "{\"a\": \xff}"), InvalidArgument);
}

TEST_F(MaintenanceTest, ACheckFindsWhatSqliteAloneDoesNot) {
  open().add(make_documents(0, 10));
  expect_healthy(path_);
  const std::string original = read_bytes(path_ / "collection.sqlite");
  const auto problem_after = [&](const std::string& sql) {
    {
      Database database(path_ / "collection.sqlite", Database::Mode::kReadWrite);
      database.execute("PRAGMA foreign_keys = OFF;" + sql);
    }
    const CheckReport report = check_collection(path_);
    fs::remove(path_ / "collection.sqlite-wal");
    fs::remove(path_ / "collection.sqlite-shm");
    write_bytes(path_ / "collection.sqlite", original);
    return report.problems.empty() ? "" : report.problems.front();
  };
  EXPECT_EQ(problem_after(""), "");
  EXPECT_NE(problem_after("UPDATE chunks SET text = 'other' WHERE id = 3").find("chunk 3"),
            std::string::npos);
  EXPECT_NE(problem_after("DELETE FROM embedding WHERE chunk = 3").find("embeddings"), std::string::npos);
  EXPECT_NE(problem_after("DELETE FROM documents WHERE id = 'doc3'").find("documents"), std::string::npos);
  EXPECT_NE(problem_after("UPDATE documents SET metadata = '[' WHERE id = 'doc3'").find("doc3"),
            std::string::npos);
  EXPECT_NE(problem_after("UPDATE embedding SET data = zeroblob(32) WHERE chunk = 2").find("chunk 2"),
            std::string::npos);
  EXPECT_NE(problem_after("UPDATE documents SET text = CAST(x'ff' AS TEXT) WHERE id = 'doc3'").find("doc3"),
            std::string::npos);
  fs::remove(path_ / "dense.idx");
  const CheckReport report = check_collection(path_);
  EXPECT_TRUE(report.problems.empty());
  ASSERT_EQ(report.notes.size(), 1u) << "an index is made anew, so its loss is no damage";
  EXPECT_NE(report.notes[0].find("missing"), std::string::npos);
  EXPECT_FALSE(fs::exists(path_ / "dense.idx")) << "a check changes nothing";
  write_bytes(path_ / "collection.sqlite", original.substr(0, original.size() / 2));
  EXPECT_FALSE(check_collection(path_).problems.empty());
}

}  // namespace
}  // namespace taesr
