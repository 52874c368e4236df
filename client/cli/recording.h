// A recorded Noodles run (tests/data/README.md): what it asked, what it stored, what it was
// answered; and from that what a server must answer. No server here.
#ifndef TIFFIN_CLIENT_CLI_RECORDING_H_
#define TIFFIN_CLIENT_CLI_RECORDING_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/value.h"

namespace tiffin::cli {

// What Noodles' own database answered, in our words: initialized, attached, retrieved.
enum class Answer { kGranted, kAttached, kRetrieved };
std::string_view AnswerText(Answer answer);

struct ReplayStep {
  enum class Kind {
    kSubmit,
    kStoreValue,  // a value, or a workflow to be unfolded
    kStoreError,
    kStoreAgain,  // of a result just retrieved
    kLink,        // the result of `row` is that of `target`
  };
  Kind kind = Kind::kSubmit;
  int64_t seq = 0;
  // Rows of Noodles' table: each submission has its own, also one that is attached.
  int64_t row = 0;
  int64_t target = 0;                // kLink
  Value record;                      // the job (kSubmit) or the result
  std::string prov;                  // kSubmit
  Answer answer = Answer::kGranted;  // kSubmit
};

// The steps of one workflow in order; each link stands as early as it can be said.
struct RecordedWorkflow {
  std::string name;
  std::vector<ReplayStep> steps;
};

// INVALID_ARGUMENT naming the line if the text is no recording.
absl::StatusOr<std::vector<RecordedWorkflow>> ParseRecording(std::string_view text);

// What one submission must be answered.
struct Expectation {
  Answer answer = Answer::kGranted;
  std::string reason;  // for a job that is granted again
};

// What the steps leave behind, by Noodles' key of each job (its prov).
class WorkflowOutcome {
 public:
  explicit WorkflowOutcome(const RecordedWorkflow& workflow);

  // The final value of the job, its links followed; nullptr if it never got one.
  const Value* FinalValue(const std::string& prov) const;
  // Why the job has no value: it failed, or its workflow was never linked. Empty if it has one.
  std::string MissingReason(const std::string& prov) const;

 private:
  struct Job {
    const Value* stored = nullptr;
    bool failed = false;
    bool linked = false;
    std::string target;  // prov
  };
  std::map<std::string, Job> jobs_;
};

// For each submission in order: as recorded, and as a rerun over what the first pass stored must be
// answered: results are retrieved, failures and unlinked workflows granted again.
std::vector<Expectation> ExpectFirstPass(const RecordedWorkflow& workflow);
std::vector<Expectation> ExpectRerun(const RecordedWorkflow& workflow);

}  // namespace tiffin::cli

#endif  // TIFFIN_CLIENT_CLI_RECORDING_H_
