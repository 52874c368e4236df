// tiffin ls, show, explain, invalidate, leases: what the server remembers of jobs.
#include <functional>
#include <memory>
#include <utility>

#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "client/cli/commands.h"
#include "client/cli/input.h"
#include "client/cli/job_output.h"
#include "client/cli/output.h"
#include "common/json.h"
#include "common/status.h"

namespace tiffin::cli {
namespace {

// Calls a method of the connection, again while the server is away.
template <typename Request, typename Response>
absl::StatusOr<Response> Call(absl::StatusOr<Response> (Connection::*method)(const Request&),
                              Request request, Context& context) {
  *request.mutable_caller() = context.caller();
  Response response;
  TIFFIN_RETURN_IF_ERROR(context.Persist([&]() -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(response, ((*context.connection()).*method)(request));
    return absl::OkStatus();
  }));
  return response;
}

// ---- Which jobs -------------------------------------------------------------------------------

struct FilterOptions {
  std::string function, session, host;
  std::optional<std::string> version;
  std::vector<std::string> states;
  std::optional<absl::Duration> older, newer, stored_older;
  bool nondeterministic = false;
};

void AddFilterOptions(CLI::App* command, FilterOptions* filter) {
  command->add_option("--function", filter->function, "Of this function (its readable name)");
  command->add_option("--version-is", filter->version, "Of this version");
  command->add_option("--session", filter->session, "First submitted by this session");
  command->add_option("--host", filter->host, "First submitted from this host");
  AddDurationOption(command, "--older", &filter->older, "First submitted longer ago");
  AddDurationOption(command, "--stored-older", &filter->stored_older,
                    "Their results stored longer ago");
}

void SetTime(absl::Time time, google::protobuf::Timestamp* out) {
  out->set_seconds(absl::ToUnixSeconds(time));
}

absl::StatusOr<v1::JobFilter> MakeFilter(const FilterOptions& options) {
  v1::JobFilter filter;
  filter.set_function(options.function);
  if (options.version) filter.set_version(*options.version);
  filter.set_session(options.session);
  filter.set_host(options.host);
  for (const std::string& text : options.states) {
    TIFFIN_ASSIGN_OR_RETURN(const v1::JobState state, ParseState(text));
    filter.add_states(state);
  }
  if (options.older) SetTime(absl::Now() - *options.older, filter.mutable_created_before());
  if (options.newer) SetTime(absl::Now() - *options.newer, filter.mutable_created_after());
  if (options.stored_older)
    SetTime(absl::Now() - *options.stored_older, filter.mutable_stored_before());
  filter.set_nondeterministic(options.nondeterministic);
  return filter;
}

// Calls back for each job, over all pages, until `limit`.
absl::Status ForEachJob(v1::ListJobsRequest request, size_t limit, Context& context,
                        const std::function<void(const v1::JobInfo&)>& visit) {
  while (limit > 0) {
    request.set_page_size(static_cast<uint32_t>(std::min<size_t>(limit, 1000)));
    TIFFIN_ASSIGN_OR_RETURN(const v1::ListJobsResponse page,
                            Call(&Connection::ListJobs, request, context));
    for (const v1::JobInfo& job : page.jobs()) {
      visit(job);
      --limit;
    }
    if (page.next_page_token().empty()) break;
    request.set_page_token(page.next_page_token());
  }
  return absl::OkStatus();
}

// ---- ls, leases -------------------------------------------------------------------------------

struct ListCommand {
  FilterOptions filter;
  bool newest = false;
  size_t limit = 1000;
};

absl::StatusOr<int> RunList(const ListCommand& command, Context& context) {
  v1::ListJobsRequest request;
  TIFFIN_ASSIGN_OR_RETURN(*request.mutable_filter(), MakeFilter(command.filter));
  request.set_newest_first(command.newest);
  Table table = JobTable();
  TIFFIN_RETURN_IF_ERROR(ForEachJob(request, command.limit, context, [&](const v1::JobInfo& job) {
    if (context.globals.json) {
      PrintLine(JobObject(job), context.out());
    } else {
      AddJob(job, &table);
    }
  }));
  if (!table.empty()) table.Print(context.out());
  return kDone;
}

absl::StatusOr<int> RunLeases(Context& context) {
  v1::ListJobsRequest request;
  request.mutable_filter()->set_leased(true);
  Table table = LeaseTable();
  TIFFIN_RETURN_IF_ERROR(ForEachJob(request, SIZE_MAX, context, [&](const v1::JobInfo& job) {
    if (context.globals.json) {
      PrintLine(JobObject(job), context.out());
    } else {
      AddLease(job, &table);
    }
  }));
  if (!table.empty()) table.Print(context.out());
  return kDone;
}

struct ReleaseCommand {
  std::vector<std::string> keys;
  bool force = false;
};

absl::StatusOr<int> RunRelease(const ReleaseCommand& command, Context& context) {
  if (!command.force) {
    return WrongUse("leases release: somebody may be computing; --force if not");
  }
  v1::ReleaseRequest request;
  for (const std::string& text : command.keys) {
    TIFFIN_ASSIGN_OR_RETURN(const Digest key, ParseKey(text));
    request.add_keys(std::string(key.view()));
  }
  TIFFIN_ASSIGN_OR_RETURN(const v1::ReleaseResponse response,
                          Call(&Connection::Release, request, context));
  if (context.globals.json) {
    PrintLine(MessageObject(response), context.out());
  } else {
    context.out() << "released " << response.released() << '\n';
  }
  return response.released() > 0 ? kDone : kMiss;
}

// ---- show -------------------------------------------------------------------------------------

struct ShowCommand {
  std::string key;
  bool inputs = false, outputs = false;
};

absl::StatusOr<int> RunShow(const ShowCommand& command, Context& context) {
  v1::GetJobRequest request;
  TIFFIN_ASSIGN_OR_RETURN(const Digest key, ParseKey(command.key));
  request.mutable_job()->set_key(std::string(key.view()));
  request.set_inputs(command.inputs);
  request.set_outputs(command.outputs);
  TIFFIN_ASSIGN_OR_RETURN(const v1::GetJobResponse response,
                          Call(&Connection::GetJob, request, context));
  if (context.globals.json) {
    PrintLine(JobObject(response.job()), context.out());
  } else {
    PrintJob(response.job(), context.out());
  }
  return kDone;
}

// ---- explain ----------------------------------------------------------------------------------

struct ExplainCommand {
  std::string job, key;
  uint32_t neighbours = 5;
};

std::string CauseText(v1::MissCause cause) {
  std::string text = v1::MissCause_Name(cause).substr(std::string_view("MISS_").size());
  for (char& c : text) c = c == '_' ? ' ' : static_cast<char>(std::tolower(c));
  return cause == v1::MISS_NONE ? "stored" : text;
}

absl::StatusOr<int> RunExplain(const ExplainCommand& command, Context& context) {
  if (command.job.empty() == command.key.empty()) {
    return WrongUse("explain: give a job's record, or --key KEY");
  }
  v1::ExplainRequest request;
  request.set_neighbours(command.neighbours);
  if (command.key.empty()) {
    TIFFIN_ASSIGN_OR_RETURN(const Value job, ReadValue(command.job, context.in()));
    request.mutable_job()->set_json(PrintJson(job));
  } else {
    TIFFIN_ASSIGN_OR_RETURN(const Digest key, ParseKey(command.key));
    request.set_key(std::string(key.view()));
  }
  TIFFIN_ASSIGN_OR_RETURN(const v1::ExplainResponse why,
                          Call(&Connection::Explain, request, context));
  if (context.globals.json) {
    Object object = MessageObject(why);
    object.Set("cause", CauseText(why.cause()));
    PrintLine(object, context.out());
    return kDone;
  }
  context.out() << KeyText(why.key()) << "  " << CauseText(why.cause()) << ": " << why.text()
                << '\n';
  Table table({"nearest", "state", "version", "differs in"});
  for (const v1::ExplainResponse::Neighbour& each : why.neighbours()) {
    table.Add({KeyText(each.key()), StateText(each.state()), each.version(),
               absl::StrJoin(each.paths(), ", ")});
  }
  if (!table.empty()) table.Print(context.out());
  return kDone;
}

// ---- invalidate -------------------------------------------------------------------------------

struct InvalidateCommand {
  std::vector<std::string> keys;
  FilterOptions filter;
  bool cascade = false, dry_run = false;
};

absl::StatusOr<int> RunInvalidate(const InvalidateCommand& command, Context& context) {
  v1::InvalidateRequest request;
  for (const std::string& text : command.keys) {
    TIFFIN_ASSIGN_OR_RETURN(const Digest key, ParseKey(text));
    request.add_keys(std::string(key.view()));
  }
  TIFFIN_ASSIGN_OR_RETURN(*request.mutable_filter(), MakeFilter(command.filter));
  if (command.keys.empty() && request.filter().ByteSizeLong() == 0) {
    return WrongUse("invalidate: give keys, or say which jobs");
  }
  request.set_cascade(command.cascade);
  request.set_dry_run(command.dry_run);
  // Once: a second try could take back what was computed anew after a first, whose answer was lost.
  *request.mutable_caller() = context.caller();
  TIFFIN_ASSIGN_OR_RETURN(const v1::InvalidateResponse done,
                          context.connection()->Invalidate(request));
  for (const std::string& key : done.keys()) {
    if (context.globals.json) {
      PrintLine({{"key", KeyText(key)}, {"dry_run", command.dry_run}}, context.out());
    } else {
      context.out() << KeyText(key) << '\n';
    }
  }
  if (!context.globals.json) {
    context.out() << (command.dry_run ? "would invalidate " : "invalidated ") << done.invalidated()
                  << (done.invalidated() == 1 ? " job\n" : " jobs\n");
  }
  return done.invalidated() > 0 ? kDone : kMiss;
}

template <typename Options>
void Choose(CLI::App* command, Command* chosen, std::shared_ptr<Options> options,
            absl::StatusOr<int> (*run)(const Options&, Context&)) {
  command->callback([=] { *chosen = [=](Context& context) { return run(*options, context); }; });
}

void AddLeases(CLI::App* app, Command* chosen) {
  CLI::App* leases = app->add_subcommand("leases", "Who computes what, since when, who waits");
  auto release = std::make_shared<ReleaseCommand>();
  leases->callback([=] {
    if (leases->get_subcommands().empty()) *chosen = RunLeases;
  });
  CLI::App* command = leases->add_subcommand("release", "Ends leases, whoever holds them");
  command->add_option("KEY", release->keys, "Keys of the jobs")->required();
  command->add_flag("--force", release->force, "Although somebody may be computing");
  Choose(command, chosen, release, RunRelease);
}

}  // namespace

