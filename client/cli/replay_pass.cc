#include "client/cli/replay_pass.h"

#include <map>
#include <optional>
#include <set>
#include <utility>

#include "client/cli/output.h"
#include "common/base64.h"
#include "common/bulk.h"
#include "common/npy.h"
#include "common/record.h"
#include "common/status.h"

namespace tiffin::cli {
namespace {

constexpr char kProfile[] = "noodles/json";

std::string_view OutcomeText(Submitted::Outcome outcome) {
  switch (outcome) {
    case Submitted::Outcome::kGranted:
      return AnswerText(Answer::kGranted);
    case Submitted::Outcome::kAttached:
      return AnswerText(Answer::kAttached);
    case Submitted::Outcome::kRetrieved:
      return AnswerText(Answer::kRetrieved);
    default:
      return "OPEN";
  }
}

// Brings each inline array to the one form that comes back.
void NormaliseArrays(Value* value) {
  if (List* list = value->if_list(); list != nullptr) {
    for (Value& item : *list) NormaliseArrays(&item);
    return;
  }
  Object* object = value->if_object();
  if (object == nullptr) return;
  if (IsRecord(*object)) {
    if (const std::optional<Array> array = InlineArray(*object); array.has_value()) {
      if (const absl::StatusOr<std::string> npy = WriteNpy(*array); npy.ok()) {
        object->Set("data", Base64Encode(*npy));
      }
      return;
    }
  }
  for (auto& [name, member] : *object) NormaliseArrays(&member);
}

class Replayer {
 public:
  Replayer(const RecordedWorkflow& workflow, const PassOptions& options, Client client,
           PassReport* report)
      : workflow_(workflow),
        options_(options),
        client_(std::move(client)),
        outcome_(workflow),
        expected_(options.rerun ? ExpectRerun(workflow) : ExpectFirstPass(workflow)),
        report_(*report) {}

  absl::Status Run(const std::function<void()>& on_step) {
    absl::Status status = RunSteps(on_step);
    if (status.ok()) status = CheckAll();
    for (const auto& [key, lease] : leases_) status.Update(client_.Release(lease));
    return Annotate(status, workflow_.name);
  }

 private:
  absl::Status RunSteps(const std::function<void()>& on_step) {
    for (const ReplayStep& step : workflow_.steps) {
      TIFFIN_RETURN_IF_ERROR(Annotate(RunStep(step), StrCat("seq ", step.seq)));
      on_step();
    }
    return absl::OkStatus();
  }

  absl::Status RunStep(const ReplayStep& step) {
    if (step.kind == ReplayStep::Kind::kSubmit) return Submit(step);
    const auto key = keys_.find(step.row);
    if (key == keys_.end()) {
      return absl::InvalidArgumentError(StrCat("row ", step.row, " was never submitted"));
    }
    const auto lease = leases_.find(key->second);
    if (step.kind == ReplayStep::Kind::kStoreAgain) return StoreAgain(step, key->second);
    if (lease == leases_.end()) return absl::OkStatus();  // retrieved: nothing to compute
    if (step.kind == ReplayStep::Kind::kLink) return Link(step, lease);
    if (unfolding_.contains(key->second)) return absl::OkStatus();  // goes on from what is stored
    if (step.kind == ReplayStep::Kind::kStoreError) return StoreError(step, lease);
    return StoreValue(step, lease);
  }

  absl::Status Submit(const ReplayStep& step) {
    TIFFIN_ASSIGN_OR_RETURN(const Submitted answer, client_.Submit(step.record));
    const Expectation& expected = expected_[submitted_++];
    ++report_.submissions;
    keys_[step.row] = answer.key;
    provs_[answer.key] = step.prov;
    Count(answer.outcome);
    if (OutcomeText(answer.outcome) != AnswerText(expected.answer)) {
      Differs(step.seq, "answer", AnswerText(expected.answer), OutcomeText(answer.outcome));
    }
    if (answer.lease.has_value()) {
      leases_[answer.key] = *answer.lease;
      if (!expected.reason.empty()) {
        report_.granted_again.push_back(
            {workflow_.name, step.seq, answer.key.ToText(), expected.reason});
      }
    }
    if (answer.workflow.has_value()) CheckWorkflow(step, answer);
    if (answer.result.has_value()) CheckRefs(step.seq, step.prov, answer.result->value);
    if (!options_.aliases) return absl::OkStatus();
    return client_.SetAlias(kProfile, step.prov, answer.key);
  }

  void Count(Submitted::Outcome outcome) {
    switch (outcome) {
      case Submitted::Outcome::kGranted:
        ++report_.granted;
        break;
      case Submitted::Outcome::kAttached:
        ++report_.attached;
        break;
      case Submitted::Outcome::kRetrieved:
        ++report_.retrieved;
        break;
      default:
        ++report_.other;
    }
  }

