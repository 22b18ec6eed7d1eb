// Collections that were made by earlier versions of the schema.

#include <gtest/gtest.h>

#include "store/document_store.h"
#include "store/row_snapshot.h"
#include "support/files.h"
#include "support/temporary_directory.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

const VectorSpace kSpace{"model-a", 2};

/// What the first release wrote for a document "a" of two chunks.
constexpr const char* kVersion1 = R"sql(
PRAGMA journal_mode = WAL;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE commits (generation INTEGER PRIMARY KEY, token INTEGER NOT NULL);
CREATE TABLE documents (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, title TEXT NOT NULL,
  text TEXT NOT NULL, source TEXT NOT NULL, metadata TEXT NOT NULL, content_hash TEXT NOT NULL);
CREATE TABLE sections (document INTEGER NOT NULL REFERENCES documents(number) ON DELETE CASCADE,
  position INTEGER NOT NULL, path TEXT NOT NULL, begin_byte INTEGER NOT NULL, end_byte INTEGER NOT NULL,
  PRIMARY KEY (document, position)) WITHOUT ROWID;
CREATE TABLE properties (key TEXT NOT NULL, value TEXT NOT NULL,
  document INTEGER NOT NULL REFERENCES documents(number) ON DELETE CASCADE,
  PRIMARY KEY (key, value, document)) WITHOUT ROWID;
CREATE INDEX properties_by_document ON properties(document);
CREATE TABLE chunks (id INTEGER PRIMARY KEY AUTOINCREMENT,
  document INTEGER NOT NULL REFERENCES documents(number) ON DELETE CASCADE, section TEXT NOT NULL,
  text TEXT NOT NULL, begin_byte INTEGER NOT NULL, end_byte INTEGER NOT NULL, tokens INTEGER NOT NULL);
CREATE INDEX chunks_by_document ON chunks(document);
CREATE TABLE embeddings (chunk INTEGER NOT NULL REFERENCES chunks(id) ON DELETE CASCADE, head TEXT NOT NULL,
  fingerprint TEXT NOT NULL, depth INTEGER NOT NULL, vector BLOB NOT NULL,
  PRIMARY KEY (chunk, head, fingerprint));
INSERT INTO commits VALUES (0, 77), (1, 78);
INSERT INTO meta VALUES ('fingerprint', 'model-a'), ('dimension', '2');
INSERT INTO documents VALUES (1, 'a', 'Title', 'text', '', '{}', 'hash');
INSERT INTO chunks VALUES (1, 1, '', 'te', 0, 2, 1), (2, 1, '', 'xt', 2, 4, 1);
INSERT INTO embeddings VALUES (1, 'dense', 'model-a', 3, x'0000803f00000000'),
                              (2, 'dense', 'model-a', 6, x'000000000000803f');
PRAGMA application_id = 0x54414553;
PRAGMA user_version = 1;
)sql";

class MigrationTest : public ::testing::Test {
 protected:
  MigrationTest() { Database(file_, Database::Mode::kReadWrite).execute(kVersion1); }
  [[nodiscard]] DocumentStore open(DocumentStore::Access access = DocumentStore::Access::kReadWrite) const {
    return {file_, access, kSpace};
  }
  [[nodiscard]] std::int64_t version() const {
    return Database(file_, Database::Mode::kReadOnly).query_integer("PRAGMA user_version");
  }

  testing::TemporaryDirectory directory_;
  std::filesystem::path file_ = directory_.path() / "collection.sqlite";
};

TEST_F(MigrationTest, KeepsEveryRowAndTheRevision) {
  DocumentStore store = open();
  EXPECT_EQ(version(), 3);
  EXPECT_EQ(store.document("a")->text, "text");
  const RowSnapshot rows(store);
  EXPECT_EQ(rows.revision(), (Revision{1, 78})) << "index files stay good";
  std::vector<float> values;
  rows.for_each_vector(0, kSpace, [&](std::int64_t, std::span<const float> vector) {
    values.insert(values.end(), vector.begin(), vector.end());
  });
  EXPECT_EQ(values, (std::vector<float>{1, 0, 0, 1}));
  const auto embedding = store.embedding(2, kDenseHead);
  ASSERT_TRUE(embedding);
  EXPECT_EQ(embedding->codec, kFloat32Codec);
  EXPECT_EQ(embedding->depth, 6);
}

TEST_F(MigrationTest, EndsWithTheTablesThatANewCollectionHas) {
  static_cast<void>(open());
  const auto fresh_file = directory_.path() / "fresh.sqlite";
  {
    const DocumentStore fresh(fresh_file, DocumentStore::Access::kReadWrite, kSpace);
  }
  const auto columns = [](const std::filesystem::path& file) {
    Database database(file, Database::Mode::kReadOnly);
    Statement row = database.prepare(
        "SELECT m.name, c.name, c.type, c.\"notnull\", c.pk FROM sqlite_master m, pragma_table_info(m.name) "
        "c "
        "WHERE m.type = 'table' ORDER BY m.name, c.cid");
    std::vector<std::string> found;
    while (row.step())
      found.push_back(row.text(0) + " " + row.text(1) + " " + row.text(2) + " " + row.text(3) + row.text(4));
    return found;
  };
  EXPECT_EQ(columns(file_), columns(fresh_file));
  EXPECT_GT(columns(file_).size(), 30u);
}

TEST_F(MigrationTest, TheVersionBeforeTheLastGainsTheTableOfHeadsOnly) {
  static_cast<void>(open());
  {
    Database database(file_, Database::Mode::kReadWrite);
    database.execute("DROP TABLE heads; PRAGMA user_version = 2");
  }
  const DocumentStore store = open();
  EXPECT_EQ(version(), 3);
  EXPECT_TRUE(store.heads().empty());
  EXPECT_EQ(RowSnapshot(store).revision(), (Revision{1, 78}));
}

TEST_F(MigrationTest, AReaderIsRefusedWithTheRemedyAndChangesNothing) {
  try {
    static_cast<void>(open(DocumentStore::Access::kReadOnly));
    FAIL() << "accepted";
  } catch (const VersionError& error) {
    EXPECT_NE(std::string(error.what()).find("once for writing"), std::string::npos) << error.what();
  }
  EXPECT_EQ(version(), 1);
  static_cast<void>(open());
  EXPECT_EQ(open(DocumentStore::Access::kReadOnly).chunk_count(), 2u);
}

TEST_F(MigrationTest, AModelMismatchIsStillNoticed) {
  EXPECT_THROW(DocumentStore(file_, DocumentStore::Access::kReadWrite, {"model-b", 2}), ModelMismatch);
}

TEST_F(MigrationTest, ADamagedCollectionIsNotMigrated) {
  {
    Database database(file_, Database::Mode::kReadWrite);
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)");
  }
  std::string bytes = testing::read_bytes(file_);
  // The header and the schema stay; pages of rows are lost.
  std::fill(bytes.begin() + 4 * 4096, bytes.end(), '\x5a');
  testing::write_bytes(file_, bytes);
  EXPECT_THROW(static_cast<void>(open()), FormatError);
  EXPECT_EQ(testing::read_bytes(file_), bytes);
}

TEST_F(MigrationTest, AVersionOfTheFutureIsRefusedBeforeAnythingElse) {
  Database(file_, Database::Mode::kReadWrite).execute("PRAGMA user_version = 4");
  for (const auto access : {DocumentStore::Access::kReadWrite, DocumentStore::Access::kReadOnly})
    EXPECT_THROW(static_cast<void>(open(access)), VersionError);
}

}  // namespace
}  // namespace taesr
