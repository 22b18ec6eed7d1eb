#include "taesr/collection.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "collection/passage_text.h"
#include "support/child_process.h"
#include "support/fake_embedder.h"
#include "support/files.h"
#include "support/temporary_directory.h"
#include "taesr/errors.h"
#include "taesr/retriever.h"

namespace taesr {
namespace {

using testing::FakeEmbedder;

const auto kEmbedder = std::make_shared<const FakeEmbedder>();

Document make_document(const std::string& id, const std::string& text, const std::string& metadata = "{}") {
  Document document;
  document.id = id;
  document.title = "Title " + id;
  document.text = text;
  document.metadata = metadata;
  return document;
}

std::vector<Document> make_documents(std::size_t count) {
  std::vector<Document> documents;
  for (std::size_t i = 0; i < count; ++i) {
    const std::string n = std::to_string(i);
    documents.push_back(
        make_document("doc" + n, "The printer number" + n + " is offline. Restart it, then wait."));
  }
  return documents;
}

class CollectionTest : public ::testing::Test {
 protected:
  [[nodiscard]] Collection open(const OpenOptions& options = {},
                                std::shared_ptr<const Embedder> embedder = kEmbedder) const {
    return Collection::open(path_, std::move(embedder), options);
  }
  [[nodiscard]] Collection open_to_read() const { return open({.create = false, .read_only = true}); }

  static std::string found(const Collection& collection, const std::string& query, SearchMode mode) {
    SearchOptions options;
    options.k = 1;
    options.mode = mode;
    const SearchResult result = search(collection, query, options);
    return result.hits.empty() ? "" : result.hits.front().chunk.document;
  }

