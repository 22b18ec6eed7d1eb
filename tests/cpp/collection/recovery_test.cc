// What happens to a collection when its process is killed or its files are damaged.

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <random>
#include <set>
#include <thread>

#include "core/checksum.h"
#include "support/child_process.h"
#include "support/fake_embedder.h"
#include "support/files.h"
#include "support/temporary_directory.h"
#include "taesr/collection.h"
#include "taesr/errors.h"
#include "taesr/retriever.h"

namespace taesr {
namespace {

using testing::FakeEmbedder;
using testing::read_bytes;
using testing::write_bytes;

const auto kEmbedder = std::make_shared<const FakeEmbedder>(8);

Document make_document(std::size_t i, const std::string& version = "first") {
  Document document;
  document.id = "doc" + std::to_string(i);
  document.title = "Title";
  document.text = "unique" + std::to_string(i) + " words of the " + version + " version";
  return document;
}

std::vector<Document> make_documents(std::size_t begin, std::size_t end) {
  std::vector<Document> documents;
  for (std::size_t i = begin; i < end; ++i) documents.push_back(make_document(i));
  return documents;
}

std::set<std::string> found_by_keyword(const Collection& collection, const std::string& query) {
  std::vector<std::int64_t> ids;
  for (const Candidate& candidate : collection.search_keyword(query, 100000)) ids.push_back(candidate.chunk);
  std::set<std::string> documents;
  for (const StoredChunk& chunk : collection.chunks(ids)) documents.insert(chunk.document);
  return documents;
}

/// Rows, both indexes and searches tell the same story.
void expect_consistent(const Collection& collection) {
  const auto infos = collection.documents();
  std::set<std::string> ids;
  std::size_t chunks = 0;
  for (const DocumentInfo& info : infos) {
    ids.insert(info.id);
    chunks += info.chunks;
    EXPECT_EQ(info.chunks, 1u);
    EXPECT_TRUE(collection.document(info.id));
  }
  EXPECT_EQ(collection.chunk_count(), chunks);
  EXPECT_EQ(found_by_keyword(collection, "words"), ids);
  EXPECT_EQ(collection.search_dense(std::vector<float>(8, 1.0f), 100000).size(), chunks);
}

class RecoveryTest : public ::testing::Test {
 protected:
  [[nodiscard]] Collection open(bool read_only = false) const {
    return Collection::open(path_, kEmbedder, {.create = true, .read_only = read_only});
  }
  testing::TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_.path() / "kb";
};

TEST_F(RecoveryTest, ReopensAfterKillWithEveryAcknowledgedDocumentAndNothingHalf) {
  constexpr std::size_t kPerCall = 5;
  std::mt19937 random(21);
  std::set<std::string> acknowledged;
  std::size_t next = 0;
  for (int cycle = 0; cycle < 30; ++cycle) {
    testing::Pipe acknowledgements;
    testing::ChildProcess child([&] {
      acknowledgements.close_read();
      Collection collection = open();
      for (std::size_t i = next;; i += kPerCall) {
        collection.add(make_documents(i, i + kPerCall));
        if (i > 0 && i % 3 == 0) collection.remove(std::vector<std::string>{"doc" + std::to_string(i)});
        acknowledgements.send(1);
      }
      return 0;
    });
    acknowledgements.close_write();
    // Every third cycle dies while opening or soon after, the others some time after a few calls.
    const auto kill_after = [&](unsigned longest) {
      std::this_thread::sleep_for(std::chrono::microseconds(random() % longest));
      ::kill(child.pid(), SIGKILL);
    };
    std::size_t calls_before_kill = cycle % 3 == 0 ? 0 : 1 + random() % 6;
    if (calls_before_kill == 0) kill_after(30000);
    unsigned char byte = 0;
    while (acknowledgements.receive(byte)) {
      for (std::size_t i = next; i < next + kPerCall; ++i) acknowledged.insert("doc" + std::to_string(i));
      if (next > 0 && next % 3 == 0) acknowledged.erase("doc" + std::to_string(next));
      next += kPerCall;
      if (calls_before_kill > 0 && --calls_before_kill == 0) kill_after(10000);
    }
    EXPECT_EQ(child.wait(), -1);

    Collection collection = open();
    expect_consistent(collection);
    std::set<std::string> stored;
    for (const DocumentInfo& info : collection.documents()) stored.insert(info.id);
    for (const std::string& id : acknowledged) EXPECT_TRUE(stored.contains(id)) << id;
    // At most the one call that was under way may be there beyond what was acknowledged, and whole.
    std::size_t extra = 0;
    for (const std::string& id : stored) extra += acknowledged.contains(id) ? 0 : 1;
    EXPECT_TRUE(extra == 0 || extra == kPerCall || extra == kPerCall - 1) << extra;
    for (const auto& document : make_documents(next, next + kPerCall)) {
      collection.remove(std::vector<std::string>{document.id});
    }
  }
  EXPECT_GT(acknowledged.size(), 100u);
}

TEST_F(RecoveryTest, AKillWhileUpdatingLeavesOldOrNewVersionsNeverBoth) {
  {
    open().add(make_documents(0, 50));
  }
  std::mt19937 random(22);
  for (int cycle = 0; cycle < 10; ++cycle) {
    testing::ChildProcess child([&] {
      Collection collection = open();
      for (int version = 0;; ++version) {
        std::vector<Document> documents;
        for (std::size_t i = 0; i < 50; ++i)
          documents.push_back(make_document(i, "v" + std::to_string(version)));
        collection.add(documents);
      }
      return 0;
    });
    std::this_thread::sleep_for(std::chrono::microseconds(10000 + random() % 50000));
    child.kill_and_wait();
    const Collection collection = open();
    ASSERT_EQ(collection.document_count(), 50u);
    expect_consistent(collection);
    std::set<std::string> versions;
    for (std::size_t i = 0; i < 50; ++i) {
      versions.insert(
          collection.document("doc" + std::to_string(i))->text.substr(make_document(i).text.find(" ")));
    }
    EXPECT_EQ(versions.size(), 1u) << "one call is one batch is one transaction";
  }
}

TEST_F(RecoveryTest, AFullDiskIsAnIoErrorAndLosesNothing) {
  { open().add(make_documents(0, 50)); }
  for (const rlim_t kilobytes : {8, 40, 80, 120, 160, 250, 400}) {
    testing::ChildProcess child([&] {
      // Writing past this size fails as it would on a full disk.
      ::signal(SIGXFSZ, SIG_IGN);
      const rlimit limit{kilobytes * 1024, kilobytes * 1024};
      if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 10;
      try {
        Collection collection = open();
        collection.add(make_documents(1000, 5000));
        return 11;
      } catch (const IoError&) {
        return 0;
      }
    });
    EXPECT_EQ(child.wait(), 0) << kilobytes;
    const Collection collection = open();
    expect_consistent(collection);
    for (std::size_t i = 0; i < 50; ++i) EXPECT_TRUE(collection.document("doc" + std::to_string(i)));
  }
}

TEST_F(RecoveryTest, FilesLeftByAKilledWriterAreSweptUp) {
  {
    open().add(make_documents(0, 5));
  }
  write_bytes(path_ / "dense.idx.tmp-12345", "half");
  {
    static_cast<void>(open());
  }
  EXPECT_FALSE(std::filesystem::exists(path_ / "dense.idx.tmp-12345"));
}

TEST_F(RecoveryTest, MissingStaleAndForeignIndexFilesAreRebuiltWithANote) {
  {
    open().add(make_documents(0, 30));
  }
  const std::string old_dense = read_bytes(path_ / "dense.idx");
  const std::string old_keyword = read_bytes(path_ / "keyword.idx");
  {
    open().add(make_documents(30, 40));
  }
  const auto expect_note = [&](const std::string& why) {
    const Collection collection = open();
    ASSERT_FALSE(collection.notes().empty()) << why;
    EXPECT_NE(collection.notes().front().find(why), std::string::npos) << collection.notes().front();
    expect_consistent(collection);
  };
  write_bytes(path_ / "dense.idx", old_dense);
  write_bytes(path_ / "keyword.idx", old_keyword);
  expect_note("older than the rows");
  std::filesystem::remove(path_ / "dense.idx");
  expect_note("missing");
  std::filesystem::copy_file(path_ / "keyword.idx", path_ / "dense.idx",
                             std::filesystem::copy_options::overwrite_existing);
  expect_note("another kind");
  write_bytes(path_ / "keyword.idx", "");
  expect_note("not an index file");
  {
    // An index of a later state than the rows, as after restoring a backup of the database alone.
    const std::string database = read_bytes(path_ / "collection.sqlite");
    {
      open().add(make_documents(40, 60));
    }
    write_bytes(path_ / "collection.sqlite", database);
    expect_note("other rows");
  }
  EXPECT_TRUE(open().notes().empty()) << "a rebuilt index is saved";
}

TEST_F(RecoveryTest, ARemovalThatAnOldIndexDoesNotKnowIsCaughtUpWith) {
  {
    open().add(make_documents(0, 30));
  }
  const std::string old_dense = read_bytes(path_ / "dense.idx");
  {
    Collection collection = open();
    collection.remove(std::vector<std::string>{"doc3"});
    collection.add(std::vector<Document>{make_document(4, "second")});
  }
  write_bytes(path_ / "dense.idx", old_dense);
  const Collection reader = open(true);
  EXPECT_EQ(reader.notes().size(), 1u);
  expect_consistent(reader);
  EXPECT_EQ(reader.document_count(), 29u);
}

TEST_F(RecoveryTest, DamagedIndexFilesAreRebuiltOrHarmless) {
  {
    open().add(make_documents(0, 40));
  }
  std::mt19937 random(23);
  for (const std::string name : {"dense.idx", "keyword.idx"}) {
    const std::string original = read_bytes(path_ / name);
    for (int round = 0; round < 150; ++round) {
      std::string bytes = original;
      if (round % 3 == 0) {
        bytes.resize(random() % bytes.size());
      } else {
        bytes[random() % bytes.size()] ^= static_cast<char>(1 << random() % 8);
      }
      write_bytes(path_ / name, bytes);
      const Collection reader = open(true);
      EXPECT_EQ(reader.notes().size(), 1u);
      expect_consistent(reader);
    }
    write_bytes(path_ / name, original);
  }
  EXPECT_TRUE(open().notes().empty());
}

TEST_F(RecoveryTest, ADamagedDatabaseIsAFormatErrorOrStillSearchable) {
  {
    open().add(make_documents(0, 200));
  }
  const std::string original = read_bytes(path_ / "collection.sqlite");
  std::mt19937 random(24);
  std::size_t refused = 0;
  for (int round = 0; round < 300; ++round) {
    std::string bytes = original;
    const std::size_t at = random() % bytes.size();
    if (round % 10 == 0) {
      bytes.resize(at);
    } else if (round % 10 == 1) {
      bytes.replace(at, 512, std::string(512, '\0'));
    } else {
      for (std::size_t i = at; i < std::min(at + 1 + random() % 64, bytes.size()); ++i) {
        bytes[i] = static_cast<char>(random());
      }
    }
    std::filesystem::remove(path_ / "collection.sqlite-wal");
    std::filesystem::remove(path_ / "collection.sqlite-shm");
    write_bytes(path_ / "collection.sqlite", bytes);
    try {
      const Collection reader = open(true);
      static_cast<void>(search(reader, "unique7 words"));
      static_cast<void>(reader.documents());
    } catch (const FormatError&) {
      ++refused;
    } catch (const IoError&) {
      ++refused;  // a header that says the creation was never finished
    } catch (const ModelMismatch&) {
      ++refused;  // a changed fingerprint
    }
  }
  EXPECT_GT(refused, 30u);
  write_bytes(path_ / "collection.sqlite", "SQLite format 3");
  EXPECT_THROW(static_cast<void>(open()), FormatError);
  EXPECT_EQ(read_bytes(path_ / "collection.sqlite"), "SQLite format 3") << "a damaged file is not touched";
}

}  // namespace
}  // namespace taesr
