// Look-ups made together answer as each alone would.
#include "server/service/grouped_gets.h"

#include <gtest/gtest.h>

#include <latch>
#include <string>
#include <vector>

#include "tests/unit/store/store_fixture.h"

namespace tiffin::server {
namespace {

class GroupedGetsTest : public StoreFixture {
 protected:
  // The answers, in the order asked; all are waiting before the first is looked for.
  std::vector<JobStore::Found> GetAll(const std::vector<std::pair<std::string, JobAddress>>& asked,
                                      int threads) {
    std::vector<JobStore::Found> answers(asked.size(), absl::UnknownError("not answered"));
    std::latch go(1), answered(static_cast<ptrdiff_t>(asked.size()));
    Executor executor(threads);
    for (int i = 0; i < threads; ++i) executor.Add([&] { go.wait(); });
    const auto gets = std::make_shared<GroupedGets>(&store_, &executor);
    for (size_t i = 0; i < asked.size(); ++i) {
      gets->HandOver(
          {asked[i].first, asked[i].second, [&answers, &answered, i](JobStore::Found found) {
             answers[i] = std::move(found);
             answered.count_down();
           }});
    }
    go.count_down();
    answered.wait();
    return answers;
  }
};

TEST_F(GroupedGetsTest, EachGetsItsOwnAnswer) {
  std::vector<std::pair<std::string, JobAddress>> asked;
  for (int i = 0; i < 100; ++i) {
    asked.emplace_back("default", Done(Job(i), std::to_string(i)));
    asked.emplace_back("default", *Digest::FromBytes(std::string(32, static_cast<char>(i))));
    asked.emplace_back(StrCat("elsewhere", i % 3),
                       std::get<Digest>(asked[asked.size() - 2].second));
  }
  for (const int threads : {1, 8}) {
    const std::vector<JobStore::Found> answers = GetAll(asked, threads);
    for (int i = 0; i < 100; ++i) {
      ASSERT_TRUE(answers[3 * i].ok()) << answers[3 * i].status();
      EXPECT_EQ((*answers[3 * i])->result.row.record, std::to_string(i));
      EXPECT_TRUE(absl::IsNotFound(answers[3 * i + 1].status()));
      EXPECT_TRUE(absl::IsNotFound(answers[3 * i + 2].status())) << "another namespace";
    }
  }
}

TEST_F(GroupedGetsTest, LargeResultsAreNotAllHeldAtOnceAndNoneIsLost) {
  std::vector<std::pair<std::string, JobAddress>> asked;
  for (int i = 0; i < 20; ++i) {
    // Strings without base64's letters alone stay in their record.
    asked.emplace_back("default", Done(Job(i), StrCat("\"", i, std::string(700'000, '-'), "\"")));
  }
  const std::vector<JobStore::Found> answers = GetAll(asked, 2);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(answers[i].ok()) << answers[i].status();
    EXPECT_TRUE((*answers[i])->result.row.record.starts_with(StrCat("\"", i, "-")));
  }
}

TEST_F(GroupedGetsTest, OneAloneIsAnsweredAtOnce) {
  const Digest key = Done(Job(1));
  Executor executor(1);
  std::latch never(1);
  executor.Add([&] { never.wait(); });
  bool answered = false;
  std::make_shared<GroupedGets>(&store_, &executor)
      ->Add({"default", key, [&](const JobStore::Found& found) { answered = found.ok(); }});
  EXPECT_TRUE(answered);
  never.count_down();
}

TEST_F(GroupedGetsTest, ItMayGoWhileItsLastTaskIsQueued) {
  const Digest key = Done(Job(1));
  Executor executor(1);
  std::latch answered(1);
  std::make_shared<GroupedGets>(&store_, &executor)
      ->HandOver({"default", key, [&](const JobStore::Found& found) {
                    EXPECT_TRUE(found.ok());
                    answered.count_down();
                  }});
  answered.wait();
}

}  // namespace
}  // namespace tiffin::server
