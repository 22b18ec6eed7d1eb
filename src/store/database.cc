#include "store/database.h"

#include <sqlite3.h>

#include <new>
#include <system_error>

#include "store/durable_file.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr int kBusyTimeoutMs = 5000;

[[noreturn]] void throw_sqlite(int code, const std::string& message, const std::string& path) {
  const std::string where = "'" + path + "': ";
  switch (code & 0xff) {
    case SQLITE_NOMEM:
      throw std::bad_alloc();
    case SQLITE_NOTADB:
      throw FormatError(where + "not an SQLite database (" + message + ")");
    case SQLITE_CORRUPT:
    case SQLITE_SCHEMA:
    case SQLITE_MISMATCH:
    case SQLITE_ERROR:  // a table or column that the schema promises is not there
      throw FormatError(where + "the database is damaged (" + message +
                        "); restore it from a backup or ingest again");
    case SQLITE_TOOBIG:
      throw InvalidArgument(where + "a text is larger than SQLite stores, about 1 GB (" + message + ")");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      throw IoError(where + "locked by another process (" + message + "); try again when it has finished");
    default:
      throw IoError(where + message);
  }
}

/// `file:` URI of a path; characters that mean something in a URI are escaped.
std::string to_uri(const std::string& path, const std::string& query) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string uri = "file:";
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '%' || c == '?' || c == '#' || byte < 0x20) {
      uri += {'%', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      uri += c;
    }
  }
  return uri + query;
}

}  // namespace

void Statement::Finalizer::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }

Statement::Statement(sqlite3* database, std::string_view sql, std::string path)
    : database_(database), path_(std::move(path)) {
  sqlite3_stmt* statement = nullptr;
  check(sqlite3_prepare_v2(database, sql.data(), static_cast<int>(sql.size()), &statement, nullptr));
  statement_.reset(statement);
}

void Statement::check(int code) const {
  if (code != SQLITE_OK) throw_sqlite(code, sqlite3_errmsg(database_), path_);
}

Statement& Statement::bind(int parameter, std::int64_t value) {
  check(sqlite3_bind_int64(statement_.get(), parameter, value));
  return *this;
}

Statement& Statement::bind(int parameter, std::string_view text) {
  // A null pointer, which an empty view may hold, would bind NULL.
  const char* data = text.empty() ? "" : text.data();
  check(sqlite3_bind_text64(statement_.get(), parameter, data, text.size(), SQLITE_STATIC, SQLITE_UTF8));
  return *this;
}

Statement& Statement::bind_bytes(int parameter, std::span<const std::byte> bytes) {
  const void* data = bytes.empty() ? static_cast<const void*>("") : bytes.data();
  check(sqlite3_bind_blob64(statement_.get(), parameter, data, bytes.size(), SQLITE_STATIC));
  return *this;
}

bool Statement::step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) {
    const std::string message = sqlite3_errmsg(database_);
    sqlite3_reset(statement_.get());
    throw_sqlite(code, message, path_);
  }
  check(sqlite3_reset(statement_.get()));
  return false;
}

void Statement::run() {
  while (step()) {
  }
}

std::int64_t Statement::integer(int column) const { return sqlite3_column_int64(statement_.get(), column); }

std::string Statement::text(int column) const {
  const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(statement_.get(), column));
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column));
  return data == nullptr ? std::string() : std::string(data, size);
}

std::span<const std::byte> Statement::bytes(int column) const {
  const auto* data = static_cast<const std::byte*>(sqlite3_column_blob(statement_.get(), column));
  return {data,
          data == nullptr ? 0 : static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column))};
}

void Database::Closer::operator()(sqlite3* database) const { sqlite3_close_v2(database); }

Database::Database(const std::filesystem::path& path, Mode mode) : path_(path.string()) {
  // Each connection is used by one thread at a time, so SQLite's own mutexes would be a waste.
  int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI;
  flags |= mode == Mode::kReadWrite ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
  const std::string uri = to_uri(path_, mode == Mode::kImmutable ? "?immutable=1" : "");
  sqlite3* handle = nullptr;
  const int code = sqlite3_open_v2(uri.c_str(), &handle, flags, nullptr);
  handle_.reset(handle);
  if (code != SQLITE_OK)
    throw_sqlite(code, handle == nullptr ? "out of memory" : sqlite3_errmsg(handle), path_);
  sqlite3_extended_result_codes(handle, 1);
  sqlite3_busy_timeout(handle, kBusyTimeoutMs);
  // The file may come from anywhere: no functions from its schema, no writes to its internals, and
  // damaged pages are noticed when they are read.
  sqlite3_db_config(handle, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  execute("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA foreign_keys = ON");
}

Statement Database::prepare(std::string_view sql) { return Statement(handle_.get(), sql, path_); }

void Database::execute(const std::string& sql) {
  const int code = sqlite3_exec(handle_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) throw_sqlite(code, sqlite3_errmsg(handle_.get()), path_);
}

std::int64_t Database::query_integer(std::string_view sql) {
  Statement statement = prepare(sql);
  return statement.step() ? statement.integer(0) : 0;
}

std::int64_t Database::last_row_id() const { return sqlite3_last_insert_rowid(handle_.get()); }

void Database::copy_to(const std::filesystem::path& file) {
  const std::string target = file.string();
  const auto discard = [&] {
    std::error_code ignored;
    std::filesystem::remove(file, ignored);
    std::filesystem::remove(target + "-journal", ignored);
  };
  if (std::filesystem::exists(file)) throw IoError("'" + target + "' exists already; choose another name");
  try {
    const std::string uri = to_uri(target, "");
    prepare("VACUUM INTO ?").bind(1, uri).run();
    flush_file(file);  // SQLite does not
  } catch (const IoError& error) {
    discard();
    throw IoError("cannot copy '" + path_ + "' to '" + target + "': " + error.what());
  } catch (...) {
    discard();
    throw;
  }
}

void Database::replace_with(Database& source) {
  sqlite3_backup* copying = sqlite3_backup_init(handle_.get(), "main", source.handle_.get(), "main");
  if (copying == nullptr) throw_sqlite(sqlite3_errcode(handle_.get()), sqlite3_errmsg(handle_.get()), path_);
  sqlite3_backup_step(copying, -1);
  // Reports what the step reported, and rolls back where that was a failure.
  const int code = sqlite3_backup_finish(copying);
  if (code == SQLITE_OK) return;
  const std::string reason = sqlite3_errstr(code);
  throw_sqlite(code, "cannot be replaced with '" + source.path_ + "': " + reason, path_);
}

void Database::vacuum() {
  execute("VACUUM");
  execute("PRAGMA wal_checkpoint(TRUNCATE)");
}

Transaction::Transaction(Database& database, Kind kind) : database_(database) {
  // IMMEDIATE takes the write lock now: a transaction that has read first could not always get it.
  database_.execute(kind == Kind::kWrite ? "BEGIN IMMEDIATE" : "BEGIN");
}

Transaction::~Transaction() {
  if (!open_) return;
  try {
    database_.execute("ROLLBACK");
  } catch (const std::exception&) {
    // SQLite has rolled back by itself after an I/O error; there is nothing left to undo.
  }
}

void Transaction::commit() {
  database_.execute("COMMIT");
  open_ = false;
}

}  // namespace taesr
