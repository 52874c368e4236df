// The whole program in this process, over a connection that answers from a script.
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "client/cli/context.h"
#include "common/job.h"
#include "common/json.h"
#include "tests/support/test_data.h"

namespace tiffin::cli {
namespace {

using ::tiffin::testing::TestJson;

absl::Status NotScripted() { return absl::UnimplementedError("not scripted"); }

// Answers reads from its members and refuses all else.
class ScriptedConnection : public Connection {
 public:
  absl::Status health = absl::OkStatus();
  absl::StatusOr<v1::GetResultResponse> result = absl::NotFoundError("never computed");
  std::vector<absl::StatusOr<v1::AliasResponse>> alias_pages;
  std::vector<v1::AliasRequest> alias_requests;
  int invalidations = 0;

  absl::StatusOr<v1::SubmitResponse> Submit(const v1::SubmitRequest&) override {
    return NotScripted();
  }
  absl::Status SubmitBatch(const std::vector<v1::SubmitBatchRequest>&,
                           const std::function<void(const v1::SubmitBatchResponse&)>&) override {
    return NotScripted();
  }
  absl::StatusOr<v1::GetResultResponse> GetResult(const v1::GetResultRequest&) override {
    return result;
  }
  absl::Status BatchGetResults(
      const std::vector<v1::BatchGetResultsRequest>&,
      const std::function<void(const v1::BatchGetResultsResponse&)>&) override {
    return NotScripted();
  }
  std::unique_ptr<AwaitStream> Await() override { return nullptr; }
  absl::StatusOr<v1::RenewResponse> Renew(const v1::RenewRequest&) override {
    return NotScripted();
  }
  absl::StatusOr<v1::ReleaseResponse> Release(const v1::ReleaseRequest&) override {
    return NotScripted();
  }
  absl::StatusOr<v1::StoreResultResponse> StoreResult(const v1::StoreResultRequest&) override {
    return NotScripted();
  }
  absl::StatusOr<v1::LinkResponse> Link(const v1::LinkRequest&) override { return NotScripted(); }
  absl::StatusOr<v1::AliasResponse> Alias(const v1::AliasRequest& request) override {
    alias_requests.push_back(request);
    if (alias_pages.empty()) return NotScripted();
    absl::StatusOr<v1::AliasResponse> page = alias_pages.front();
    alias_pages.erase(alias_pages.begin());
    return page;
  }
  absl::StatusOr<v1::InvalidateResponse> Invalidate(const v1::InvalidateRequest&) override {
    ++invalidations;
    return absl::UnavailableError("away");
  }
  absl::StatusOr<v1::FindMissingResponse> FindMissing(const v1::FindMissingRequest&) override {
    return NotScripted();
  }
  absl::StatusOr<v1::PutResponse> Put(const v1::PutRequest::Header&,
                                      const std::function<std::string_view()>&) override {
    return NotScripted();
  }
  absl::Status BatchPut(const std::vector<v1::BatchPutRequest>&,
                        const std::function<void(const v1::BatchPutResponse&)>&) override {
    return NotScripted();
  }
  absl::Status Deref(const v1::DerefRequest&,
                     const std::function<absl::Status(const v1::DerefResponse::Header&)>&,
                     const std::function<absl::Status(std::string_view)>&) override {
    return NotScripted();
  }
  absl::Status BatchDeref(const std::vector<v1::BatchDerefRequest>&,
                          const std::function<void(const v1::BatchDerefResponse&)>&) override {
    return NotScripted();
  }
  absl::StatusOr<v1::StatResponse> Stat(const v1::StatRequest&) override { return NotScripted(); }
  absl::StatusOr<v1::DescribeResponse> Describe(const v1::DescribeRequest&) override {
    return NotScripted();
  }
  absl::StatusOr<v1::StatsResponse> Stats(const v1::StatsRequest&) override {
    v1::StatsResponse stats;
    stats.set_jobs(3);
    stats.set_blob_bytes(2048);
    return stats;
  }
  absl::StatusOr<v1::SealResponse> Seal(const v1::SealRequest&) override { return NotScripted(); }
  absl::Status CheckHealth(absl::Duration) override { return health; }
};

class Cli : public ::testing::Test {
 protected:
  int Run(std::vector<std::string> arguments) {
    out_.str("");
    err_.str("");
    const Environment environment{.in = in_,
                                  .out = out_,
                                  .err = err_,
                                  .terminal = false,
                                  .connect = [this](const ConnectionOptions& options) {
                                    server_ = options.server;
                                    return connection_;
                                  }};
    return RunCli(std::move(arguments), environment);
  }

