// A writer killed with SIGKILL: what it had acknowledged is there, and what is there is whole.
#include <SQLiteCpp/Database.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>
#include <string>
#include <vector>

#include "server/jobs/sqlite_job_database.h"
#include "tests/contract/jobs/job_database_contract.h"
#include "tests/unit/server/jobs/sqlite_test_folder.h"

namespace tiffin::server {
namespace {

// Runs the writer from number `first` on, kills it once it acknowledged `enough` and returns all
// that it had acknowledged by then.
std::vector<uint64_t> WriteAndKill(const std::filesystem::path& file, uint64_t first,
                                   size_t enough) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2 failed");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  std::string program = TIFFIN_ACKNOWLEDGING_WRITER;
  std::string name = file.string();
  std::string number = std::to_string(first);
  char* arguments[] = {program.data(), name.data(), number.data(), nullptr};
  pid_t child = 0;
  const int error = ::posix_spawn(&child, program.c_str(), &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  if (error != 0) throw std::runtime_error("posix_spawn failed");

  std::vector<uint64_t> acknowledged;
  FILE* lines = ::fdopen(ends[0], "r");
  unsigned long long n = 0;
  while (::fscanf(lines, "%llu\n", &n) == 1) {
    acknowledged.push_back(n);
    if (acknowledged.size() == enough) ::kill(child, SIGKILL);
  }
  ::fclose(lines);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status)) << "the writer ended by itself";
  return acknowledged;
}

TEST(SqliteKill, WhatWasAcknowledgedSurvives) {
  const TestFolder folder;
  std::set<uint64_t> acknowledged;
  uint64_t first = 0;
  for (const size_t enough : {1, 300, 500, 80}) {
    for (const uint64_t n : WriteAndKill(folder.file(), first, enough)) acknowledged.insert(n);
    first += 1'000'000;

    auto database = Must(OpenSqliteJobDatabase({.file = folder.file()}));
    int64_t jobs = 0;
    std::set<int64_t> epochs;
    Must(database->Read([&](JobReader& reader) {
      const RowId space = Must(reader.FindNamespace("a"));
      for (const uint64_t n : acknowledged) {
        const std::optional<JobRow> job = Must(reader.FindJob(space, TestDigest(n)));
        if (!job) {
          ADD_FAILURE() << n << " was acknowledged and is lost";
          continue;
        }
        EXPECT_EQ(Text(Must(reader.FindResult(job->id))), Text(TestResult(job->id, n)));
      }
      jobs = Must(reader.Counts()).jobs;
      for (RowId id = 1; id <= jobs; ++id) {
        const std::optional<JobRow> job = Must(reader.FindJob(id));
        EXPECT_TRUE(job) << "the count is more than what is there";
        if (!job) break;
        EXPECT_TRUE(Must(reader.FindResult(id))) << id << " is there by half";
        EXPECT_TRUE(epochs.insert(job->epoch).second) << job->epoch << " was given twice";
      }
      EXPECT_FALSE(Must(reader.FindJob(jobs + 1))) << "the count is less than what is there";
      return absl::OkStatus();
    }));
    EXPECT_GE(jobs, std::ssize(acknowledged));
    database.reset();
    SQLite::Database check(folder.file().string());
    EXPECT_EQ(check.execAndGet("PRAGMA integrity_check").getString(), "ok");
  }
}

}  // namespace
}  // namespace tiffin::server
