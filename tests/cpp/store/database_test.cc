#include "store/database.h"

#include <gtest/gtest.h>

#include "support/files.h"
#include "support/temporary_directory.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

TEST(Database, RoundTripsTextWithNulBytesAndBytes) {
  const testing::TemporaryDirectory directory;
  Database database(directory.path() / "a.sqlite", Database::Mode::kReadWrite);
  database.execute("CREATE TABLE t (number INTEGER, text TEXT NOT NULL, bytes BLOB)");
  const std::string text("a\0b\xc3\xa9", 5);
  const std::vector<std::byte> bytes = {std::byte{0}, std::byte{255}};
  database.prepare("INSERT INTO t VALUES (?, ?, ?)")
      .bind(1, std::int64_t{-5})
      .bind(2, text)
      .bind_bytes(3, bytes)
      .run();
  database.prepare("INSERT INTO t VALUES (?, ?, ?)").bind(1, INT64_MAX).bind(2, "").bind_bytes(3, {}).run();
  Statement row = database.prepare("SELECT * FROM t ORDER BY number");
  ASSERT_TRUE(row.step());
  EXPECT_EQ(row.integer(0), -5);
  EXPECT_EQ(row.text(1), text);
  EXPECT_TRUE(std::ranges::equal(row.bytes(2), bytes));
  ASSERT_TRUE(row.step());
  EXPECT_EQ(row.integer(0), INT64_MAX);
  EXPECT_EQ(row.text(1), "");
  EXPECT_FALSE(row.step());
}

TEST(Database, OpensPathsWithCharactersThatUrisGiveAMeaning) {
  const testing::TemporaryDirectory directory;
  const auto path = directory.path() / "50% of #1? ü&mode=ro.sqlite";
  Database(path, Database::Mode::kReadWrite).execute("CREATE TABLE t (x)");
  EXPECT_TRUE(std::filesystem::exists(path));
  EXPECT_EQ(Database(path, Database::Mode::kImmutable).query_integer("SELECT count(*) FROM sqlite_master"),
            1);
}

TEST(Database, ATransactionThatIsNotCommittedLeavesNothing) {
  const testing::TemporaryDirectory directory;
  Database database(directory.path() / "a.sqlite", Database::Mode::kReadWrite);
  database.execute("CREATE TABLE t (x)");
  {
    const Transaction transaction(database, Transaction::Kind::kWrite);
    database.execute("INSERT INTO t VALUES (1)");
  }
  EXPECT_EQ(database.query_integer("SELECT count(*) FROM t"), 0);
  Transaction transaction(database, Transaction::Kind::kWrite);
  database.execute("INSERT INTO t VALUES (1)");
  transaction.commit();
  EXPECT_EQ(database.query_integer("SELECT count(*) FROM t"), 1);
}

TEST(Database, ErrorsHaveTheKindOfTheirCauseAndNameTheFile) {
  const testing::TemporaryDirectory directory;
  const auto path = directory.path() / "other.txt";
  testing::write_bytes(path, std::string(5000, 'x'));
  try {
    Database database(path, Database::Mode::kReadWrite);
    database.execute("SELECT * FROM sqlite_master");
    FAIL() << "accepted";
  } catch (const FormatError& error) {
    EXPECT_NE(std::string(error.what()).find("other.txt"), std::string::npos) << error.what();
  }
  EXPECT_THROW(Database(directory.path() / "none" / "a.sqlite", Database::Mode::kReadWrite), IoError);
  EXPECT_THROW(Database(directory.path() / "none.sqlite", Database::Mode::kReadOnly), IoError);
  Database readable(directory.path() / "b.sqlite", Database::Mode::kReadWrite);
  readable.execute("CREATE TABLE t (x)");
  Database read_only(directory.path() / "b.sqlite", Database::Mode::kReadOnly);
  EXPECT_THROW(read_only.execute("INSERT INTO t VALUES (1)"), IoError);
  EXPECT_THROW(static_cast<void>(read_only.prepare("SELECT * FROM missing")), FormatError);
}

}  // namespace
}  // namespace taesr
