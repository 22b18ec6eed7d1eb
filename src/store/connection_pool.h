#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <vector>

#include "store/database.h"

namespace taesr {

/// Read-only connections to one file: as many as threads use at once, kept for the next ones.
class ConnectionPool {
 public:
  ConnectionPool(std::filesystem::path file, Database::Mode mode) : file_(std::move(file)), mode_(mode) {}

  /// A connection that one thread has to itself; it goes back when the lease ends.
  class Lease {
   public:
    Lease(ConnectionPool& pool, std::unique_ptr<Database> connection)
        : pool_(pool), connection_(std::move(connection)) {}
    ~Lease() { pool_.give_back(std::move(connection_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    [[nodiscard]] Database& operator*() const { return *connection_; }
    [[nodiscard]] Database* operator->() const { return connection_.get(); }

   private:
    ConnectionPool& pool_;
    std::unique_ptr<Database> connection_;
  };

  [[nodiscard]] Lease take() {
    {
      const std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        std::unique_ptr<Database> connection = std::move(idle_.back());
        idle_.pop_back();
        return {*this, std::move(connection)};
      }
    }
    return {*this, std::make_unique<Database>(file_, mode_)};
  }

 private:
  void give_back(std::unique_ptr<Database> connection) {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(connection));
  }

  std::filesystem::path file_;
  Database::Mode mode_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Database>> idle_;
};

}  // namespace taesr