  std::shared_ptr<ScriptedConnection> connection_ = std::make_shared<ScriptedConnection>();
  std::string server_;
  std::istringstream in_;
  std::ostringstream out_;
  std::ostringstream err_;
};

constexpr char kJob[] = R"({"function": "math.sqrt", "arguments": [2]})";

TEST_F(Cli, HelpIsDone) {
  EXPECT_EQ(Run({"--help"}), kDone);
  EXPECT_NE(out_.str().find("replay"), std::string::npos);
  EXPECT_EQ(Run({"--version"}), kDone);
}

TEST_F(Cli, WrongUseIsTwo) {
  EXPECT_EQ(Run({}), kWrongUse);
  EXPECT_EQ(Run({"unknown"}), kWrongUse);
  EXPECT_EQ(Run({"get"}), kWrongUse);
  EXPECT_EQ(Run({"get", "tooshort"}), kWrongUse);
  EXPECT_EQ(Run({"store", "--key", "k", "--job", "j"}), kWrongUse);
  EXPECT_EQ(Run({"--patience", "soon", "health"}), kWrongUse);
  EXPECT_EQ(Run({"run", "job.json"}), kWrongUse);
}

TEST_F(Cli, KeyPrintsOneKeyALine) {
  in_.str(std::string(kJob) + "\n" + kJob + "\n");
  EXPECT_EQ(Run({"key"}), kDone);
  const std::string key = JobKey(*ParseJson(kJob))->ToText();
  EXPECT_EQ(out_.str(), key + "\n" + key + "\n");
  in_ = std::istringstream(kJob);
  EXPECT_EQ(Run({"--json", "key"}), kDone);
  EXPECT_EQ(out_.str(), "{\"key\":\"" + key + "\"}\n");
}

TEST_F(Cli, KeyRefusesWhatIsNoJob) {
  in_.str(R"({"function": "f"})");
  EXPECT_EQ(Run({"key"}), kRefused);
  EXPECT_TRUE(err_.str().starts_with("tiffin: INVALID_ARGUMENT: job 1: ")) << err_.str();
}

TEST_F(Cli, KeyNeedsAVersionForMainUnlessToldOtherwise) {
  const std::string job =
      R"({"function": {"_noodles": "0.3.0", "type": "<unwrapped>",)"
      R"( "class": "builtins.function", "data": "__main__.f"}, "arguments": []})";
  in_ = std::istringstream(job);
  EXPECT_EQ(Run({"key"}), kRefused);
  in_ = std::istringstream(job);
  EXPECT_EQ(Run({"key", "--allow-unversioned-main"}), kDone);
}

TEST_F(Cli, GetPrintsTheRecord) {
  v1::GetResultResponse response;
  response.set_key(std::string(32, 'k'));
  response.mutable_result()->set_kind(v1::RESULT_KIND_VALUE);
  response.mutable_result()->set_digest(std::string(32, 'd'));
  response.mutable_result()->mutable_record()->set_json("[1, 2.0]");
  connection_->result = response;
  EXPECT_EQ(Run({"get", JobKey(*ParseJson(kJob))->ToText()}), kDone) << err_.str();
  EXPECT_EQ(out_.str(), "[1,2.0]\n");
}

TEST_F(Cli, AMissIsOneAndSaysWhy) {
  EXPECT_EQ(Run({"get", JobKey(*ParseJson(kJob))->ToText()}), kMiss);
  EXPECT_EQ(err_.str(), "tiffin: NOT_FOUND: never computed\n");
}

TEST_F(Cli, AKeyMayBeginWithADash) {
  EXPECT_EQ(Run({"get", "-Z8kdMg-CbjgTKKYlz6b-_-Tsda5VAJL44OheRB10mU="}), kMiss);
}

TEST_F(Cli, OptionsMayStandBehindTheCommand) {
  EXPECT_EQ(Run({"stats", "--json", "--server", "elsewhere:1"}), kDone);
  EXPECT_EQ(server_, "elsewhere:1");
  const absl::StatusOr<Value> stats = ParseJson(out_.str());
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_EQ(*stats->if_object()->Find("jobs"), Value(3));
  EXPECT_EQ(*stats->if_object()->Find("granted"), Value(0));
}

TEST_F(Cli, StatsShowsPeopleUnits) {
  EXPECT_EQ(Run({"stats"}), kDone);
  EXPECT_NE(out_.str().find("2.0 KiB"), std::string::npos) << out_.str();
}

TEST_F(Cli, HealthIsFourIfTheServerIsAway) {
  EXPECT_EQ(Run({"health"}), kDone);
  connection_->health = absl::UnavailableError("refused");
  EXPECT_EQ(Run({"health"}), kUnreachable);
  EXPECT_EQ(err_.str(), "tiffin: UNAVAILABLE: 127.0.0.1:7410: refused\n");
}

TEST_F(Cli, AliasListReadsAllPages) {
  v1::AliasResponse page;
  v1::AliasResponse::Entry* entry = page.add_aliases();
  entry->mutable_alias()->set_profile("p");
  entry->mutable_alias()->set_name("n");
  entry->set_key(std::string(32, '\0'));
  page.set_next_page_token("more");
  connection_->alias_pages.push_back(page);
  page.clear_next_page_token();
  connection_->alias_pages.push_back(page);
  EXPECT_EQ(Run({"--namespace", "ns", "alias", "list", "p"}), kDone);
  ASSERT_EQ(connection_->alias_requests.size(), 2u);
  EXPECT_EQ(connection_->alias_requests[1].list().page_token(), "more");
  EXPECT_EQ(connection_->alias_requests[1].list().profile(), "p");
  EXPECT_EQ(connection_->alias_requests[1].caller().namespace_(), "ns");
  const std::string text = out_.str();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3) << text;
}

TEST_F(Cli, WhatIsReadIsAskedForAgainWhatIsDeletedIsNot) {
  const absl::Status away = absl::UnavailableError("away");
  connection_->alias_pages = {away, v1::AliasResponse()};
  EXPECT_EQ(Run({"alias", "list", "p"}), kDone);
  EXPECT_EQ(connection_->alias_requests.size(), 2u);
  // Had the first try done it, a second would say that there is none; or take back what came after
  // it.
  connection_->alias_pages = {away, v1::AliasResponse()};
  EXPECT_EQ(Run({"alias", "delete", "p", "n"}), kUnreachable);
  EXPECT_EQ(connection_->alias_requests.size(), 3u);
  connection_->invalidations = 0;
  EXPECT_EQ(Run({"invalidate", "--function", "f"}), kUnreachable);
  EXPECT_EQ(connection_->invalidations, 1);
}

TEST_F(Cli, KeysAreThoseOfTheVectors) {
  const Value vectors = TestJson("job-keys.json");
  const List* list = vectors.if_list();
  if (list == nullptr) {
    for (const auto& [name, member] : *vectors.if_object()) {
      if (member.if_list() != nullptr) list = member.if_list();
    }
  }
  ASSERT_NE(list, nullptr);
  std::string expected;
  std::string lines;
  for (const Value& vector : *list) {
    lines += *vector.if_object()->Find("text")->if_string() + "\n";
    expected += *vector.if_object()->Find("key")->if_string() + "\n";
  }
  in_.str(lines);
  EXPECT_EQ(Run({"key", "--allow-unversioned-main"}), kDone) << err_.str();
  EXPECT_EQ(out_.str(), expected);
}

}  // namespace
}  // namespace tiffin::cli
