#include "common/job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "common/json.h"
#include "tests/support/test_data.h"

namespace tiffin {
namespace {

using ::testing::HasSubstr;
using ::tiffin::testing::At;
using ::tiffin::testing::MustParse;
using ::tiffin::testing::StringAt;
using ::tiffin::testing::TestJson;
using ::tiffin::testing::TestJsonLines;

std::string ErrorOf(const Value& job) {
  const absl::StatusOr<Digest> key = JobKey(job);
  EXPECT_EQ(key.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(key.status().message());
}

TEST(JobKey, HasThePreimageAndKeyOfEveryVector) {
  const Value file = TestJson("job-keys.json");
  ASSERT_EQ(At(file, "vectors").if_list()->size(), 43u);
  for (const Value& vector : *At(file, "vectors").if_list()) {
    SCOPED_TRACE(StringAt(vector, "name"));
    const Value job = MustParse(StringAt(vector, "text"));
    const absl::StatusOr<JobParts> parts = PartsOfJob(job);
    ASSERT_TRUE(parts.ok()) << parts.status();
    const absl::StatusOr<std::string> preimage = JobKeyPreimage(*parts);
    ASSERT_TRUE(preimage.ok()) << preimage.status();
    EXPECT_EQ(absl::BytesToHexString(*preimage), StringAt(vector, "preimage_hex"));
    const absl::StatusOr<Digest> key = JobKey(job);
    ASSERT_TRUE(key.ok()) << key.status();
    EXPECT_EQ(key->ToText(), StringAt(vector, "key"));
  }
}

TEST(JobKey, IsTheSameForBothPrintersOfNoodles) {
  const Value golden = TestJson("noodles-golden.json");
  const Value& json_jobs = At(At(At(golden, "profiles"), "json"), "jobs");
  const Value& ujson_jobs = At(At(At(golden, "profiles"), "ujson"), "jobs");
  for (const auto& [name, job] : *json_jobs.if_object()) {
    SCOPED_TRACE(name);
    const absl::StatusOr<Digest> json_key = JobKey(MustParse(StringAt(job, "text")));
    const absl::StatusOr<Digest> ujson_key =
        JobKey(MustParse(StringAt(At(ujson_jobs, name), "text")));
    ASSERT_TRUE(json_key.ok() && ujson_key.ok());
    EXPECT_EQ(json_key->ToText(), ujson_key->ToText());
  }
}

TEST(JobKey, IsTheSameForAJobMessageAndItsNode) {
  const Value golden = TestJson("noodles-golden.json");
  const Value message =
      MustParse(StringAt(At(At(At(golden, "profiles"), "json"), "messages"), "job"));
  const Value node = At(At(message, "data"), "node");
  EXPECT_EQ(JobKey(message)->ToText(), JobKey(node)->ToText());
}

TEST(PartsOfJob, NamesThePathOfWhatIsMissing) {
  const std::string node = R"({"_noodles": "", "type": "<object>", "class":)"
                           R"( "noodles.workflow.model.FunctionNode", "data": )";
  const std::string message = R"({"_noodles": "", "type": "<object>", "class":)"
                              R"( "noodles.run.messages.JobMessage", "data": )";
  EXPECT_EQ(ErrorOf(MustParse(R"({"arguments": []})")), "function: is missing");
  EXPECT_EQ(ErrorOf(MustParse(R"({"function": 1})")), "arguments: is missing");
  EXPECT_EQ(ErrorOf(MustParse(node + R"({"arguments": [], "hints": {}}})")),
            "data.function: is missing");
  EXPECT_EQ(ErrorOf(MustParse(node + R"({"function": 1, "hints": {}}})")),
            "data.arguments: is missing");
  EXPECT_THAT(ErrorOf(MustParse(node + R"({"function": 1, "arguments": [], "hints": 1}})")),
              HasSubstr("data.hints: expected an object"));
  EXPECT_THAT(ErrorOf(MustParse(node + "[]}")), HasSubstr("data: expected an object, found list"));
  EXPECT_EQ(ErrorOf(MustParse(message + R"({"key": 1}})")), "data.node: is missing");
  EXPECT_EQ(ErrorOf(MustParse(message + R"({"node": )" + node + R"({"arguments": []}}}})")),
            "data.node.data.function: is missing");
  EXPECT_THAT(ErrorOf(MustParse(message + R"({"node": 7}})")),
              HasSubstr("data.node: expected a FunctionNode record, found integer"));
}

TEST(PartsOfJob, RefusesOtherMembersAndOtherRecords) {
  EXPECT_THAT(ErrorOf(MustParse(R"({"function": 1, "arguments": [], "hint": 1})")),
              HasSubstr("hint: no member of a job"));
  EXPECT_THAT(ErrorOf(MustParse(R"({"_noodles": "", "type": "<object>", "class": "m.C"})")),
              HasSubstr("found a record <object> m.C"));
  EXPECT_THAT(ErrorOf(Value(1)), HasSubstr("found integer"));
  EXPECT_THAT(ErrorOf(MustParse(R"({"_noodles": "", "type": "<object>", "ref": true, "class":)"
                                R"( "noodles.workflow.model.FunctionNode", "data": {}})")),
              HasSubstr("data: a job must not be a ref"));
}

TEST(JobKey, TakesNullAsAbsent) {
  const auto key = [](std::string_view text) { return JobKey(MustParse(text))->ToText(); };
  EXPECT_EQ(key(R"({"function": "f", "arguments": 1, "version": null, "salt": null})"),
            key(R"({"function": "f", "arguments": 1})"));
  const std::string node = R"({"_noodles": "", "type": "<object>", "class":)"
                           R"( "noodles.workflow.model.FunctionNode", "data":)"
                           R"( {"function": "f", "arguments": 1, "hints": )";
  EXPECT_EQ(key(node + "{}}}"), key(R"({"function": "f", "arguments": 1})"));
  EXPECT_EQ(key(node + R"({"version": null, "store": true}}})"), key(node + "{}}}"));
  EXPECT_EQ(key(node + R"({"version": "2", "call_by_ref": []}}})"),
            key(R"({"function": "f", "arguments": 1, "version": "2"})"));
}

TEST(JobKey, NamesThePathOfAMalformedRef) {
  const std::string bad = R"({"_noodles": "", "type": "<a>", "ref": 1, "data":)"
                          R"( {"value": "AAAA", "size": 1}})";
  EXPECT_THAT(ErrorOf(MustParse(R"({"function": 1, "arguments": [0, )" + bad + "]}")),
              HasSubstr("arguments[1].data.value: "));
  EXPECT_THAT(ErrorOf(MustParse(R"({"_noodles": "", "type": "<object>", "class":)"
                                R"( "noodles.workflow.model.FunctionNode", "data":)"
                                R"( {"function": 1, "arguments": [], "hints": {"version": )" +
                                bad + "}}}")),
              HasSubstr("data.hints.version.data.value: "));
}

// A record of a function, as Noodles writes them.
std::string FunctionRecord(const std::string& type, const std::string& data,
                           const std::string& class_name = "builtins.function") {
  return R"({"_noodles": "0.3.0", "type": ")" + type + R"(", "class": ")" + class_name +
         R"(", "data": )" + data + "}";
}

