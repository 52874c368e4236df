#include "client/cli/recording.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "client/cli/replay_pass.h"
#include "common/json.h"

namespace tiffin::cli {
namespace {

constexpr char kWorkflowRecord[] =
    R"({"_noodles": "0.3.0", "type": "<object>",)"
    R"( "class": "noodles.interface.decorator.PromisedObject", "data": 1})";

std::string SubmitLine(int seq, int row, const std::string& prov, const std::string& answer) {
  return R"({"workflow": "w", "event": "submit", "seq": )" + std::to_string(seq) + R"(, "key": )" +
         std::to_string(row) + R"(, "prov": ")" + prov + R"(", "answer": ")" + answer +
         R"(", "job": {}, "result": null})" + "\n";
}

std::string StoreLine(int seq, int row, const std::string& status, const std::string& result) {
  return R"({"workflow": "w", "event": "store", "seq": )" + std::to_string(seq) + R"(, "key": )" +
         std::to_string(row) + R"(, "status": ")" + status + R"(", "result": )" + result + "}\n";
}

std::string RowLine(int seq, int row, int status, int link) {
  return R"({"workflow": "w", "event": "row", "seq": )" + std::to_string(seq) + R"(, "key": )" +
         std::to_string(row) + R"(, "status": )" + std::to_string(status) + R"(, "link": )" +
         std::to_string(link) + "}\n";
}

RecordedWorkflow Parse(const std::string& text) {
  auto workflows = ParseRecording(text);
  EXPECT_TRUE(workflows.ok()) << workflows.status();
  EXPECT_EQ(workflows->size(), 1u);
  return std::move(workflows->front());
}

std::vector<RecordedWorkflow> Recorded() {
  std::ifstream file(TIFFIN_TEST_DATA "/noodles-jobs.jsonl");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  auto workflows = ParseRecording(text);
  EXPECT_TRUE(workflows.ok()) << workflows.status();
  return *std::move(workflows);
}

// Three jobs: 1 unfolds into 2, which is done.
const std::string kLinked = SubmitLine(1, 1, "a", "initialized") +
                            StoreLine(2, 1, "done", kWorkflowRecord) +
                            SubmitLine(3, 2, "b", "initialized") + StoreLine(4, 2, "done", "7") +
                            RowLine(5, 1, 3, 2) + RowLine(6, 2, 2, 1);

TEST(ParseRecording, LinksAsSoonAsBothEndsAreKnown) {
  const RecordedWorkflow workflow = Parse(kLinked);
  std::vector<ReplayStep::Kind> kinds;
  for (const ReplayStep& step : workflow.steps) kinds.push_back(step.kind);
  using Kind = ReplayStep::Kind;
  EXPECT_EQ(kinds, (std::vector<Kind>{Kind::kSubmit, Kind::kStoreValue, Kind::kSubmit, Kind::kLink,
                                      Kind::kStoreValue}));
  EXPECT_EQ(workflow.steps[3].row, 1);
  EXPECT_EQ(workflow.steps[3].target, 2);
}

TEST(ParseRecording, ATargetSubmittedBeforeTheWorkflowIsStoredIsLinkedThen) {
  const RecordedWorkflow workflow =
      Parse(SubmitLine(1, 1, "a", "initialized") + SubmitLine(2, 2, "b", "initialized") +
            StoreLine(3, 1, "done", kWorkflowRecord) + RowLine(4, 1, 3, 2));
  ASSERT_EQ(workflow.steps.size(), 4u);
  EXPECT_EQ(workflow.steps[3].kind, ReplayStep::Kind::kLink);
}

TEST(ParseRecording, NamesTheLineThatIsWrong) {
  EXPECT_EQ(ParseRecording("\n" + SubmitLine(1, 1, "a", "guessed")).status().message(),
            "line 2: answer 'guessed'");
  EXPECT_EQ(ParseRecording(R"({"workflow": "w"})").status().message(), "line 1: no string 'event'");
}

