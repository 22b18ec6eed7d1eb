// kill -9 at random points of every kind of change. TAESR_CRASH_CYCLES sets how often, 10 by default.

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <thread>

#include "collection/changes.h"
#include "support/child_process.h"
#include "support/temporary_directory.h"

namespace taesr {
namespace {

const auto kEmbedder = std::make_shared<const testing::FakeEmbedder>(16);

int cycles() {
  const char* wanted = std::getenv("TAESR_CRASH_CYCLES");
  return wanted == nullptr ? 10 : std::atoi(wanted);
}

/// Lets a child make changes until it is killed, and returns how many it had acknowledged by then.
int changes_before_kill(const std::filesystem::path& path, unsigned seed, const testing::Expected& start,
                        std::mt19937& random) {
  testing::Pipe acknowledgements;
  testing::ChildProcess child([&] {
    acknowledgements.close_read();
    Collection collection = Collection::open(path, kEmbedder);
    testing::Changes changes(seed, start);
    for (;;) {
      changes.make_next(&collection);
      acknowledgements.send(1);
    }
    return 0;
  });
  acknowledgements.close_write();
  const unsigned wait_for = random() % 8;  // changes; at 0 it may die while opening
  const auto nap = std::chrono::microseconds(random() % 30000);
  int acknowledged = 0;
  unsigned char byte = 0;
  for (unsigned i = 0; i < wait_for && acknowledgements.receive(byte); ++i) ++acknowledged;
  std::this_thread::sleep_for(nap);
  ::kill(child.pid(), SIGKILL);
  while (acknowledgements.receive(byte)) ++acknowledged;
  EXPECT_EQ(child.wait(), -1) << "it ended by itself";
  return acknowledged;
}

TEST(Crash, AKillAtAnyPointLeavesEveryAcknowledgedChangeAndNoOther) {
  const testing::TemporaryDirectory directory;
  const auto path = directory.path() / "kb";
  std::mt19937 random(31);
  testing::Expected expected;
  {
    Collection collection = Collection::open(path, kEmbedder);
    testing::Changes changes(1, {});
    collection.create_snapshot();
    for (int i = 0; i < 20; ++i) changes.make_next(&collection);
    expected = changes.expected();
  }
  int acknowledged_in_all = 0;
  for (int cycle = 0; cycle < cycles() && !::testing::Test::HasFailure(); ++cycle) {
    const auto seed = static_cast<unsigned>(1000 + cycle);
    SCOPED_TRACE("cycle " + std::to_string(cycle));
    const int acknowledged = changes_before_kill(path, seed, expected, random);
    acknowledged_in_all += acknowledged;
    testing::Changes replay(seed, expected);
    for (int i = 0; i < acknowledged; ++i) replay.make_next(nullptr);
    const testing::Expected last = replay.expected();
    replay.make_next(nullptr);
    Collection collection = testing::open_and_compare(path, kEmbedder, last, replay.expected());
    // A restore that was killed may have made its snapshot already, so a new one is the latest.
    expected.documents = expected.at_snapshot = testing::documents_of(collection);
    collection.create_snapshot(3);
    EXPECT_LE(collection.snapshots().size(), 3u);
  }
  EXPECT_GE(acknowledged_in_all, cycles());
  std::cout << "rounds: " << cycles() << " kills, " << acknowledged_in_all << " acknowledged changes\n";
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
    const std::string name = entry.path().filename().string();
    EXPECT_EQ(name.find("tmp-"), std::string::npos) << name;
    EXPECT_EQ(name.find("unfinished"), std::string::npos) << name;
  }
}

}  // namespace
}  // namespace taesr
