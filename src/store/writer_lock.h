#pragma once

#include <filesystem>

namespace taesr {

/// The right to write a collection, held by at most one object in all processes of a machine.
///
/// The kernel frees the lock when its holder ends, however it ends, so a file left behind never blocks.
class WriterLock {
 public:
  /// Fails at once, never waits: IoError that names the holder.
  explicit WriterLock(const std::filesystem::path& file);
  ~WriterLock();
  WriterLock(const WriterLock&) = delete;
  WriterLock& operator=(const WriterLock&) = delete;

 private:
  int descriptor_;
};

}  // namespace taesr
