#include "common/plugin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "common/bulk.h"
#include "common/registries.h"

namespace tiffin {
namespace {

using ::testing::HasSubstr;

// CMake passes the folder of the plug-ins beside this file.
std::string Plugin(const std::string& name) { return TIFFIN_TEST_PLUGINS "/lib" + name + ".so"; }

Value RecordOf(const std::string& class_name) {
  return Object{{"_noodles", "0.3.0"}, {"type", "<object>"}, {"class", class_name}, {"data", 1}};
}

TEST(LoadPlugin, SaysThatThereIsNoFile) {
  const absl::Status status = LoadPlugin("./nowhere.so").status();
  EXPECT_EQ(status, absl::NotFoundError("plug-in ./nowhere.so: there is no such file"));
}

TEST(LoadPlugin, RefusesWhatCannotBeLoaded) {
  const absl::Status status = LoadPlugin(TIFFIN_TEST_DATA "/README.md").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
}

TEST(LoadPlugin, RefusesASharedObjectThatIsNoPlugin) {
  const absl::Status status = LoadPlugin(Plugin("tiffin_test_none")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("does not export tiffin_plugin_abi"));
}

TEST(LoadPlugin, RefusesAnotherAbiBeforeItCallsAnythingElse) {
  const absl::Status status = LoadPlugin(Plugin("tiffin_test_foreign")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("built for \"tiffin-plugin/0 by another compiler\", this server is \""));
}

TEST(LoadPlugin, ContainsAnExceptionAtTheStart) {
  setenv("TIFFIN_TEST_THROW", "1", 1);
  const absl::Status status = LoadPlugin(Plugin("tiffin_test_throwing")).status();
  unsetenv("TIFFIN_TEST_THROW");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("threw while it made its registry"));
}

TEST(LoadPlugin, ContainsExceptionsOfItsSerialisersAndHooks) {
  const absl::StatusOr<Registry> registry = LoadPlugin(Plugin("tiffin_test_throwing"));
  ASSERT_TRUE(registry.ok()) << registry.status();
  const auto check = [&](const std::string& class_name) {
    return TakeBulk(List{RecordOf(class_name)}, {.registry = &*registry}).status();
  };
  EXPECT_EQ(check("fine"), absl::OkStatus());
  const std::string file = "plug-in " + Plugin("tiffin_test_throwing");
  EXPECT_EQ(check("check"), absl::InternalError(file + " threw: from Check"));
  EXPECT_EQ(check("leaving"), absl::InternalError("[0]: " + file +
                                                  " threw: something that is no "
                                                  "std::exception"));
  EXPECT_EQ(check("hook"), absl::InternalError("[0]: " + file + " threw: from the hook function"));
  EXPECT_THAT(registry->Describe().at(0).keeps, HasSubstr("threw: from Keeps"));
}

TEST(LoadPlugin, AddsUpWithTheOthers) {
  const auto registry =
      MakeRegistry({.spec = "base+numpy+" + Plugin("tiffin_test_throwing") + "+pickle"});
  ASSERT_TRUE(registry.ok()) << registry.status();
  EXPECT_EQ(TakeBulk(RecordOf("fine"), {.registry = registry->get()}).status(), absl::OkStatus());
}

}  // namespace
}  // namespace tiffin
