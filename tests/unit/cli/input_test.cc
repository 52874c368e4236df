#include "client/cli/input.h"

#include <gtest/gtest.h>

#include <sstream>

#include "client/cli/context.h"

namespace tiffin::cli {
namespace {

TEST(ParseValues, TakesOneTextOnManyLines) {
  const auto values = ParseValues("{\n  \"a\": 1\n}\n", "x");
  ASSERT_TRUE(values.ok()) << values.status();
  EXPECT_EQ(*values, (std::vector<Value>{Object{{"a", 1}}}));
}

TEST(ParseValues, TakesJsonLines) {
  const auto values = ParseValues("\n{\"a\": 1}\n\n[2]\n3", "x");
  ASSERT_TRUE(values.ok()) << values.status();
  EXPECT_EQ(*values, (std::vector<Value>{Object{{"a", 1}}, List{2}, 3}));
}

TEST(ParseValues, NamesTheLineThatIsWrong) {
  const auto values = ParseValues("{\"a\": 1}\n{\"a\": }\n", "jobs.jsonl");
  EXPECT_TRUE(values.status().message().find("jobs.jsonl:2: ") == 0) << values.status();
}

TEST(ReadValues, ReadsStandardInputIfNothingIsNamed) {
  std::istringstream in("[1]");
  EXPECT_EQ(*ReadValues({}, in), std::vector<Value>{List{1}});
}

TEST(ReadValues, AFileThatIsNotThereIsWrongUse) {
  std::istringstream in;
  const auto values = ReadValues({"/nowhere/job.json"}, in);
  EXPECT_EQ(ExitCodeOf(values.status()), kWrongUse);
  EXPECT_EQ(values.status().message(), "cannot read /nowhere/job.json: No such file or directory");
}

TEST(ReadValue, TakesJsonAsItStands) {
  std::istringstream in;
  EXPECT_EQ(*ReadValue("{\"a\": null}", in), Value(Object{{"a", nullptr}}));
}

TEST(ParseKey, TakesPaddedBase64UrlOnly) {
  EXPECT_TRUE(ParseKey("4Z8kdMg-CbjgTKKYlz6b-_-Tsda5VAJL44OheRB10mU=").ok());
  EXPECT_EQ(ExitCodeOf(ParseKey("4Z8kdMg-CbjgTKKYlz6b-_-Tsda5VAJL44OheRB10mU").status()),
            kWrongUse);
}

TEST(ParseDuration, TakesSecondsAndUnits) {
  EXPECT_EQ(*ParseDuration("90"), absl::Seconds(90));
  EXPECT_EQ(*ParseDuration("1h30m"), absl::Minutes(90));
  EXPECT_EQ(*ParseDuration("200ms"), absl::Milliseconds(200));
  EXPECT_EQ(ExitCodeOf(ParseDuration("soon").status()), kWrongUse);
  EXPECT_EQ(ExitCodeOf(ParseDuration("-1").status()), kWrongUse);
}

}  // namespace
}  // namespace tiffin::cli