TEST(IsMainFunction, FindsWhatBelongsToAScript) {
  const std::string bound =
      R"({"self": )" + FunctionRecord("<object>", "\"gA==\"", "__main__.A") + R"(, "name": "f"})";
  for (const std::string& function :
       {std::string(R"("__main__.f")"), std::string(R"("__main__")"),
        FunctionRecord("<unwrapped>", R"("__main__.f")"),
        FunctionRecord("<importable>", R"("__main__.A.f")"),
        FunctionRecord("<method>", R"({"class": "__main__.A", "method": "f"})"),
        FunctionRecord("<boundmethod>", bound, "builtins.method"),
        FunctionRecord("<object>", R"("gA==")", "__main__.Callable")}) {
    EXPECT_TRUE(IsMainFunction(MustParse(function))) << function;
  }
  for (const std::string& function :
       {std::string(R"("__main__x.f")"), std::string(R"("m.__main__.f")"), std::string("null"),
        FunctionRecord("<unwrapped>", R"("noodles.tutorial.add")"),
        FunctionRecord("<object>", R"("__main__.f")"),
        FunctionRecord("<partial>", R"(["__main__.f"])")}) {
    EXPECT_FALSE(IsMainFunction(MustParse(function))) << function;
  }
}

TEST(JobKey, AsksAVersionOrASaltOfAMainFunction) {
  const std::string job = R"({"function": "__main__.f", "arguments": [])";
  const absl::StatusOr<Digest> key = JobKey(MustParse(job + "}"));
  EXPECT_EQ(key.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(key.status().message()), HasSubstr("__main__.f"));
  EXPECT_TRUE(JobKey(MustParse(job + R"(, "version": "1"})")).ok());
  EXPECT_TRUE(JobKey(MustParse(job + R"(, "salt": 0})")).ok());
  EXPECT_FALSE(JobKey(MustParse(job + R"(, "version": null})")).ok());
  EXPECT_TRUE(JobKey(MustParse(job + "}"), {.allow_unversioned_main = true}).ok());
}

