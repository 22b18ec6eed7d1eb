#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace taesr {

/// A prepared SQL statement. Parameters and columns are numbered as SQLite does: from 1 and from 0.
class Statement {
 public:
  /// Bound text and bytes are not copied: they must live until the statement has run.
  Statement& bind(int parameter, std::int64_t value);
  Statement& bind(int parameter, std::string_view text);
  Statement& bind_bytes(int parameter, std::span<const std::byte> bytes);

  /// Moves to the next row; false after the last one, and the statement is ready to be bound again.
  [[nodiscard]] bool step();

  /// Runs a statement that has no rows to read.
  void run();

  [[nodiscard]] std::int64_t integer(int column) const;
  [[nodiscard]] std::string text(int column) const;
  /// Valid until the next step.
  [[nodiscard]] std::span<const std::byte> bytes(int column) const;

 private:
  friend class Database;
  Statement(sqlite3* database, std::string_view sql, std::string path);
  void check(int code) const;

  struct Finalizer {
    void operator()(sqlite3_stmt* statement) const;
  };
  sqlite3* database_;
  std::string path_;
  std::unique_ptr<sqlite3_stmt, Finalizer> statement_;
};

/// One connection to an SQLite file, for one thread at a time.
///
/// SQLite's errors become FormatError for damaged files and IoError for what the system or another
/// process refuses, with SQLite's own message and the path.
class Database {
 public:
  enum class Mode {
    kReadWrite,  // creates the file when there is none
    kReadOnly,
    kImmutable,  // read only, on media where not even a lock can be written
  };
  Database(const std::filesystem::path& path, Mode mode);

  [[nodiscard]] Statement prepare(std::string_view sql);

  /// Runs statements that need no parameters.
  void execute(const std::string& sql);

  /// First column of the first row as an integer; 0 when there is no row.
  [[nodiscard]] std::int64_t query_integer(std::string_view sql);

  [[nodiscard]] std::int64_t last_row_id() const;

  /// Writes a copy of one state of the database, without unused space, to a file that must not exist,
  /// and flushes it. Others may read and write meanwhile. On failure there is no such file.
  void copy_to(const std::filesystem::path& file);

  /// Takes over the whole content of `source` in one transaction: others see all of it or nothing.
  void replace_with(Database& source);

  /// Gives unused space back to the disk, and empties the write-ahead log where no reader needs it.
  void vacuum();
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  struct Closer {
    void operator()(sqlite3* database) const;
  };
  std::string path_;
  std::unique_ptr<sqlite3, Closer> handle_;
};

/// BEGIN on construction; ROLLBACK on destruction unless committed.
class Transaction {
 public:
  enum class Kind { kRead, kWrite };
  Transaction(Database& database, Kind kind);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit();

 private:
  Database& database_;
  bool open_ = true;
};

}  // namespace taesr
