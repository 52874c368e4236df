#include "client/cli/job_output.h"

#include <cctype>
#include <utility>
#include <vector>

#include "client/cli/context.h"
#include "common/base64.h"
#include "common/json.h"
#include "common/status.h"

namespace tiffin::cli {
namespace {

constexpr std::pair<v1::JobState, const char*> kStates[] = {
    {v1::JOB_ABSENT, "absent"}, {v1::JOB_LEASED, "leased"}, {v1::JOB_UNFOLDING, "unfolding"},
    {v1::JOB_LINKED, "linked"}, {v1::JOB_DONE, "done"},     {v1::JOB_FAILED, "failed"}};

absl::Time TimeOf(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds());
}

std::string SecondsText(const google::protobuf::Duration& duration) {
  const absl::Duration time =
      absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
  return time == absl::ZeroDuration() ? "" : absl::FormatDuration(time);
}

std::string RemovalText(v1::Tombstone tombstone) {
  switch (tombstone) {
    case v1::TOMBSTONE_INVALIDATED:
      return "invalidated";
    case v1::TOMBSTONE_EVICTED:
      return "evicted";
    case v1::TOMBSTONE_DAMAGED:
      return "damaged";
    default:
      return "";
  }
}

// `alice on host-3`, as far as it is known.
std::string Who(const std::string& user, const std::string& host, const std::string& session) {
  if (user.empty() && host.empty()) return session;
  return StrCat(user, user.empty() || host.empty() ? "" : " on ", host);
}

// `2: ana on node7, bob on node2`
std::string WaitersText(const v1::JobInfo& job) {
  std::string text = std::to_string(job.waiting());
  for (const v1::JobInfo::Waiter& waiter : job.waiters()) {
    const v1::Session& session = waiter.session();
    StrAppend(&text, text.find(':') == std::string::npos ? ": " : ", ",
              Who(session.user(), session.host(), session.id()));
  }
  if (job.waiters_size() > 0 && job.waiting() > static_cast<uint32_t>(job.waiters_size())) {
    StrAppend(&text, ", …");
  }
  return text;
}

Value RecordValue(const v1::Record& record) {
  absl::StatusOr<Value> value = ParseJson(record.json());
  return value.ok() ? *std::move(value) : Value(record.json());
}

void PrintRelated(const google::protobuf::RepeatedPtrField<v1::JobInfo::Related>& jobs,
                  const char* title, std::ostream& out) {
  if (jobs.empty()) return;
  Table table({title, "function", "by"});
  for (const v1::JobInfo::Related& job : jobs) {
    table.Add({KeyText(job.key()), job.function(),
               job.has_blob() ? StrCat("blob ", KeyText(job.blob().key())) : "link"});
  }
  out << '\n';
  table.Print(out);
}

}  // namespace

std::string KeyText(std::string_view bytes) { return Base64UrlEncode(bytes); }

std::string StateText(v1::JobState state) {
  for (const auto& [each, text] : kStates) {
    if (each == state) return text;
  }
  return "unknown";
}

absl::StatusOr<v1::JobState> ParseState(std::string_view text) {
  std::string all;
  for (const auto& [state, name] : kStates) {
    if (text == name) return state;
    StrAppend(&all, all.empty() ? "" : ", ", name);
  }
  return WrongUse(StrCat("state: one of ", all));
}

Object JobObject(const v1::JobInfo& job) {
  Object object = MessageObject(job);
  object.Set("state", StateText(job.state()));
  if (job.tombstone() != v1::TOMBSTONE_UNSPECIFIED) {
    object.Set("tombstone", RemovalText(job.tombstone()));
  } else {
    object.Erase("tombstone");
  }
  if (job.has_record()) object.Set("record", RecordValue(job.record()));
  if (job.has_result() && job.result().has_record()) {
    object.Find("result")->if_object()->Set("record", RecordValue(job.result().record()));
  }
  return object;
}

