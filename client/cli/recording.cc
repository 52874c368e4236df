#include "client/cli/recording.h"

#include <algorithm>
#include <set>
#include <utility>

#include "common/json.h"
#include "common/record.h"
#include "common/status.h"

namespace tiffin::cli {
namespace {

absl::StatusOr<std::string> TextMember(const Object& line, std::string_view name) {
  const Value* member = line.Find(name);
  const std::string* text = member == nullptr ? nullptr : member->if_string();
  if (text == nullptr) return absl::InvalidArgumentError(StrCat("no string '", name, "'"));
  return *text;
}

absl::StatusOr<int64_t> NumberMember(const Object& line, std::string_view name) {
  const Value* member = line.Find(name);
  const int64_t* number = member == nullptr ? nullptr : member->if_int64();
  if (number == nullptr) return absl::InvalidArgumentError(StrCat("no integer '", name, "'"));
  return *number;
}

absl::StatusOr<Value> AnyMember(const Object& line, std::string_view name) {
  const Value* member = line.Find(name);
  if (member == nullptr) return absl::InvalidArgumentError(StrCat("no '", name, "'"));
  return *member;
}

absl::StatusOr<Answer> ParseAnswer(const std::string& text) {
  if (text == "initialized") return Answer::kGranted;
  if (text == "attached") return Answer::kAttached;
  if (text == "retrieved") return Answer::kRetrieved;
  return absl::InvalidArgumentError(StrCat("answer '", text, "'"));
}

absl::StatusOr<ReplayStep::Kind> ParseStatus(const std::string& text) {
  if (text == "done") return ReplayStep::Kind::kStoreValue;
  if (text == "error") return ReplayStep::Kind::kStoreError;
  if (text == "retrieved") return ReplayStep::Kind::kStoreAgain;
  return absl::InvalidArgumentError(StrCat("status '", text, "'"));
}

// A workflow as it is read: its links come last in the file.
struct Reading {
  RecordedWorkflow workflow;
  std::map<int64_t, int64_t> links;  // row of a workflow result → row of its final result
};

absl::Status ReadStep(const Object& line, ReplayStep step, Reading* reading) {
  TIFFIN_ASSIGN_OR_RETURN(step.row, NumberMember(line, "key"));
  if (step.kind == ReplayStep::Kind::kSubmit) {
    TIFFIN_ASSIGN_OR_RETURN(const std::string answer, TextMember(line, "answer"));
    TIFFIN_ASSIGN_OR_RETURN(step.answer, ParseAnswer(answer));
    TIFFIN_ASSIGN_OR_RETURN(step.prov, TextMember(line, "prov"));
    TIFFIN_ASSIGN_OR_RETURN(step.record, AnyMember(line, "job"));
  } else {
    TIFFIN_ASSIGN_OR_RETURN(const std::string status, TextMember(line, "status"));
    TIFFIN_ASSIGN_OR_RETURN(step.kind, ParseStatus(status));
    TIFFIN_ASSIGN_OR_RETURN(step.record, AnyMember(line, "result"));
  }
  reading->workflow.steps.push_back(std::move(step));
  return absl::OkStatus();
}

absl::Status ReadRow(const Object& line, Reading* reading) {
  constexpr int64_t kWorkflowRow = 3;  // in Noodles' table; other rows' links mean other things
  TIFFIN_ASSIGN_OR_RETURN(const int64_t status, NumberMember(line, "status"));
  const Value* link = line.Find("link");
  if (status != kWorkflowRow || link == nullptr || link->if_int64() == nullptr) {
    return absl::OkStatus();
  }
  TIFFIN_ASSIGN_OR_RETURN(const int64_t row, NumberMember(line, "key"));
  reading->links[row] = *link->if_int64();
  return absl::OkStatus();
}

absl::Status ReadLine(std::string_view text, std::vector<Reading>* readings) {
  TIFFIN_ASSIGN_OR_RETURN(const Value value, ParseJson(text));
  const Object* line = value.if_object();
  if (line == nullptr) return absl::InvalidArgumentError("no object");
  TIFFIN_ASSIGN_OR_RETURN(std::string name, TextMember(*line, "workflow"));
  TIFFIN_ASSIGN_OR_RETURN(const std::string event, TextMember(*line, "event"));
  auto reading = std::find_if(readings->begin(), readings->end(),
                              [&](const Reading& r) { return r.workflow.name == name; });
  if (reading == readings->end()) {
    reading = readings->insert(reading, Reading{.workflow = {std::move(name), {}}, .links = {}});
  }
  ReplayStep step;
  TIFFIN_ASSIGN_OR_RETURN(step.seq, NumberMember(*line, "seq"));
  if (event == "row") return ReadRow(*line, &*reading);
  if (event == "raised") return absl::OkStatus();
  if (event == "store") {
    step.kind = ReplayStep::Kind::kStoreValue;
  } else if (event != "submit") {
    return absl::InvalidArgumentError(StrCat("event '", event, "'"));
  }
  return ReadStep(*line, std::move(step), &*reading);
}

// Puts each link directly after both its workflow result was stored and its target submitted.
RecordedWorkflow PlaceLinks(Reading reading) {
  RecordedWorkflow placed{std::move(reading.workflow.name), {}};
  std::set<int64_t> submitted;
  std::set<int64_t> unfolding;
  for (ReplayStep& step : reading.workflow.steps) {
    const int64_t seq = step.seq;
    if (step.kind == ReplayStep::Kind::kSubmit) submitted.insert(step.row);
    if (step.kind == ReplayStep::Kind::kStoreValue && IsWorkflow(step.record)) {
      unfolding.insert(step.row);
    }
    placed.steps.push_back(std::move(step));
    for (auto row = unfolding.begin(); row != unfolding.end();) {
      const auto link = reading.links.find(*row);
      if (link == reading.links.end() || !submitted.contains(link->second)) {
        ++row;
        continue;
      }
      ReplayStep linking;
      linking.kind = ReplayStep::Kind::kLink;
      linking.seq = seq;
      linking.row = link->first;
      linking.target = link->second;
      placed.steps.push_back(std::move(linking));
      row = unfolding.erase(row);
    }
  }
  return placed;
}

}  // namespace

std::string_view AnswerText(Answer answer) {
  switch (answer) {
    case Answer::kGranted:
      return "GRANTED";
    case Answer::kAttached:
      return "ATTACHED";
    default:
      return "RETRIEVED";
  }
}

absl::StatusOr<std::vector<RecordedWorkflow>> ParseRecording(std::string_view text) {
  std::vector<Reading> readings;
  size_t number = 1;
  for (size_t start = 0; start < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', start), text.size());
    const std::string_view line = text.substr(start, end - start);
    start = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    TIFFIN_RETURN_IF_ERROR(Annotate(ReadLine(line, &readings), StrCat("line ", number)));
  }
  std::vector<RecordedWorkflow> workflows;
  for (Reading& reading : readings) workflows.push_back(PlaceLinks(std::move(reading)));
  return workflows;
}

WorkflowOutcome::WorkflowOutcome(const RecordedWorkflow& workflow) {
  std::map<int64_t, std::string> provs;
  for (const ReplayStep& step : workflow.steps) {
    if (step.kind == ReplayStep::Kind::kSubmit) provs[step.row] = step.prov;
    Job& job = jobs_[provs[step.row]];
    if (step.kind == ReplayStep::Kind::kStoreValue) {
      job.stored = &step.record;
    } else if (step.kind == ReplayStep::Kind::kStoreError) {
      job.failed = true;
    } else if (step.kind == ReplayStep::Kind::kLink) {
      job.linked = true;
      job.target = provs[step.target];
    }
  }
}

const Value* WorkflowOutcome::FinalValue(const std::string& prov) const {
  std::set<std::string> seen;  // a recording that links in a loop has no value
  std::string at = prov;
  for (auto job = jobs_.find(at); job != jobs_.end() && seen.insert(at).second;
       job = jobs_.find(at)) {
    if (!job->second.linked) {
      const Value* stored = job->second.stored;
      return stored == nullptr || IsWorkflow(*stored) ? nullptr : stored;
    }
    at = job->second.target;
  }
  return nullptr;
}

std::string WorkflowOutcome::MissingReason(const std::string& prov) const {
  if (FinalValue(prov) != nullptr) return "";
  const auto job = jobs_.find(prov);
  if (job == jobs_.end() || (job->second.stored == nullptr && !job->second.failed)) {
    return "it never got a result";
  }
  if (job->second.failed) return "it failed, and a failure is never a hit";
  if (job->second.linked) return "the job it was linked to never got a value";
  return "its workflow result was never linked to a final job";
}

std::vector<Expectation> ExpectFirstPass(const RecordedWorkflow& workflow) {
  std::vector<Expectation> expected;
  for (const ReplayStep& step : workflow.steps) {
    if (step.kind == ReplayStep::Kind::kSubmit) expected.push_back({step.answer, ""});
  }
  return expected;
}

std::vector<Expectation> ExpectRerun(const RecordedWorkflow& workflow) {
  const WorkflowOutcome outcome(workflow);
  std::vector<Expectation> expected;
  std::map<int64_t, std::string> provs;
  std::set<std::string> held;
  for (const ReplayStep& step : workflow.steps) {
    if (step.kind == ReplayStep::Kind::kStoreError) held.erase(provs[step.row]);
    if (step.kind != ReplayStep::Kind::kSubmit) continue;
    provs[step.row] = step.prov;
    if (outcome.FinalValue(step.prov) != nullptr) {
      expected.push_back({Answer::kRetrieved, ""});
    } else if (held.insert(step.prov).second) {
      expected.push_back({Answer::kGranted, outcome.MissingReason(step.prov)});
    } else {
      expected.push_back({Answer::kAttached, ""});
    }
  }
  return expected;
}

}  // namespace tiffin::cli