  using LeaseEntry = std::map<Digest, Lease>::iterator;

  absl::Status StoreValue(const ReplayStep& step, LeaseEntry lease) {
    TIFFIN_RETURN_IF_ERROR(client_.Store(lease->first, lease->second, step.record).status());
    if (!IsWorkflow(step.record)) leases_.erase(lease);
    return absl::OkStatus();
  }

  absl::Status StoreError(const ReplayStep& step, LeaseEntry lease) {
    TIFFIN_RETURN_IF_ERROR(client_.StoreFailure(lease->first, lease->second, step.record).status());
    leases_.erase(lease);
    return absl::OkStatus();
  }

  absl::Status StoreAgain(const ReplayStep& step, const Digest& key) {
    TIFFIN_ASSIGN_OR_RETURN(const Stored stored, client_.Store(key, std::nullopt, step.record));
    if (!stored.repeated) Differs(step.seq, "store", "already stored", "stored");
    return absl::OkStatus();
  }

  absl::Status Link(const ReplayStep& step, LeaseEntry lease) {
    const auto target = keys_.find(step.target);
    if (target == keys_.end()) {
      return absl::InvalidArgumentError(StrCat("row ", step.target, " was never submitted"));
    }
    TIFFIN_RETURN_IF_ERROR(client_.Link(lease->first, lease->second, target->second));
    ++report_.links;
    leases_.erase(lease);
    return absl::OkStatus();
  }

  // ---- comparing ------------------------------------------------------------------------------

  // A workflow that an earlier holder stored comes with the grant.
  void CheckWorkflow(const ReplayStep& step, const Submitted& answer) {
    unfolding_.insert(answer.key);
    ++report_.records;
    for (const ReplayStep& other : workflow_.steps) {
      if (other.row != step.row || other.kind != ReplayStep::Kind::kStoreValue) continue;
      const absl::StatusOr<Value> sent = WithRefs(other.record, options_.inline_limit);
      if (!sent.ok() || *sent != answer.workflow->value) {
        Differs(step.seq, "workflow", Short(other.record, 200), Short(answer.workflow->value, 200));
      }
    }
  }

  void CheckRefs(int64_t seq, const std::string& prov, const Value& got) {
    ++report_.records;
    const Value* sent = outcome_.FinalValue(prov);
    if (sent == nullptr) return Differs(seq, "record", "none", Short(got, 200));
    const absl::StatusOr<Value> expected = WithRefs(*sent, options_.inline_limit);
    if (!expected.ok() || *expected != got) {
      Differs(seq, "record with refs", expected.ok() ? Short(*expected, 200) : "", Short(got, 200));
    }
  }

  // At the end every job that has a value gives it back, with refs and inline.
  absl::Status CheckAll() {
    for (const auto& [key, prov] : provs_) {
      const Value* sent = outcome_.FinalValue(prov);
      if (sent == nullptr) continue;
      TIFFIN_ASSIGN_OR_RETURN(const StoredResult refs, client_.Get(key));
      CheckRefs(0, prov, refs.value);
      TIFFIN_ASSIGN_OR_RETURN(const StoredResult inlined, client_.Get(key, Bulk::kInline));
      ++report_.records;
      if (!EqualInline(*sent, inlined.value)) {
        Differs(0, "record inline", Short(*sent, 200), Short(inlined.value, 200));
      }
    }
    return absl::OkStatus();
  }

  void Differs(int64_t seq, std::string_view what, std::string_view expected,
               std::string_view got) {
    report_.differences.push_back(
        {workflow_.name, seq, std::string(what), std::string(expected), std::string(got)});
  }

  const RecordedWorkflow& workflow_;
  const PassOptions& options_;
  Client client_;
  WorkflowOutcome outcome_;
  std::vector<Expectation> expected_;
  size_t submitted_ = 0;
  PassReport& report_;
  std::map<int64_t, Digest> keys_;       // row → job
  std::map<Digest, std::string> provs_;  // job → Noodles' key
  std::map<Digest, Lease> leases_;       // held now
  std::set<Digest> unfolding_;           // granted with the workflow of an earlier pass
};

}  // namespace

absl::Status ReplayWorkflow(const RecordedWorkflow& workflow, const PassOptions& options,
                            Client client, const std::function<void()>& on_step,
                            PassReport* report) {
  return Replayer(workflow, options, std::move(client), report).Run(on_step);
}

absl::StatusOr<Value> WithRefs(const Value& sent, size_t inline_limit) {
  TIFFIN_ASSIGN_OR_RETURN(TakenRecord taken, TakeBulk(sent, {.inline_limit = inline_limit}));
  return std::move(taken.record);
}

bool EqualInline(const Value& sent, const Value& got) {
  if (sent == got) return true;
  Value a = sent;
  Value b = got;
  NormaliseArrays(&a);
  NormaliseArrays(&b);
  return a == b;
}

}  // namespace tiffin::cli