TEST(WorkflowOutcome, FollowsLinks) {
  const RecordedWorkflow workflow = Parse(kLinked);
  const WorkflowOutcome outcome(workflow);
  ASSERT_NE(outcome.FinalValue("a"), nullptr);
  EXPECT_EQ(*outcome.FinalValue("a"), Value(7));
  EXPECT_EQ(outcome.MissingReason("a"), "");
}

TEST(ExpectRerun, GrantsWhatFailedOrWasNeverLinkedAndRetrievesTheRest) {
  const RecordedWorkflow workflow =
      Parse(SubmitLine(1, 1, "a", "initialized") + StoreLine(2, 1, "done", kWorkflowRecord) +
            SubmitLine(3, 2, "b", "initialized") + StoreLine(4, 2, "error", "null") +
            SubmitLine(5, 3, "c", "initialized") + StoreLine(6, 3, "done", "1") +
            SubmitLine(7, 4, "a", "attached"));
  const std::vector<Expectation> expected = ExpectRerun(workflow);
  ASSERT_EQ(expected.size(), 4u);
  EXPECT_EQ(expected[0].answer, Answer::kGranted);
  EXPECT_EQ(expected[0].reason, "its workflow result was never linked to a final job");
  EXPECT_EQ(expected[1].answer, Answer::kGranted);
  EXPECT_EQ(expected[1].reason, "it failed, and a failure is never a hit");
  EXPECT_EQ(expected[2].answer, Answer::kRetrieved);
  EXPECT_EQ(expected[3].answer, Answer::kAttached);
}

TEST(ExpectFirstPass, IsWhatNoodlesAnswered) {
  int granted = 0, attached = 0, retrieved = 0;
  for (const RecordedWorkflow& workflow : Recorded()) {
    for (const Expectation& expected : ExpectFirstPass(workflow)) {
      granted += expected.answer == Answer::kGranted;
      attached += expected.answer == Answer::kAttached;
      retrieved += expected.answer == Answer::kRetrieved;
    }
  }
  EXPECT_EQ(granted, 280);
  EXPECT_EQ(attached, 31);
  EXPECT_EQ(retrieved, 6);
}

TEST(ExpectRerun, OfTheRecordedRunGrantsFourAgain) {
  std::vector<std::string> granted;
  int retrieved = 0;
  for (const RecordedWorkflow& workflow : Recorded()) {
    for (const Expectation& expected : ExpectRerun(workflow)) {
      retrieved += expected.answer == Answer::kRetrieved;
      if (expected.answer == Answer::kGranted) granted.push_back(workflow.name);
    }
  }
  EXPECT_EQ(retrieved, 313);
  EXPECT_EQ(granted, (std::vector<std::string>{"fold_and_map", "map_any", "set_attr_error",
                                               "set_item_error"}));
}

Value ArrayRecord(const std::string& npy_base64) {
  return Object{{"_noodles", "0.3.0"},
                {"type", "<object>"},
                {"class", "numpy.ndarray"},
                {"data", npy_base64}};
}

TEST(EqualInline, SeesEqualArraysInBothOrders) {
  // numpy.save of [[1, 2], [3, 4]] as uint8, in C and in Fortran order.
  const std::string c_order =
      "k05VTVBZAQB2AHsnZGVzY3InOiAnfHUxJywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDIsIDIp"
      "LCB9ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoBAgME";
  const std::string fortran_order =
      "k05VTVBZAQB2AHsnZGVzY3InOiAnfHUxJywgJ2ZvcnRyYW5fb3JkZXInOiBUcnVlLCAnc2hhcGUnOiAoMiwgMiks"
      "IH0gICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoBAwIE";
  EXPECT_TRUE(EqualInline(List{ArrayRecord(fortran_order)}, List{ArrayRecord(c_order)}));
  EXPECT_FALSE(EqualInline(List{ArrayRecord(c_order)}, List{ArrayRecord("AA==")}));
  EXPECT_FALSE(EqualInline(List{1}, List{1.0}));
}

}  // namespace
}  // namespace tiffin::cli