  testing::TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_.path() / "kb";
};

TEST_F(CollectionTest, FindsWhatWasAddedInEveryMode) {
  Collection collection = open();
  const AddReport report = collection.add(make_documents(40));
  EXPECT_EQ(report.added, 40u);
  EXPECT_EQ(report.updated + report.unchanged, 0u);
  EXPECT_EQ(report.chunks, collection.chunk_count());
  EXPECT_EQ(collection.document_count(), 40u);
  for (const SearchMode mode : {SearchMode::kDense, SearchMode::kKeyword, SearchMode::kHybrid}) {
    EXPECT_EQ(found(collection, "Title doc17 The printer number17 is offline", mode), "doc17");
  }
  EXPECT_TRUE(collection.notes().empty());
}

TEST_F(CollectionTest, IsTheSameAfterReopening) {
  {
    open().add(make_documents(30));
  }
  const Collection collection = open();
  EXPECT_TRUE(collection.notes().empty()) << collection.notes().front();
  EXPECT_EQ(collection.document_count(), 30u);
  EXPECT_EQ(found(collection, "printer number7", SearchMode::kKeyword), "doc7");
  const auto document = collection.document("doc3");
  ASSERT_TRUE(document);
  EXPECT_EQ(document->text, make_documents(4)[3].text);
  EXPECT_FALSE(document->content_hash.empty());
  EXPECT_EQ(collection.documents().size(), 30u);
}

TEST_F(CollectionTest, AddingAgainChangesOnlyWhatChanged) {
  Collection collection = open();
  auto documents = make_documents(20);
  collection.add(documents);
  documents[4].text = "Something about routers instead.";
  documents.push_back(make_document("new", "A scanner appeared."));
  const AddReport report = collection.add(documents);
  EXPECT_EQ(report.unchanged, 19u);
  EXPECT_EQ(report.updated, 1u);
  EXPECT_EQ(report.added, 1u);
  EXPECT_EQ(report.chunks, 2u);
  EXPECT_EQ(found(collection, "routers", SearchMode::kKeyword), "doc4");
  EXPECT_NE(found(collection, "number4", SearchMode::kKeyword), "doc4");
  AddOptions again;
  again.replace = true;
  EXPECT_EQ(collection.add(documents, again).updated, 21u);
}

TEST_F(CollectionTest, RemovedDocumentsAreNotFound) {
  Collection collection = open();
  collection.add(make_documents(20));
  EXPECT_EQ(collection.remove(std::vector<std::string>{"doc1", "doc2", "unknown", "doc1"}), 2u);
  EXPECT_EQ(collection.document_count(), 18u);
  EXPECT_EQ(found(collection, "number1", SearchMode::kKeyword), "");
  SearchOptions options;
  options.k = 100;
  options.mode = SearchMode::kDense;
  for (const Hit& hit : search(collection, "Title doc1 The printer number1", options).hits) {
    EXPECT_NE(hit.chunk.document, "doc1");
  }
}

TEST_F(CollectionTest, AnEmptyCollectionAnswersWithNothing) {
  {
    static_cast<void>(open());
  }
  const Collection collection = open_to_read();
  EXPECT_TRUE(collection.notes().empty());
  EXPECT_TRUE(search(collection, "anything").hits.empty());
  EXPECT_TRUE(collection.search_keyword("anything", 10).empty());
  EXPECT_EQ(collection.chunk_count(), 0u);
}

TEST_F(CollectionTest, BadDocumentsAreNamedAndNothingIsStored) {
  Collection collection = open();
  const auto expect_refused = [&](const std::string& why, const std::function<void(Document&)>& spoil) {
    auto documents = make_documents(3);
    spoil(documents[1]);
    try {
      collection.add(documents);
      FAIL() << "accepted: " << why;
    } catch (const InvalidArgument& error) {
      EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what();
    }
    EXPECT_EQ(collection.document_count(), 0u);
  };
  expect_refused("without an id", [](Document& d) { d.id = ""; });
  expect_refused("given twice", [](Document& d) { d.id = "doc0"; });
  expect_refused("document 'doc1': text", [](Document& d) { d.text = "caf\xe9"; });
  expect_refused("document 'doc1': title", [](Document& d) { d.title = "\xff"; });
  expect_refused("a document's id", [](Document& d) { d.id = "\xff"; });
  expect_refused("JSON object", [](Document& d) { d.metadata = "[1]"; });
  expect_refused("JSON object", [](Document& d) { d.metadata = "{"; });
  expect_refused("JSON object", [](Document& d) { d.metadata = ""; });
  expect_refused("JSON object", [](Document& d) { d.metadata = "{\"a\": 1e999}"; });
  expect_refused("sections must ascend", [](Document& d) { d.sections = {{"A", 0, 1000}}; });
  expect_refused("sections must ascend", [](Document& d) { d.sections = {{"A", 4, 8}, {"B", 6, 9}}; });
  expect_refused("sections must ascend", [](Document& d) { d.sections = {{"A", 5, 4}}; });
  AddOptions options;
  options.chunking.max_tokens = 5;
  EXPECT_THROW(collection.add(make_documents(1), options), InvalidArgument);
}

TEST_F(CollectionTest, AnEmbedderThatBreaksItsPromiseIsRefusedAndTheBatchLeftOut) {
  class Broken : public FakeEmbedder {
   public:
    [[nodiscard]] Embeddings embed(std::span<const std::string> texts, Role role,
                                   const std::string& depth) const override {
      Embeddings made = FakeEmbedder::embed(texts, role, depth);
      if (depth == "1") made.vectors.values[0] = NAN;
      if (depth == "2") made.vectors = Matrix(texts.size(), 3);
      if (depth == "3") made.depths.pop_back();
      if (depth == "4") throw InvalidArgument("depth 4");
      return made;
    }
  };
  Collection collection = open({}, std::make_shared<const Broken>());
  collection.add(make_documents(2));
  for (const std::string depth : {"1", "2", "3", "4"}) {
    AddOptions options;
    options.depth = depth;
    options.replace = true;
    EXPECT_THROW(collection.add(make_documents(5), options), InvalidArgument) << depth;
    EXPECT_EQ(collection.document_count(), 2u);
    EXPECT_EQ(search(collection, "printer").hits.size(), 2u);
  }
  EXPECT_EQ(collection.add(make_documents(5)).added, 3u);
}

TEST_F(CollectionTest, ProgressIsReportedByBatchAndCanStop) {
  Collection collection = open();
  AddOptions options;
  std::vector<std::size_t> calls;
  options.progress = [&](std::size_t done, std::size_t total) {
    calls.push_back(done);
    EXPECT_EQ(total, 700u);
    EXPECT_EQ(collection.document_count(), done) << "what is reported is committed";
    return calls.size() < 2;
  };
  const AddReport report = collection.add(make_documents(700), options);
  EXPECT_EQ(calls, (std::vector<std::size_t>{256, 512}));
  EXPECT_EQ(report.added, 512u);
  EXPECT_EQ(collection.document_count(), 512u);
  calls.clear();
  options.progress = [&](std::size_t done, std::size_t) {
    calls.push_back(done);
    return true;
  };
  EXPECT_EQ(collection.add(make_documents(700), options).unchanged, 512u);
  EXPECT_EQ(calls.back(), 700u);
  EXPECT_EQ(found(collection, "number699", SearchMode::kKeyword), "doc699");
}

TEST_F(CollectionTest, AnExceptionInTheProgressCallbackComesThroughAndLosesNothing) {
  Collection collection = open();
  AddOptions options;
  options.progress = [](std::size_t, std::size_t) -> bool { throw std::logic_error("stop"); };
  EXPECT_THROW(collection.add(make_documents(600), options), std::logic_error);
  EXPECT_EQ(collection.document_count(), 256u);
  EXPECT_EQ(collection.add(make_documents(600)).added, 344u);
}

TEST_F(CollectionTest, ADocumentOfManyBatchesIsStoredWhole) {
  std::string text;
  for (int i = 0; i < 1500; ++i) {
    for (int word = 0; word < 120; ++word) text += "word" + std::to_string(i) + " ";
    text += "end.\n\n";
  }
  Collection collection = open();
  const AddReport report = collection.add(std::vector<Document>{make_document("long", text)});
  EXPECT_GT(report.chunks, 500u);
  EXPECT_EQ(found(collection, "word1499", SearchMode::kKeyword), "long");
  std::vector<std::int64_t> ids;
  for (const Candidate& c : collection.search_keyword("word7 end", 10000)) ids.push_back(c.chunk);
  for (const StoredChunk& stored : collection.chunks(ids)) {
    EXPECT_EQ(stored.chunk.text, text.substr(stored.chunk.begin, stored.chunk.end - stored.chunk.begin));
  }
}

TEST_F(CollectionTest, FiltersRestrictBothHeads) {
  Collection collection = open();
  collection.add(std::vector<Document>{
      make_document("a", "printer jam", R"({"product": "office", "year": 2024, "new": true})"),
      make_document("b", "printer jam", R"({"product": "home", "year": 2024.5, "tags": ["fast", "red"]})"),
      make_document("c", "printer jam", R"({"product": null, "nested": {"a": 1}})")});
  const auto ids = [&](const Collection::Filter& filter) {
    std::set<std::string> documents;
    for (const SearchMode mode : {SearchMode::kDense, SearchMode::kKeyword, SearchMode::kHybrid}) {
      SearchOptions options;
      options.mode = mode;
      options.filter = filter;
      std::set<std::string> once;
      for (const Hit& hit : search(collection, "printer", options).hits) once.insert(hit.chunk.document);
      EXPECT_TRUE(mode == SearchMode::kDense || once == documents);
      documents = once;
    }
    return documents;
  };
  using Ids = std::set<std::string>;
  EXPECT_EQ(ids({}), (Ids{"a", "b", "c"}));
  EXPECT_EQ(ids({{"product", "office"}}), (Ids{"a"}));
  EXPECT_EQ(ids({{"year", "2024"}}), (Ids{"a"}));
  EXPECT_EQ(ids({{"new", "true"}}), (Ids{"a"}));
  EXPECT_EQ(ids({{"tags", "red"}}), (Ids{"b"}));
  EXPECT_EQ(ids({{"tags", "red"}, {"product", "home"}}), (Ids{"b"}));
  EXPECT_EQ(ids({{"tags", "red"}, {"product", "office"}}), Ids{});
  EXPECT_EQ(ids({{"product", "null"}}), Ids{});
  Collection::Filter many;
  for (int i = 0; i < 100; ++i) many[std::to_string(i)] = "x";
  EXPECT_THROW(static_cast<void>(collection.search_keyword("printer", 1, many)), InvalidArgument);
}

TEST_F(CollectionTest, QueryVectorsOutOfRangeAreRefused) {
  Collection collection = open();
  collection.add(make_documents(5));
  EXPECT_THROW(static_cast<void>(collection.search_dense({}, 5)), InvalidArgument);
  EXPECT_THROW(static_cast<void>(collection.search_dense(std::vector<float>(33, 1.0f), 5)), InvalidArgument);
  EXPECT_THROW(static_cast<void>(collection.search_dense(std::vector<float>(32, 0.0f), 5)), InvalidArgument);
  EXPECT_THROW(static_cast<void>(collection.search_dense(std::vector<float>(32, NAN), 5)), InvalidArgument);
  EXPECT_EQ(collection.search_dense(std::vector<float>(32, 100.0f), 5).size(), 5u);
  EXPECT_EQ(collection.search_dense(std::vector<float>(3, 1.0f), 5).size(), 5u);
}

TEST_F(CollectionTest, ReadersMayNotWriteAndNeedSomethingToRead) {
  EXPECT_THROW(static_cast<void>(open_to_read()), IoError);
  EXPECT_THROW(static_cast<void>(open({.create = false})), IoError);
  EXPECT_FALSE(std::filesystem::exists(path_));
  {
    open().add(make_documents(3));
  }
  Collection reader = open_to_read();
  EXPECT_THROW(reader.add(make_documents(5)), InvalidArgument);
  EXPECT_THROW(reader.remove(std::vector<std::string>{"doc1"}), InvalidArgument);
}

TEST_F(CollectionTest, AFileInPlaceOfTheDirectoryIsAnIoError) {
  testing::write_bytes(path_, "hello");
  EXPECT_THROW(static_cast<void>(open()), IoError);
  EXPECT_THROW(static_cast<void>(open_to_read()), IoError);
  EXPECT_THROW(static_cast<void>(Collection::open(path_ / "below", kEmbedder)), IoError);
  EXPECT_THROW(static_cast<void>(open({}, nullptr)), InvalidArgument);
}

TEST_F(CollectionTest, LivesBesideOtherFiles) {
  std::filesystem::create_directories(path_);
  testing::write_bytes(path_ / "notes.txt", "mine");
  open().add(make_documents(2));
  EXPECT_EQ(testing::read_bytes(path_ / "notes.txt"), "mine");
}

TEST_F(CollectionTest, ASecondWriterFailsAtOnceNamingTheFirst) {
  Collection writer = open();
  const pid_t pid = ::getpid();
  testing::ChildProcess child([&] {
    try {
      static_cast<void>(open());
      return 1;
    } catch (const IoError& error) {
      return std::string(error.what()).find("process " + std::to_string(pid)) != std::string::npos ? 0 : 2;
    }
  });
  EXPECT_EQ(child.wait(), 0);
}

TEST_F(CollectionTest, ReadersSeeWhatAWriterInAnotherProcessCommits) {
  {
    open().add(make_documents(5));
  }
  const Collection reader = open_to_read();
  ASSERT_EQ(found(reader, "scanner", SearchMode::kKeyword), "");
  testing::ChildProcess child([&] {
    Collection writer = open();
    writer.add(std::vector<Document>{make_document("new", "a scanner appeared")});
    writer.remove(std::vector<std::string>{"doc1"});
    return 0;
  });
  ASSERT_EQ(child.wait(), 0);
  EXPECT_EQ(found(reader, "scanner", SearchMode::kKeyword), "new");
  EXPECT_EQ(found(reader, "Title new a scanner appeared", SearchMode::kDense), "new");
  EXPECT_EQ(found(reader, "number1", SearchMode::kKeyword), "");
  EXPECT_EQ(reader.document_count(), 5u);
}

TEST_F(CollectionTest, ReadersSeeEachBatchOfAWriterThatIsStillOpen) {
  Collection writer = open();
  const Collection reader = open_to_read();
  for (int i = 0; i < 5; ++i) {
    const std::string id = "doc" + std::to_string(i);
    writer.add(std::vector<Document>{make_document(id, "text about topic" + std::to_string(i))});
    EXPECT_EQ(found(reader, "topic" + std::to_string(i), SearchMode::kKeyword), id);
  }
}

TEST_F(CollectionTest, AReadOnlyDirectoryCanBeSearched) {
  {
    open().add(make_documents(10));
  }
  std::filesystem::permissions(directory_.path(), std::filesystem::perms(0755));
  for (const auto& entry : std::filesystem::directory_iterator(path_)) ::chmod(entry.path().c_str(), 0444);
  ::chmod(path_.c_str(), 0555);
  // Permissions do not bind the superuser, so a child tries as somebody else.
  testing::ChildProcess child([&] {
    if (::geteuid() == 0 && ::setuid(65534) != 0) return 10;
    const Collection reader = open_to_read();
    if (found(reader, "number7", SearchMode::kKeyword) != "doc7") return 11;
    if (reader.notes().size() != 1) return 12;
    try {
      static_cast<void>(open());
      return 13;
    } catch (const IoError& error) {
      return std::string(error.what()).find("read-only") != std::string::npos ? 0 : 14;
    }
  });
  EXPECT_EQ(child.wait(), 0);
  ::chmod(path_.c_str(), 0755);
}

TEST_F(CollectionTest, ADirectoryThatCannotBeMadeIsAnIoError) {
  EXPECT_THROW(static_cast<void>(Collection::open("/proc/taesr/kb", kEmbedder)), IoError);
}

TEST(PassageText, PutsTitleAndSectionPathBeforeTheText) {
  EXPECT_EQ(passage_text("Guide", "Setup > Windows", "Click."), "Guide > Setup > Windows\nClick.");
  EXPECT_EQ(passage_text("Guide", "", "Click."), "Guide\nClick.");
  EXPECT_EQ(passage_text("Guide", "Guide", "Click."), "Guide\nClick.");
  EXPECT_EQ(passage_text("Guide", "Guide > Setup", "Click."), "Guide > Setup\nClick.");
  EXPECT_EQ(passage_text("Guide", "Guidelines", "Click."), "Guide > Guidelines\nClick.");
  EXPECT_EQ(passage_text("", "Setup", "Click."), "Setup\nClick.");
  EXPECT_EQ(passage_text("", "", "Click."), "Click.");
}

}  // namespace
}  // namespace taesr