void AddHistoryCommands(CLI::App* app, Command* chosen) {
  CLI::App* ls = app->add_subcommand("ls", "Lists jobs");
  auto list = std::make_shared<ListCommand>();
  AddFilterOptions(ls, &list->filter);
  AddDurationOption(ls, "--newer", &list->filter.newer, "First submitted less long ago");
  ls->add_option("--state", list->filter.states,
                 "absent, leased, unfolding, linked, done, failed; may be repeated");
  ls->add_flag("--nondeterministic", list->filter.nondeterministic, "Of which results differed");
  ls->add_flag("--newest", list->newest, "The newest first");
  ls->add_option("--limit", list->limit, "At most so many")->capture_default_str();
  Choose(ls, chosen, list, RunList);

  CLI::App* show = app->add_subcommand("show", "Shows a job: who, when, from what");
  auto shown = std::make_shared<ShowCommand>();
  show->add_option("KEY", shown->key, "The job's key")->required();
  show->add_flag("--inputs", shown->inputs, "Jobs that made what it used");
  show->add_flag("--outputs", shown->outputs, "Jobs that use what it made");
  Choose(show, chosen, shown, RunShow);

  CLI::App* explain = app->add_subcommand("explain", "Tells why a job is not in the store");
  auto why = std::make_shared<ExplainCommand>();
  explain->add_option("JOB", why->job, "The job's record: a file, -, or JSON");
  explain->add_option("--key", why->key, "The key of a job that was submitted once");
  explain->add_option("--neighbours", why->neighbours, "At most so many near jobs")
      ->capture_default_str();
  Choose(explain, chosen, why, RunExplain);

  CLI::App* invalidate = app->add_subcommand("invalidate", "Takes results back");
  auto selection = std::make_shared<InvalidateCommand>();
  invalidate->add_option("KEY", selection->keys, "Keys of jobs");
  AddFilterOptions(invalidate, &selection->filter);
  invalidate->add_flag("--cascade", selection->cascade, "And all that was computed from them");
  invalidate->add_flag("--dry-run", selection->dry_run, "Only tell which");
  Choose(invalidate, chosen, selection, RunInvalidate);

  AddLeases(app, chosen);
}

}  // namespace tiffin::cli
