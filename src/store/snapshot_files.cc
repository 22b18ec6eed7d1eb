#include "store/snapshot_files.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <optional>
#include <system_error>
#include <tuple>

#include "core/checksum.h"
#include "core/file.h"
#include "store/durable_file.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSuffix = ".sqlite";
constexpr std::string_view kUnfinished = ".unfinished-";  // and the number of the process that makes it

std::uint64_t checksum_of(const fs::path& file) {
  const MappedFile mapped(file);
  const auto bytes = mapped.bytes();
  return xxh64({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

std::int64_t milliseconds_now() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

std::string name_of(std::int64_t milliseconds, std::int64_t generation, std::uint64_t checksum) {
  const std::time_t seconds = milliseconds / 1000;
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  std::array<char, 128> name{};
  std::snprintf(name.data(), name.size(), "%04d%02d%02dT%02d%02d%02d.%03dZ-r%lld-%016llx", utc.tm_year + 1900,
                utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                static_cast<int>(milliseconds % 1000), static_cast<long long>(generation),
                static_cast<unsigned long long>(checksum));
  return name.data();
}

/// What a name says; nothing for a name of another form.
struct NameParts {
  std::int64_t milliseconds = 0;
  std::int64_t generation = 0;
  std::uint64_t checksum = 0;
};

std::optional<NameParts> parse_name(const std::string& name) {
  std::tm utc{};
  int thousandths = 0;
  long long generation = 0;
  unsigned long long checksum = 0;
  const int fields =
      std::sscanf(name.c_str(), "%4d%2d%2dT%2d%2d%2d.%3dZ-r%lld-%16llx", &utc.tm_year, &utc.tm_mon,
                  &utc.tm_mday, &utc.tm_hour, &utc.tm_min, &utc.tm_sec, &thousandths, &generation, &checksum);
  if (fields != 9) return std::nullopt;
  utc.tm_year -= 1900;
  utc.tm_mon -= 1;
  const NameParts parts{std::int64_t{::timegm(&utc)} * 1000 + thousandths, generation, checksum};
  if (name_of(parts.milliseconds, parts.generation, parts.checksum) != name) return std::nullopt;
  return parts;
}

Snapshot describe(const fs::path& file, const std::string& name, const NameParts& parts) {
  std::error_code error;
  const auto bytes = fs::file_size(file, error);
  return {name, parts.milliseconds, parts.generation, error ? 0 : bytes};
}

}  // namespace

fs::path SnapshotFiles::file_of(const std::string& name) const { return folder_ / (name + kSuffix); }

Snapshot SnapshotFiles::create(Database& database, std::size_t keep) const {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) throw IoError("cannot create the folder '" + folder_.string() + "': " + error.message());
  sweep_unfinished();
  static std::atomic<unsigned> counter = 0;
  const fs::path unfinished =
      folder_ / (std::to_string(counter++) + std::string(kUnfinished) + std::to_string(::getpid()));
  fs::remove(unfinished, error);  // of a killed process with the same number
  database.copy_to(unfinished);
  NameParts parts;
  try {
    parts.generation =
        Database(unfinished, Database::Mode::kImmutable).query_integer("SELECT max(generation) FROM commits");
    parts.checksum = checksum_of(unfinished);
    parts.milliseconds = milliseconds_now();
    const std::string name = name_of(parts.milliseconds, parts.generation, parts.checksum);
    rename_durably(unfinished, file_of(name));
    const Snapshot made = describe(file_of(name), name, parts);
    const std::vector<Snapshot> all = list();
    for (std::size_t i = 0; keep > 0 && i + keep < all.size(); ++i) {
      if (all[i].name != name) fs::remove(file_of(all[i].name), error);
    }
    return made;
  } catch (...) {
    fs::remove(unfinished, error);
    throw;
  }
}

std::vector<Snapshot> SnapshotFiles::list() const {
  std::vector<Snapshot> snapshots;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_, error)) {
    if (entry.path().extension() != kSuffix) continue;
    const std::string name = entry.path().stem().string();
    if (const auto parts = parse_name(name)) snapshots.push_back(describe(entry.path(), name, *parts));
  }
  if (error && error != std::errc::no_such_file_or_directory)
    throw IoError("cannot read the folder '" + folder_.string() + "': " + error.message());
  std::ranges::sort(snapshots, [](const Snapshot& a, const Snapshot& b) {
    return std::tie(a.milliseconds, a.generation) < std::tie(b.milliseconds, b.generation);
  });
  return snapshots;
}

Snapshot SnapshotFiles::find(const std::string& name) const {
  const std::vector<Snapshot> all = list();
  if (all.empty())
    throw InvalidArgument("there is no snapshot in '" + folder_.string() + "'; make one first");
  if (name == "latest") return all.back();
  std::vector<Snapshot> fitting;
  std::string names;
  for (const Snapshot& snapshot : all) {
    if (!name.empty() && snapshot.name.starts_with(name)) fitting.push_back(snapshot);
    names += (names.empty() ? "" : ", ") + snapshot.name;
  }
  if (fitting.size() == 1) return fitting.front();
  throw InvalidArgument((fitting.empty() ? "no snapshot" : "more than one snapshot") +
                        std::string(" is named '") + name + "'; there are: " + names + "; or say latest");
}

fs::path SnapshotFiles::verified_file(const Snapshot& snapshot) const {
  const fs::path file = file_of(snapshot.name);
  const auto parts = parse_name(snapshot.name);
  if (!parts || checksum_of(file) != parts->checksum) {
    throw ChecksumError("the snapshot '" + file.string() +
                        "' is damaged (its bytes do not have the checksum in its name); use another one");
  }
  return file;
}

/// Files of processes that were killed while they made them.
void SnapshotFiles::sweep_unfinished() const {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_, error)) {
    const std::string name = entry.path().filename().string();
    const std::size_t at = name.find(kUnfinished);
    if (at == std::string::npos) continue;
    const auto process = static_cast<pid_t>(std::atol(name.c_str() + at + kUnfinished.size()));
    if (process > 0 && ::kill(process, 0) != 0 && errno == ESRCH) fs::remove(entry.path(), error);
  }
}

}  // namespace taesr
