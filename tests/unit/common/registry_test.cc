#include "common/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/support/test_data.h"

namespace tiffin {
namespace {

using ::testing::HasSubstr;
using ::tiffin::testing::MustParse;

// Takes everything; is known by its name.
class Named : public RecordSerialiser {
 public:
  explicit Named(std::string name) : name_(std::move(name)) {}
  absl::Status Check(const Object&, const std::optional<RecordRef>&,
                     const PathLink&) const override {
    return absl::OkStatus();
  }
  std::string Keeps() const override { return name_; }

 private:
  const std::string name_;
};

SerialiserPtr Ser(std::string name) { return std::make_shared<Named>(std::move(name)); }

// A hook function that answers `hook` for records of that class.
Registry::HookFunction HookFor(std::string class_name, std::string hook) {
  return [=](const Object& record) -> absl::StatusOr<std::string> {
    return RecordClass(record) == class_name ? hook : "";
  };
}

// The name of the serialiser that is found for a record; "nothing" for none.
std::string Found(const Registry& registry, const std::string& type,
                  const std::string& class_name) {
  const Object record = {{"_noodles", "0.3.0"}, {"type", type}, {"class", class_name}};
  const absl::StatusOr<const RecordSerialiser*> found = registry.Find(record);
  EXPECT_TRUE(found.ok()) << found.status();
  if (!found.ok()) return "error";
  return *found == nullptr ? "nothing" : (*found)->Keeps();
}

std::string FoundClass(const Registry& registry, const std::string& class_name) {
  return Found(registry, "<object>", class_name);
}

TEST(RegistryLookUp, HookComesBeforeClass) {
  Registry registry;
  registry.AddClass("m.A", Ser("class")).AddHook("<h>", Ser("hook"));
  EXPECT_EQ(FoundClass(registry, "m.A"), "class");
  registry.SetHookFunction(HookFor("m.A", "<h>"));
  EXPECT_EQ(FoundClass(registry, "m.A"), "hook");
}

TEST(RegistryLookUp, HookFunctionComesBeforeTheTypesOwnHook) {
  Registry registry;
  registry.AddHook("<automagic>", Ser("type")).AddHook("<h>", Ser("function"));
  registry.SetHookFunction(HookFor("m.A", "<h>"));
  EXPECT_EQ(Found(registry, "<automagic>", "m.A"), "function");
  EXPECT_EQ(Found(registry, "<automagic>", "m.B"), "type");
}

TEST(RegistryLookUp, ClassComesBeforeBases) {
  Registry registry;
  registry.AddClass("m.A", Ser("class")).AddClass("m.Base", Ser("base"));
  registry.AddBases("m.A", {"m.Base"}).AddBases("m.B", {"m.Base"});
  EXPECT_EQ(FoundClass(registry, "m.A"), "class");
  EXPECT_EQ(FoundClass(registry, "m.B"), "base");
}

TEST(RegistryLookUp, BasesAreSearchedBreadthFirst) {
  Registry registry;
  registry.AddBases("m.D", {"m.B", "m.C"}).AddBases("m.B", {"m.A"});
  registry.AddClass("m.A", Ser("grandparent")).AddClass("m.C", Ser("second parent"));
  EXPECT_EQ(FoundClass(registry, "m.D"), "second parent");
  registry.AddClass("m.B", Ser("first parent"));
  EXPECT_EQ(FoundClass(registry, "m.D"), "first parent");
}

TEST(RegistryLookUp, DefaultComesLast) {
  Registry registry;
  EXPECT_EQ(FoundClass(registry, "m.A"), "nothing");
  registry.AddBases("m.A", {"m.Base"}).SetDefault(Ser("default"));
  EXPECT_EQ(FoundClass(registry, "m.A"), "default");
  EXPECT_EQ(Found(registry, "<never seen>", ""), "default");
  registry.AddClass("m.Base", Ser("base"));
  EXPECT_EQ(FoundClass(registry, "m.A"), "base");
}

TEST(RegistryLookUp, ClassesAreOfObjectRecordsOnly) {
  Registry registry;
  registry.AddClass("m.A", Ser("class")).SetDefault(Ser("default"));
  EXPECT_EQ(Found(registry, "<automagic>", "m.A"), "default");
}

TEST(RegistryLookUp, BasesInACircleEnd) {
  Registry registry;
  registry.AddBases("m.A", {"m.B"}).AddBases("m.B", {"m.A"});
  EXPECT_EQ(FoundClass(registry, "m.A"), "nothing");
}

TEST(RegistryLookUp, ErrorOfAHookFunctionIsPassedOn) {
  Registry registry;
  registry.SetHookFunction([](const Object&) -> absl::StatusOr<std::string> {
    return absl::InvalidArgumentError("no such spectrum");
  });
  EXPECT_EQ(registry.Find(Object{{"type", "x"}}).status(),
            absl::InvalidArgumentError("no such spectrum"));
}

TEST(RegistryLookUp, HookThatIsNotThereIsAnError) {
  Registry registry;
  registry.SetHookFunction(HookFor("", "<gone>")).SetDefault(Ser("default"));
  const absl::Status status = registry.Find(Object{{"type", "x"}}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("<gone>"));
}

TEST(RegistrySum, RightOverridesLeft) {
  Registry a, b;
  a.AddClass("m.A", Ser("a")).AddClass("m.OnlyA", Ser("a")).AddHook("<h>", Ser("a"));
  b.AddClass("m.A", Ser("b")).AddClass("m.OnlyB", Ser("b")).AddHook("<h>", Ser("b"));
  const Registry sum = a + b;
  EXPECT_EQ(FoundClass(sum, "m.A"), "b");
  EXPECT_EQ(FoundClass(sum, "m.OnlyA"), "a");
  EXPECT_EQ(FoundClass(sum, "m.OnlyB"), "b");
  EXPECT_EQ(Found(sum, "<h>", ""), "b");
  EXPECT_EQ(FoundClass(a, "m.A"), "a") << "the summands stay what they are";
}

TEST(RegistrySum, RightsHookFunctionIsAskedFirst) {
  Registry a, b;
  a.AddHook("<a>", Ser("a")).SetHookFunction([](const Object&) { return std::string("<a>"); });
  b.AddHook("<b>", Ser("b")).SetHookFunction(HookFor("m.B", "<b>"));
  EXPECT_EQ(FoundClass(a + b, "m.B"), "b");
  EXPECT_EQ(FoundClass(a + b, "m.A"), "a") << "b leaves it to a";
  EXPECT_EQ(FoundClass(b + a, "m.B"), "a") << "a leaves nothing";
}

TEST(RegistrySum, DefaultStaysTheLefts) {
  Registry a, b;
  a.SetDefault(Ser("a"));
  b.SetDefault(Ser("b"));
  EXPECT_EQ(FoundClass(a + b, "m.A"), "a");
  EXPECT_EQ(FoundClass(b + a, "m.A"), "b");
  EXPECT_EQ(FoundClass(Registry() + b, "m.A"), "b") << "the left has none";
}

TEST(RegistrySum, BasesOfBothAreSearched) {
  Registry a, b;
  a.AddBases("m.C", {"m.B"}).AddBases("m.X", {"m.Y"});
  b.AddBases("m.B", {"m.A"}).AddBases("m.X", {"m.A"}).AddClass("m.A", Ser("found"));
  EXPECT_EQ(FoundClass(a + b, "m.C"), "found");
  EXPECT_EQ(FoundClass(a + b, "m.X"), "found");
  EXPECT_EQ(FoundClass(b + a, "m.X"), "nothing");
}

TEST(RegistrySum, IsAssociative) {
  Registry a, b, c;
  a.AddClass("m.A", Ser("a")).SetDefault(Ser("a")).SetHookFunction(HookFor("m.H", "<a>"));
  b.AddClass("m.A", Ser("b")).AddHook("<b>", Ser("b")).SetHookFunction(HookFor("m.H", "<b>"));
  c.AddBases("m.C", {"m.A"}).SetDefault(Ser("c"));
  for (const char* name : {"m.A", "m.C", "m.H", "m.Z"}) {
    EXPECT_EQ(FoundClass((a + b) + c, name), FoundClass(a + (b + c), name)) << name;
  }
}

TEST(RegistryDescribe, TellsHooksClassesBasesAndDefault) {
  Registry registry;
  registry.AddClass("m.A", Ser("class")).AddHook("<h>", Ser("hook")).SetDefault(Ser("default"));
  registry.AddBases("m.B", {"m.A"}).AddBases("m.C", {"m.Unknown"});
  std::string text;
  for (const Registry::Entry& entry : registry.Describe()) {
    text += entry.record_type + "|" + entry.class_name + "|" + entry.keeps + "\n";
  }
  EXPECT_EQ(text, "<h>||hook\n<object>|m.A|class\n<object>|m.B|as m.A\n||default\n");
}

}  // namespace
}  // namespace tiffin
