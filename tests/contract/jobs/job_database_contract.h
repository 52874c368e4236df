// What every JobDatabase promises, in parts. backends_test.cc says which implementations keep it.
#ifndef TIFFIN_TESTS_CONTRACT_JOBS_JOB_DATABASE_CONTRACT_H_
#define TIFFIN_TESTS_CONTRACT_JOBS_JOB_DATABASE_CONTRACT_H_

#include <gtest/gtest.h>

#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "server/jobs/job_database.h"

namespace tiffin::server {

// Where the databases of one test live.
class JobDatabaseHome {
 public:
  virtual ~JobDatabaseHome() = default;
  // Opens the one database of this home, the last one of which was destroyed.
  virtual std::unique_ptr<JobDatabase> Open() = 0;
  // Whether what was acknowledged is there when it is opened again.
  virtual bool Keeps() const = 0;
};

struct JobDatabaseBackend {
  std::string name;
  std::function<std::unique_ptr<JobDatabaseHome>()> make_home;

  friend std::ostream& operator<<(std::ostream& out, const JobDatabaseBackend& backend) {
    return out << backend.name;
  }
};

// Rows of which no two numbers give the same.
Digest TestDigest(uint64_t n);
JobRow TestJob(RowId namespace_id, uint64_t n);
SessionRow TestSession(RowId namespace_id, uint64_t n);
LeaseRow TestLease(RowId job, uint64_t n);
ResultRow TestResult(RowId job, uint64_t n);
BlobRow TestBlob(uint64_t n, const std::string& pack);

// All members, so that rows can be compared and failures read. A job's without its record.
std::string Text(const JobRow& row);
std::string Text(const HitsRow& row);
std::string Text(const SessionRow& row);
std::string Text(const LeaseRow& row);
std::string Text(const ResultRow& row);
std::string Text(const BlobRow& row);
std::string Text(const AliasRow& row);
std::string Text(const EvidenceRow& row);
std::string Text(const PackRow& row);
std::string Text(const DatabaseCounts& counts);
inline std::string Text(const std::string& text) { return "'" + text + "'"; }
inline std::string Text(RowId id) { return std::to_string(id); }

template <typename Row>
std::string Text(const std::optional<Row>& row) {
  return row ? Text(*row) : "none";
}
template <typename Row>
std::string Text(const std::vector<Row>& rows) {
  std::string text;
  for (const Row& row : rows) text += Text(row) + "\n";
  return text;
}

// The value, or a failed test and an exception that ends it.
template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) throw std::runtime_error(std::string(value.status().ToString()));
  return *std::move(value);
}
inline void Must(const absl::Status& status) {
  if (!status.ok()) throw std::runtime_error(std::string(status.ToString()));
}

// A door that is shut until Open: keeps the writer, or a reader, where a test wants it.
class Door {
 public:
  void Open() { open_.set_value(); }
  void Wait() { opened_.wait(); }

 private:
  std::promise<void> open_;
  std::shared_future<void> opened_ = open_.get_future().share();
};

// Keeps the writer busy inside an operation until Release, or the end: what is written meanwhile
// queues.
class HeldWriter {
 public:
  explicit HeldWriter(JobDatabase& database);
  ~HeldWriter() { Release(); }
  void Release();

 private:
  std::shared_ptr<Door> inside_ = std::make_shared<Door>();
  std::shared_ptr<Door> leave_ = std::make_shared<Door>();
  bool released_ = false;
};

// Queues an operation; its fate can be waited for.
std::future<absl::Status> WriteLater(JobDatabase& database,
                                     std::function<absl::Status(JobTransaction&)> apply);

class JobDatabaseContract : public ::testing::TestWithParam<JobDatabaseBackend> {
 protected:
  void SetUp() override {
    home_ = GetParam().make_home();
    database_ = home_->Open();
  }

  JobDatabase& database() { return *database_; }
  void Reopen() {
    database_.reset();
    database_ = home_->Open();
  }
  bool Keeps() const { return home_->Keeps(); }

  // Runs `change`, which is to succeed, as one operation.
  void Write(const std::function<void(JobTransaction&)>& change) {
    const absl::Status status = database().WriteAndWait([&](JobTransaction& transaction) {
      change(transaction);
      return absl::OkStatus();
    });
    ASSERT_TRUE(status.ok()) << status;
  }
  void Look(const std::function<void(JobReader&)>& look) {
    const absl::Status status = database().Read([&](JobReader& reader) {
      look(reader);
      return absl::OkStatus();
    });
    ASSERT_TRUE(status.ok()) << status;
  }
  DatabaseCounts Counts() {
    DatabaseCounts counts;
    Look([&](JobReader& reader) { counts = Must(reader.Counts()); });
    return counts;
  }

  std::unique_ptr<JobDatabaseHome> home_;
  std::unique_ptr<JobDatabase> database_;
};

// The parts of the contract; each is to be instantiated.
class JobRows : public JobDatabaseContract {};          // rows_contract.cc, blob_rows_contract.cc
class JobTransactions : public JobDatabaseContract {};  // transactions_contract.cc
class JobModel : public JobDatabaseContract {};         // model_contract.cc

}  // namespace tiffin::server

#endif  // TIFFIN_TESTS_CONTRACT_JOBS_JOB_DATABASE_CONTRACT_H_
