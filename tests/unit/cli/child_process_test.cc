#include "client/cli/child_process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <sstream>

#include "client/cli/context.h"

namespace tiffin::cli {
namespace {

absl::StatusOr<ChildOutcome> Shell(const std::string& script, std::ostream* err,
                                   std::optional<size_t> collect = 1 << 20) {
  SignalRelay relay;
  relay.Hold();
  return RunChild({"sh", "-c", script}, {.collect_bytes = collect, .err = err}, &relay);
}

TEST(RunChild, CollectsWhatItPrints) {
  std::ostringstream err;
  const auto outcome = Shell("echo out; echo err >&2; exit 7", &err);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->out, "out\n");
  EXPECT_EQ(outcome->log, "err\n");
  EXPECT_EQ(err.str(), "err\n");
  EXPECT_EQ(outcome->exit_status, 7);
}

TEST(RunChild, ReadsOnWhenThereIsTooMuch) {
  std::ostringstream err;
  const auto outcome = Shell("head -c 1000000 /dev/zero", &err, 1000);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_TRUE(outcome->out_cut);
  EXPECT_LE(outcome->out.size(), 1000u);
  EXPECT_EQ(outcome->exit_status, 0);
}

TEST(RunChild, PassesOutputOnIfItIsNotTheResult) {
  std::ostringstream err;
  const auto outcome = Shell("echo out", &err, std::nullopt);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->out, "");
  EXPECT_EQ(err.str(), "out\n");
}

TEST(RunChild, KeepsTheEndOfALongLog) {
  std::ostringstream err;
  const auto outcome = Shell("head -c 100000 /dev/zero >&2; echo end >&2", &err);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->log.size(), 64u << 10);
  EXPECT_TRUE(outcome->log.ends_with("end\n"));
}

TEST(RunChild, AProgramThatIsNotThereIsWrongUse) {
  SignalRelay relay;
  const auto outcome = RunChild({"/nowhere/program"}, {}, &relay);
  EXPECT_EQ(ExitCodeOf(outcome.status()), kWrongUse);
}

TEST(RunChild, SignalsAreAsTheyWereBefore) {
  std::ostringstream err;
  const auto outcome = Shell("kill -TERM $$; echo survived", &err);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->exit_status, 128 + SIGTERM);
}

TEST(SignalRelay, PassesASignalOn) {
  SignalRelay relay;
  relay.Hold();
  // The child tells that its trap stands by signalling us: by then it can be signalled back.
  const auto outcome = RunChild({"sh", "-c",
                                 "sleep 100 > /dev/null 2>&1 & "
                                 "trap 'kill $!; echo got; exit 3' TERM; kill -TERM $PPID; wait"},
                                {.collect_bytes = 100, .err = nullptr}, &relay);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->out, "got\n");
  EXPECT_EQ(outcome->exit_status, 3);
  EXPECT_EQ(relay.signal_number(), SIGTERM);
}

TEST(SignalRelay, ASignalBeforeTheStartReachesTheChildToo) {
  SignalRelay relay;
  relay.Hold();
  kill(getpid(), SIGTERM);
  ASSERT_EQ(relay.signal_number(), SIGTERM);
  const auto outcome = RunChild({"sleep", "100"}, {.collect_bytes = 100, .err = nullptr}, &relay);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->exit_status, 128 + SIGTERM);
}

}  // namespace
}  // namespace tiffin::cli
