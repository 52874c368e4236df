#include "client/cli/output.h"

#include <gtest/gtest.h>

#include <sstream>

#include "client/cli/context.h"
#include "common/json.h"

namespace tiffin::cli {
namespace {

TEST(Table, AlignsTextLeftAndNumbersRight) {
  Table table({"name", "size"});
  table.Add({"a", "1.5 KiB"});
  table.Add({"länger", "20 B"});
  std::ostringstream out;
  table.Print(out);
  EXPECT_EQ(out.str(),
            "name       size\n"
            "a       1.5 KiB\n"
            "länger     20 B\n");
}

TEST(Table, EndsLinesWithoutBlanks) {
  Table table({"a", "b"});
  table.Add({"x", ""});
  std::ostringstream out;
  table.Print(out);
  EXPECT_EQ(out.str(), "a  b\nx\n");
}

TEST(PrintFields, AlignsTheValues) {
  std::ostringstream out;
  PrintFields({{"key", "k"}, {"dtype", "int64"}}, out);
  EXPECT_EQ(out.str(), "key    k\ndtype  int64\n");
}

TEST(Bar, ShowsThePart) {
  EXPECT_EQ(BarText(0, 10, 4), "[----]   0 %");
  EXPECT_EQ(BarText(5, 10, 4), "[##--]  50 %");
  EXPECT_EQ(BarText(20, 10, 4), "[####] 100 %");
  EXPECT_EQ(BarText(0, 0, 4), "[####] 100 %");
}

TEST(Progress, DrawsNothingUnlessEnabled) {
  std::ostringstream err;
  {
    Progress progress(err, false, "x", 10);
    progress.Advance(5);
  }
  EXPECT_EQ(err.str(), "");
}

TEST(Progress, RemovesItsBar) {
  std::ostringstream err;
  {
    Progress progress(err, true, "x", 10);
    progress.Advance(5);
  }
  EXPECT_TRUE(err.str().starts_with("\rx [###")) << err.str();
  EXPECT_TRUE(err.str().ends_with("\r\033[K")) << err.str();
}

TEST(Texts, AreShort) {
  EXPECT_EQ(BytesText(1023), "1023 B");
  EXPECT_EQ(BytesText(1536), "1.5 KiB");
  EXPECT_EQ(BytesText(uint64_t{5} << 40), "5.0 TiB");
  EXPECT_EQ(ShapeText({}), "()");
  EXPECT_EQ(ShapeText({3}), "(3,)");
  EXPECT_EQ(ShapeText({3, 4}), "(3, 4)");
  EXPECT_EQ(Short(Value(List{1, 2, 3}), 5), "[1, …");
  EXPECT_EQ(TimeText(absl::FromUnixSeconds(0)), "1970-01-01T00:00:00Z");
}

TEST(MessageObject, KeepsNamesAndPrintsKeysAsText) {
  v1::AwaitResponse message;
  message.set_index(3);
  message.set_key(std::string(32, '\0'));
  message.set_event(v1::AWAIT_GRANTED);
  message.mutable_lease()->mutable_term()->set_seconds(30);
  EXPECT_EQ(PrintJson(Value(MessageObject(message))),
            R"({"index":3,"key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",)"
            R"("event":"AWAIT_GRANTED","lease":{"id":"","epoch":0,"term":30.0}})");
}

TEST(MessageObject, PrintsLists) {
  v1::BlobName name;
  name.add_shape(2);
  name.add_shape(3);
  EXPECT_EQ(PrintJson(Value(MessageObject(name))), R"({"key":"","dtype":"","shape":[2,3]})");
}

TEST(ExitCode, FollowsTheStatus) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCodeOf(absl::NotFoundError("")), 1);
  EXPECT_EQ(ExitCodeOf(WrongUse("")), 2);
  EXPECT_EQ(ExitCodeOf(absl::InvalidArgumentError("")), 3);
  EXPECT_EQ(ExitCodeOf(absl::AbortedError("")), 3);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("")), 4);
}

TEST(ErrorLine, NamesTheCode) {
  EXPECT_EQ(ErrorLine(absl::NotFoundError("no result")), "tiffin: NOT_FOUND: no result");
  EXPECT_EQ(ErrorLine(WrongUse("no command")), "tiffin: no command");
}

}  // namespace
}  // namespace tiffin::cli