void PrintJob(const v1::JobInfo& job, std::ostream& out) {
  std::vector<std::pair<std::string, std::string>> fields{
      {"key", KeyText(job.key())},
      {"function", job.function()},
      {"version", job.version()},
      {"state", StateText(job.state())},
      {"submitted", TimeText(TimeOf(job.created()))},
      {"by", Who(job.submitter().user(), job.submitter().host(), job.submitter().id())},
      {"script", job.submitter().script()}};
  const auto add = [&](const char* name, std::string value) {
    fields.emplace_back(name, std::move(value));
  };
  if (job.has_holder()) {
    add("computed by", Who(job.holder().user(), job.holder().host(), job.holder().session()));
    add("since", TimeText(TimeOf(job.holder().since())));
  }
  if (job.waiting() > 0) add("waiting", WaitersText(job));
  if (!job.linked_to().empty()) add("linked to", KeyText(job.linked_to()));
  if (job.has_result()) {
    add("stored", TimeText(TimeOf(job.result().stored())));
    add("on", job.result().host());
    add("took", SecondsText(job.result().compute_time()));
    add("digest", KeyText(job.result().digest()));
    add("result", job.result().has_record() ? Short(RecordValue(job.result().record()), 500)
                                            : "too large to be shown here: tiffin get");
    const bool failed = job.result().kind() == v1::RESULT_KIND_ERROR;
    if (failed) add("a retry", job.result().retryable() ? "can help" : "cannot help");
    if (job.result().exit_status() != 0)
      add("exit status", std::to_string(job.result().exit_status()));
    if (!job.result().log().empty()) add("log", Short(Value(job.result().log()), 500));
  }
  if (job.hits() > 0) {
    add("hits", StrCat("about ", job.hits(), ", last ", TimeText(TimeOf(job.last_hit()))));
  }
  if (job.has_removed()) {
    add(RemovalText(job.tombstone()).c_str(), TimeText(TimeOf(job.removed())));
  }
  if (job.used_size() > 0) add("blobs used", std::to_string(job.used_size()));
  if (job.made_size() > 0) add("blobs made", std::to_string(job.made_size()));
  add("job", Short(RecordValue(job.record()), 500));
  std::erase_if(fields, [](const auto& field) { return field.second.empty(); });
  PrintFields(fields, out);
  if (job.evidence_size() > 0) {
    Table table({"other result", "from", "at"});
    for (const v1::JobInfo::Evidence& each : job.evidence()) {
      table.Add({KeyText(each.digest()),
                 Who(each.session().user(), each.session().host(), each.session().id()),
                 TimeText(TimeOf(each.at()))});
    }
    out << '\n';
    table.Print(out);
  }
  PrintRelated(job.inputs(), "input", out);
  PrintRelated(job.outputs(), "output", out);
}

Table JobTable() {
  return Table({"key", "state", "function", "version", "submitted", "by", "took", "hits"});
}

void AddJob(const v1::JobInfo& job, Table* table) {
  const std::string removal = RemovalText(job.tombstone());
  table->Add({KeyText(job.key()),
              removal.empty() || job.state() != v1::JOB_ABSENT ? StateText(job.state()) : removal,
              job.function(), job.version(), TimeText(TimeOf(job.created())),
              Who(job.submitter().user(), job.submitter().host(), job.submitter().id()),
              SecondsText(job.result().compute_time()), std::to_string(job.hits())});
}

Table LeaseTable() {
  return Table({"key", "function", "held by", "session", "since", "epoch", "waiting"});
}

void AddLease(const v1::JobInfo& job, Table* table) {
  table->Add({KeyText(job.key()), job.function(), Who(job.holder().user(), job.holder().host(), ""),
              job.holder().session(), TimeText(TimeOf(job.holder().since())),
              std::to_string(job.holder().epoch()), WaitersText(job)});
}

}  // namespace tiffin::cli
