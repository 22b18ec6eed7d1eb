#include "store/schema.h"

#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr std::int64_t kApplicationId = 0x54414553;  // "TAES", where `file` and SQLite look for it
constexpr std::int64_t kSchemaVersion = 3;

// Row ids are AUTOINCREMENT so that an id is never used twice: an index that knows ids up to n can
// tell new rows from old ones without comparing them.
//
// `embedding` has one row for each chunk, head and model: room for further heads (sparse, late
// interaction) and for a second model while a collection moves from one to another. `codec` is the name
// and version of the encoding of `data`. The columns' order is what migrate_from_1 arrives at.
//
// `heads` has the further heads that the collection keeps for every chunk. `parameters` is what their
// codec needs, such as centroids; a codec without a name is not fitted yet, and a head that is not ready
// is still being added.
constexpr const char* kTables = R"sql(
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE commits (generation INTEGER PRIMARY KEY, token INTEGER NOT NULL);
CREATE TABLE documents (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  title TEXT NOT NULL,
  text TEXT NOT NULL,
  source TEXT NOT NULL,
  metadata TEXT NOT NULL,
  content_hash TEXT NOT NULL
);
CREATE TABLE sections (
  document INTEGER NOT NULL REFERENCES documents(number) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  path TEXT NOT NULL,
  begin_byte INTEGER NOT NULL,
  end_byte INTEGER NOT NULL,
  PRIMARY KEY (document, position)
) WITHOUT ROWID;
CREATE TABLE properties (
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  document INTEGER NOT NULL REFERENCES documents(number) ON DELETE CASCADE,
  PRIMARY KEY (key, value, document)  -- in the columns' order, or quick_check of SQLite 3.40 sees NULLs
) WITHOUT ROWID;
CREATE INDEX properties_by_document ON properties(document);
CREATE TABLE chunks (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  document INTEGER NOT NULL REFERENCES documents(number) ON DELETE CASCADE,
  section TEXT NOT NULL,
  text TEXT NOT NULL,
  begin_byte INTEGER NOT NULL,
  end_byte INTEGER NOT NULL,
  tokens INTEGER NOT NULL
);
CREATE INDEX chunks_by_document ON chunks(document);
CREATE TABLE embedding (
  chunk INTEGER NOT NULL REFERENCES chunks(id) ON DELETE CASCADE,
  head TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  depth INTEGER NOT NULL,
  data BLOB NOT NULL,
  codec TEXT NOT NULL DEFAULT 'float32/1',
  PRIMARY KEY (chunk, head, fingerprint)
);
INSERT INTO commits VALUES (0, random());
)sql";

constexpr const char* kHeadTable = R"sql(
CREATE TABLE heads (
  name TEXT PRIMARY KEY,
  codec TEXT NOT NULL,
  parameters BLOB NOT NULL,
  ready INTEGER NOT NULL
);
)sql";

std::string read_meta(Database& database, std::string_view key) {
  Statement statement = database.prepare("SELECT value FROM meta WHERE key = ?");
  statement.bind(1, key);
  if (!statement.step()) {
    throw FormatError("'" + database.path() + "': the database is damaged (no '" + std::string(key) +
                      "' in its meta table); restore it from a backup or ingest again");
  }
  return statement.text(0);
}

void write_meta(Database& database, std::string_view key, std::string_view value) {
  database.prepare("INSERT OR REPLACE INTO meta VALUES (?, ?)").bind(1, key).bind(2, value).run();
}

/// Version 1 had one head, whose vectors were float32. Only the schema's own row changes, whatever the size.
void migrate_from_1(Database& database) {
  Transaction transaction(database, Transaction::Kind::kWrite);
  database.execute(
      "ALTER TABLE embeddings RENAME TO embedding;"
      "ALTER TABLE embedding RENAME COLUMN vector TO data;"
      "ALTER TABLE embedding ADD COLUMN codec TEXT NOT NULL DEFAULT 'float32/1';"
      "PRAGMA user_version = 2");
  transaction.commit();
}

/// Version 2 could store embeddings of further heads, but did not know which a collection keeps.
void migrate_from_2(Database& database) {
  Transaction transaction(database, Transaction::Kind::kWrite);
  database.execute(kHeadTable);
  database.execute("PRAGMA user_version = 3");
  transaction.commit();
}

void check_pages(Database& database) {
  Statement check = database.prepare("PRAGMA quick_check(1)");
  const std::string finding = check.step() ? check.text(0) : "no answer";
  if (finding != "ok") {
    throw FormatError("'" + database.path() + "': the database is damaged (" + finding +
                      "); restore it from a snapshot or a backup, or ingest again");
  }
}

}  // namespace

bool is_blank(Database& database) {
  return database.query_integer("SELECT count(*) FROM sqlite_master") == 0;
}

void create_schema(Database& database, const VectorSpace& space) {
  database.execute("PRAGMA journal_mode = WAL");
  Transaction transaction(database, Transaction::Kind::kWrite);
  database.execute(kTables);
  database.execute(kHeadTable);
  write_space(database, space);
  database.execute("PRAGMA application_id = " + std::to_string(kApplicationId));
  database.execute("PRAGMA user_version = " + std::to_string(kSchemaVersion));
  transaction.commit();
}

bool check_version(Database& database, OldSchema old) {
  const std::string where = "'" + database.path() + "': ";
  if (database.query_integer("PRAGMA application_id") != kApplicationId) {
    throw FormatError(where + "an SQLite database, but not of a collection; choose another directory");
  }
  const std::int64_t version = database.query_integer("PRAGMA user_version");
  const bool outdated = version >= 1 && version < kSchemaVersion;
  if (version != kSchemaVersion && (!outdated || old == OldSchema::kRefuse)) {
    throw VersionError(where + "schema version " + std::to_string(version) + ", this build reads version " +
                       std::to_string(kSchemaVersion) + "; " +
                       (outdated ? "open the collection once for writing, which brings it up to date "
                                   "(taesr collection compact DIR does)"
                                 : "use the build that made it, or ingest again"));
  }
  return outdated;
}

void check_schema(Database& database, OldSchema old) {
  const bool outdated = check_version(database, old);
  check_pages(database);  // before anything is changed
  if (!outdated || old != OldSchema::kMigrate) return;
  if (database.query_integer("PRAGMA user_version") == 1) migrate_from_1(database);
  migrate_from_2(database);
}

VectorSpace read_space(Database& database) {
  VectorSpace space;
  space.fingerprint = read_meta(database, "fingerprint");
  const std::string dimension = read_meta(database, "dimension");
  // Digits only, and few enough for any std::size_t.
  if (dimension.empty() || dimension.size() > 9 ||
      dimension.find_first_not_of("0123456789") != std::string::npos) {
    throw FormatError("'" + database.path() + "': the database is damaged (dimension '" + dimension +
                      "' is not a number); restore it from a backup or ingest again");
  }
  space.dimension = std::stoul(dimension);
  return space;
}

void write_space(Database& database, const VectorSpace& space) {
  write_meta(database, "fingerprint", space.fingerprint);
  write_meta(database, "dimension", std::to_string(space.dimension));
}

}  // namespace taesr