TEST(FunctionName, IsReadable) {
  const auto name = [](const std::string& function) { return FunctionName(MustParse(function)); };
  EXPECT_EQ(name(FunctionRecord("<unwrapped>", R"("noodles.tutorial.add")")),
            "noodles.tutorial.add");
  EXPECT_EQ(name(R"("math.sqrt")"), "math.sqrt");
  EXPECT_EQ(name(FunctionRecord("<method>", R"({"class": "m.A", "method": "__call__"})")),
            "m.A.__call__");
  EXPECT_EQ(name(FunctionRecord("<boundmethod>", R"({"self": "abc", "name": "upper"})")),
            "string.upper");
  EXPECT_EQ(
      name(FunctionRecord("<boundmethod>", R"({"self": )" + FunctionRecord("<object>", "1", "m.P") +
                                               R"(, "name": "f"})")),
      "m.P.f");
  EXPECT_EQ(name("[1, 2]"), "[1,2]");
  EXPECT_EQ(name("\"" + std::string(500, 'x') + "\"").size(), 200u);
  EXPECT_EQ(name(R"("a\ud800")"), "a\xEF\xBF\xBD");
}

TEST(VersionText, IsTheVersionForPeople) {
  const auto text = [](std::string_view version) {
    const Value job =
        MustParse(R"({"function": 1, "arguments": [], "version": )" + std::string(version) + "}");
    return VersionText(*PartsOfJob(job));
  };
  EXPECT_EQ(text(R"("1.2")"), "1.2");
  EXPECT_EQ(text("null"), "");
  EXPECT_EQ(text(R"([1, 2])"), "[1,2]");
}

struct Profile {
  NoodlesProfile profile;
  std::string name;
  JsonStyle style;
};

const Profile kProfiles[] = {{NoodlesProfile::kJson, "json", JsonStyle::Python()},
                             {NoodlesProfile::kUjson, "ujson", JsonStyle::Ujson()}};

TEST(NoodlesProv, IsTheGoldenOneInBothProfiles) {
  const Value golden = TestJson("noodles-golden.json");
  for (const Profile& profile : kProfiles) {
    const Value& jobs = At(At(At(golden, "profiles"), profile.name), "jobs");
    ASSERT_EQ(jobs.if_object()->size(), 32u);
    for (const auto& [name, job] : *jobs.if_object()) {
      SCOPED_TRACE(profile.name + " " + name);
      const absl::StatusOr<std::string> prov =
          NoodlesProv(MustParse(StringAt(job, "text")), profile.profile);
      ASSERT_TRUE(prov.ok()) << prov.status();
      EXPECT_EQ(*prov, StringAt(job, "prov"));
    }
  }
}

TEST(PrintJson, RepeatsWhatNoodlesPrinted) {
  const Value golden = TestJson("noodles-golden.json");
  for (const Profile& profile : kProfiles) {
    JsonStyle sorted = profile.style;
    sorted.sort_keys = true;
    for (const auto& [name, job] :
         *At(At(At(golden, "profiles"), profile.name), "jobs").if_object()) {
      SCOPED_TRACE(profile.name + " " + name);
      const Value record = MustParse(StringAt(job, "text"));
      EXPECT_EQ(PrintJson(record, profile.style), StringAt(job, "text"));
      const Value& data = At(record, "data");
      EXPECT_EQ(PrintJson(At(data, "function"), sorted), StringAt(job, "function"));
      EXPECT_EQ(PrintJson(At(data, "arguments"), sorted), StringAt(job, "arguments"));
    }
  }
}

TEST(NoodlesProv, IsTheRecordedOneOfEveryWorkflow) {
  int submits = 0;
  for (const Value& line : TestJsonLines("noodles-jobs.jsonl")) {
    if (StringAt(line, "event") != "submit") continue;
    ++submits;
    const absl::StatusOr<std::string> prov = NoodlesProv(At(line, "job"), NoodlesProfile::kUjson);
    ASSERT_TRUE(prov.ok()) << prov.status();
    EXPECT_EQ(*prov, StringAt(line, "prov"));
  }
  EXPECT_EQ(submits, 317);
}

TEST(NoodlesProv, IsRefusedForAPlainJob) {
  EXPECT_EQ(NoodlesProv(MustParse(R"({"function": 1, "arguments": []})"), NoodlesProfile::kJson)
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tiffin
