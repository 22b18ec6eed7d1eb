#include "decoder/crew.h"

#include <stdexcept>
#include <vector>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

namespace taesr {
namespace {

/// Restores the number of threads.
class CrewOf : public ::testing::TestWithParam<int> {
 protected:
  CrewOf() { at::set_num_threads(GetParam()); }
  ~CrewOf() override { at::set_num_threads(before_); }

 private:
  int before_ = at::get_num_threads();
};

TEST_P(CrewOf, EveryPartIsDoneOnceAndBeforeTheNextStage) {
  constexpr std::int64_t kCount = 1000;
  Crew crew(64);
  for (int run = 0; run < 20; ++run) {
    std::vector<int> numbers(kCount, 0);
    crew.run([&](Crew::Member& member) {
      for (int stage = 0; stage < 60; ++stage) {
        member.each(kCount, stage + 1, [&](std::int64_t begin, std::int64_t end) {
          // Each stage reads what the one before wrote elsewhere.
          for (std::int64_t i = begin; i < end; ++i) {
            if (numbers[static_cast<std::size_t>(i)] != stage) std::abort();
          }
          for (std::int64_t i = begin; i < end; ++i) ++numbers[static_cast<std::size_t>(i)];
        });
        member.once([&] {
          for (const int number : numbers) {
            if (number != stage + 1) std::abort();
          }
        });
        if (stage == 30) break;  // fewer stages than there is room for
      }
    });
    EXPECT_EQ(numbers, std::vector<int>(kCount, 31));
  }
}

TEST_P(CrewOf, FailureOfAPartIsThrownOnceAndTheCrewWorksOn) {
  Crew crew(4);
  int later = 0;
  const auto program = [&](Crew::Member& member) {
    member.each(100, 1, [](std::int64_t begin, std::int64_t end) {
      if (begin <= 50 && 50 < end) throw std::runtime_error("fifty");
    });
    member.once([&] { ++later; });
  };
  EXPECT_THROW(crew.run(program), std::runtime_error);
  EXPECT_EQ(later, 0);
  crew.run([&](Crew::Member& member) { member.once([&] { ++later; }); });
  EXPECT_EQ(later, 1);
}

TEST_P(CrewOf, WorksInsideAParallelLoop) {
  std::atomic<int> total = 0;
  at::parallel_for(0, 4, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      Crew crew(1);
      crew.run([&](Crew::Member& member) {
        member.each(10, 1, [&](std::int64_t from, std::int64_t to) { total += static_cast<int>(to - from); });
      });
    }
  });
  EXPECT_EQ(total, 40);
}

TEST_P(CrewOf, EmptyStagesEndAtOnce) {
  Crew crew(2);
  crew.run([&](Crew::Member& member) {
    member.each(0, 1, [](std::int64_t, std::int64_t) { FAIL(); });
    member.once([] {});
  });
}

INSTANTIATE_TEST_SUITE_P(Threads, CrewOf, ::testing::Values(1, 2, 3));

}  // namespace
}  // namespace taesr
