// Tasks on threads: all are run, in order, and none waits for one that blocks.
#include "server/service/executor.h"

#include <gtest/gtest.h>

#include <future>
#include <latch>
#include <vector>

namespace tiffin::server {
namespace {

TEST(Executor, OneThreadRunsTasksInTheOrderGiven) {
  std::vector<int> order;
  {
    Executor executor(1);
    for (int i = 0; i < 1000; ++i) executor.Add([&order, i] { order.push_back(i); });
  }
  ASSERT_EQ(order.size(), 1000u) << "its end waits for what is queued";
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(order[i], i);
}

TEST(Executor, AllThreadsWakeUpForTasksThatBlock) {
  constexpr int kThreads = 8;
  Executor executor(kThreads);
  // None of them returns before all have begun.
  std::latch begun(kThreads), ended(kThreads);
  for (int i = 0; i < kThreads; ++i) {
    executor.Add([&] {
      begun.arrive_and_wait();
      ended.count_down();
    });
  }
  ended.wait();
}

TEST(Executor, ATaskRunsBesideOneThatBlocks) {
  Executor executor(2);
  std::promise<void> blocked, go;
  executor.Add([&] {
    blocked.set_value();
    go.get_future().wait();
  });
  blocked.get_future().wait();
  for (int i = 0; i < 100; ++i) {
    std::promise<void> done;
    executor.Add([&] { done.set_value(); });
    done.get_future().wait();
  }
  go.set_value();
}

TEST(Executor, NothingIsLostWhenManyAddAtOnce) {
  std::atomic<int> run{0};
  {
    Executor executor(3);
    std::vector<std::thread> adders;
    for (int t = 0; t < 4; ++t) {
      adders.emplace_back([&] {
        for (int i = 0; i < 5000; ++i) executor.Add([&run] { ++run; });
      });
    }
    for (std::thread& adder : adders) adder.join();
  }
  EXPECT_EQ(run, 20'000);
}

TEST(Executor, ForEachCallsEachNumberOnceAlsoFromATask) {
  Executor executor(2);
  std::vector<std::atomic<int>> called(500);
  std::promise<void> done;
  executor.Add([&] {
    executor.ForEach(called.size(), [&](size_t i) { ++called[i]; });
    done.set_value();
  });
  done.get_future().wait();
  for (size_t i = 0; i < called.size(); ++i) EXPECT_EQ(called[i], 1) << i;
}

}  // namespace
}  // namespace tiffin::server
