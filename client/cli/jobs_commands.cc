// tiffin submit, store, get, await: the calls of a job's life.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <span>
#include <utility>

#include "absl/time/clock.h"
#include "client/cli/commands.h"
#include "client/cli/input.h"
#include "client/cli/output.h"
#include "common/base64.h"
#include "common/json.h"
#include "common/status.h"

namespace tiffin::cli {
namespace {

constexpr size_t kBatch = 1000;

// ---- submit -----------------------------------------------------------------------------------

struct SubmitCommand {
  std::vector<std::string> files;
  bool compute = false;
  Bulk bulk = Bulk::kRefs;
  std::optional<absl::Duration> term, answer_failures;
};

std::string_view OutcomeText(Submitted::Outcome outcome) {
  switch (outcome) {
    case Submitted::Outcome::kRetrieved:
      return "RETRIEVED";
    case Submitted::Outcome::kGranted:
      return "GRANTED";
    case Submitted::Outcome::kAttached:
      return "ATTACHED";
    case Submitted::Outcome::kFailed:
      return "FAILED";
    default:
      return "OPEN";
  }
}

Object LeaseObject(const Lease& lease) {
  return {{"id", Base64UrlEncode(lease.id)},
          {"epoch", lease.epoch},
          {"term", absl::ToDoubleSeconds(lease.term)}};
}

Object HolderObject(const Holder& holder) {
  return {{"session", holder.session}, {"name", holder.name},   {"user", holder.user},
          {"host", holder.host},       {"epoch", holder.epoch}, {"since", TimeText(holder.since)}};
}

Object SubmittedObject(size_t index, const Submitted& answer) {
  Object object{{"index", uint64_t{index}},
                {"key", answer.key.ToText()},
                {"outcome", OutcomeText(answer.outcome)}};
  if (answer.result.has_value()) object.Set("result", ResultObject(*answer.result));
  if (answer.lease.has_value()) object.Set("lease", LeaseObject(*answer.lease));
  if (answer.holder.has_value()) object.Set("holder", HolderObject(*answer.holder));
  if (answer.workflow.has_value()) object.Set("workflow", ResultObject(*answer.workflow));
  List missing;
  for (const BlobName& name : answer.missing_blobs) missing.emplace_back(BlobObject(name));
  for (const Digest& value : answer.missing_values) {
    missing.emplace_back(Object{{"value", value.ToText()}});
  }
  if (!missing.empty()) object.Set("missing", std::move(missing));
  return object;
}

// What a person wants to know beyond outcome and key.
std::string SubmittedDetail(const Submitted& answer, size_t width) {
  if (answer.result.has_value()) return Short(answer.result->value, width);
  if (answer.lease.has_value()) {
    return StrCat("lease ", Base64UrlEncode(answer.lease->id), " epoch ", answer.lease->epoch);
  }
  if (answer.holder.has_value()) {
    const Holder& holder = *answer.holder;
    return StrCat("by ", holder.name.empty() ? holder.session : holder.name, " of ", holder.user,
                  " on ", holder.host, " since ", TimeText(holder.since));
  }
  return "";
}

// Prints the answers of a whole `submit` and remembers what its exit code must be.
class SubmitPrinter {
 public:
  SubmitPrinter(Context* context, bool compute, bool single)
      : context_(context), compute_(compute), single_(single) {}

  void Add(const absl::StatusOr<Submitted>& answer) {
    const size_t index = index_++;
    if (!answer.ok()) {
      context_->err() << ErrorLine(Annotate(answer.status(), StrCat("job ", index + 1))) << '\n';
      code_ = std::max(code_, ExitCodeOf(answer.status()));
      if (context_->globals.json) {
        PrintLine({{"index", uint64_t{index}},
                   {"error", std::string(answer.status().message())},
                   {"code", absl::StatusCodeToString(answer.status().code())}},
                  context_->out());
      }
      return;
    }
    if (answer->outcome == Submitted::Outcome::kFailed) {
      code_ = std::max<int>(code_, kRefused);
    } else if (answer->outcome != Submitted::Outcome::kRetrieved && !compute_) {
      code_ = std::max<int>(code_, kMiss);
    }
    if (context_->globals.json) {
      PrintLine(SubmittedObject(index, *answer), context_->out());
    } else if (single_) {
      context_->out() << OutcomeText(answer->outcome) << "  " << answer->key.ToText() << '\n';
      const std::string detail = answer->result.has_value() ? PrintJson(answer->result->value)
                                                            : SubmittedDetail(*answer, 100);
      if (!detail.empty()) context_->out() << detail << '\n';
    } else {
      table_.Add({std::string(OutcomeText(answer->outcome)), answer->key.ToText(),
                  SubmittedDetail(*answer, 60)});
    }
  }

  int Finish() {
    if (!table_.empty()) table_.Print(context_->out());
    return code_;
  }

 private:
  Context* context_;
  bool compute_;
  bool single_;
  size_t index_ = 0;
  int code_ = kDone;
  Table table_{{"outcome", "key", "detail"}};
};

// Results over the budget of one reply are fetched alone.
absl::Status BringResult(Client& client, Bulk bulk, Submitted* answer) {
  if (answer->result.has_value()) return absl::OkStatus();
  if (answer->outcome == Submitted::Outcome::kRetrieved) {
    TIFFIN_ASSIGN_OR_RETURN(answer->result, client.Get(answer->key, bulk));
  } else if (answer->outcome == Submitted::Outcome::kFailed) {
    // Somebody may try again meanwhile.
    TIFFIN_ASSIGN_OR_RETURN(
        Awaited awaited, client.Await(answer->key, {.bulk = bulk,
                                                    .after_epoch = 1,
                                                    .deadline = absl::Now() + absl::Seconds(10)}));
    if (awaited.event == Awaited::Event::kResult) answer->outcome = Submitted::Outcome::kRetrieved;
    answer->result = std::move(awaited.result);
  }
  return absl::OkStatus();
}

absl::StatusOr<int> RunSubmit(const SubmitCommand& options, Context& context) {
  TIFFIN_ASSIGN_OR_RETURN(const std::vector<Value> jobs, ReadValues(options.files, context.in()));
  ClientOptions client_options;
  if (options.term.has_value()) client_options.lease_term = *options.term;
  Client client = context.MakeClient(client_options);
  SubmitOptions submit_options;
  submit_options.can_compute = options.compute;
  submit_options.bulk = options.bulk;
  submit_options.answer_failures = options.answer_failures.value_or(absl::ZeroDuration());
  SubmitPrinter printer(&context, options.compute, jobs.size() == 1);
  for (size_t start = 0; start < jobs.size(); start += kBatch) {
    const auto batch = std::span(jobs).subspan(start, std::min(kBatch, jobs.size() - start));
    TIFFIN_ASSIGN_OR_RETURN(std::vector<absl::StatusOr<Submitted>> answers,
                            client.SubmitBatch(batch, submit_options));
    for (absl::StatusOr<Submitted>& answer : answers) {
      if (answer.ok()) {
        if (const absl::Status status = BringResult(client, options.bulk, &*answer); !status.ok())
          answer = status;
      }
      printer.Add(answer);
    }
  }
  return printer.Finish();
}

// ---- store ------------------------------------------------------------------------------------

struct StoreCommand {
  std::string result = "-";
  std::string job, key, lease;
  int64_t epoch = 0;
  bool error = false;
  bool no_retry = false;
  std::optional<absl::Duration> compute_time;
  int exit_status = 0;
  std::string log;
};

absl::StatusOr<StoreOptions> MakeStoreOptions(const StoreCommand& command, Context& context) {
  StoreOptions options;
  options.compute_time = command.compute_time.value_or(absl::ZeroDuration());
  options.exit_status = command.exit_status;
  options.retryable = !command.no_retry;
  if (!command.log.empty()) {
    TIFFIN_ASSIGN_OR_RETURN(options.log, ReadInput(command.log, context.in()));
  }
  return options;
}

absl::StatusOr<Stored> Store(const StoreCommand& command, Client& client, Context& context) {
  TIFFIN_ASSIGN_OR_RETURN(const StoreOptions options, MakeStoreOptions(command, context));
  std::optional<Value> job;
  if (!command.job.empty()) {
    TIFFIN_ASSIGN_OR_RETURN(job, ReadValue(command.job, context.in()));
  }
  TIFFIN_ASSIGN_OR_RETURN(const Value result, ReadValue(command.result, context.in()));
  if (command.lease.empty() && job.has_value()) return client.StoreJob(*job, result, options);
  Digest key;
  if (job.has_value()) {
    TIFFIN_ASSIGN_OR_RETURN(key, client.KeyOf(*job));
  } else {
    TIFFIN_ASSIGN_OR_RETURN(key, ParseKey(command.key));
  }
  if (command.lease.empty()) return client.Store(key, std::nullopt, result, options);
  Lease lease;
  lease.epoch = command.epoch;
  TIFFIN_ASSIGN_OR_RETURN(lease.id, ParseBytes(command.lease));
  if (command.error) return client.StoreFailure(key, lease, result, options);
  return client.Store(key, lease, result, options);
}

absl::StatusOr<int> RunStore(const StoreCommand& command, Context& context) {
  if (command.job.empty() == command.key.empty()) return WrongUse("store: give --job or --key");
  if (command.lease.empty() != (command.epoch == 0)) {
    return WrongUse("store: --lease and --epoch go together");
  }
  if (command.error && command.lease.empty()) {
    return WrongUse("store: --error needs the lease: --lease and --epoch");
  }
  if (command.job == "-" && command.result == "-") {
    return WrongUse("store: job and result cannot both be on standard input");
  }
  Client client = context.MakeClient();
  TIFFIN_ASSIGN_OR_RETURN(const Stored stored, Store(command, client, context));
  if (context.globals.json) {
    List blobs;
    for (const BlobName& name : stored.blobs) blobs.emplace_back(BlobObject(name));
    PrintLine({{"key", stored.key.ToText()},
               {"digest", stored.digest.ToText()},
               {"repeated", stored.repeated},
               {"blobs", std::move(blobs)}},
              context.out());
  } else {
    context.out() << (stored.repeated ? "already stored  " : "stored  ") << stored.key.ToText()
                  << '\n';
    for (const BlobName& name : stored.blobs) context.out() << "blob    " << name.ToText() << '\n';
  }
  return kDone;
}

// ---- get --------------------------------------------------------------------------------------

struct GetCommand {
  std::string key;
  std::vector<std::string> alias;
  Bulk bulk = Bulk::kRefs;
  std::string output;
};

absl::Status WriteText(const std::string& path, const std::string& text, std::ostream& out) {
  if (path.empty() || path == "-") {
    out << text << std::flush;
    return out ? absl::OkStatus() : absl::UnknownError("cannot write to standard output");
  }
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text << std::flush;
  if (!file) return absl::UnknownError(StrCat("cannot write ", path, ": ", std::strerror(errno)));
  return absl::OkStatus();
}

absl::StatusOr<int> RunGet(const GetCommand& command, Context& context) {
  if (command.key.empty() == command.alias.empty()) {
    return WrongUse("get: give a key, or --alias PROFILE NAME");
  }
  Client client = context.MakeClient();
  StoredResult result;
  if (command.alias.empty()) {
    TIFFIN_ASSIGN_OR_RETURN(const Digest key, ParseKey(command.key));
    TIFFIN_ASSIGN_OR_RETURN(result, client.Get(key, command.bulk));
  } else {
    TIFFIN_ASSIGN_OR_RETURN(result,
                            client.GetByAlias(command.alias[0], command.alias[1], command.bulk));
  }
  const Value shown = context.globals.json ? Value(ResultObject(result)) : result.value;
  TIFFIN_RETURN_IF_ERROR(WriteText(command.output, PrintJson(shown) + "\n", context.out()));
  return kDone;
}

// ---- await ------------------------------------------------------------------------------------

struct AwaitCommand {
  std::vector<std::string> keys;
  bool compute = false;
  int64_t after_epoch = 0;
  Bulk bulk = Bulk::kRefs;
  std::optional<absl::Duration> term, timeout;
};

std::string_view EventText(Awaited::Event event) {
  switch (event) {
    case Awaited::Event::kFailed:
      return "FAILED";
    case Awaited::Event::kGranted:
      return "GRANTED";
    default:
      return "RESULT";
  }
}

void PrintAwaited(const Awaited& awaited, Context& context) {
  if (context.globals.json) {
    Object object{{"key", awaited.key.ToText()}, {"event", EventText(awaited.event)}};
    if (awaited.result.has_value()) object.Set("result", ResultObject(*awaited.result));
    if (awaited.lease.has_value()) object.Set("lease", LeaseObject(*awaited.lease));
    if (awaited.workflow.has_value()) object.Set("workflow", ResultObject(*awaited.workflow));
    PrintLine(object, context.out());
    return;
  }
  std::string detail;
  if (awaited.lease.has_value()) {
    detail = StrCat("lease ", Base64UrlEncode(awaited.lease->id), " epoch ", awaited.lease->epoch);
  } else if (awaited.result.has_value()) {
    detail = Short(awaited.result->value, 100);
  }
  std::string event(EventText(awaited.event));
  event.resize(7, ' ');
  context.out() << event << "  " << awaited.key.ToText() << "  " << detail << std::endl;
}

absl::StatusOr<int> RunAwait(const AwaitCommand& command, Context& context) {
  std::vector<Digest> keys;
  for (const std::string& text : command.keys) {
    TIFFIN_ASSIGN_OR_RETURN(Digest key, ParseKey(text));
    keys.push_back(key);
  }
  ClientOptions client_options;
  if (command.term.has_value()) client_options.lease_term = *command.term;
  Client client = context.MakeClient(client_options, absl::Seconds(60));
  AwaitOptions options;
  options.bulk = command.bulk;
  options.after_epoch = command.after_epoch;
  if (command.compute) options.capacity = static_cast<uint32_t>(keys.size());
  if (command.timeout.has_value()) options.deadline = absl::Now() + *command.timeout;
  int code = kDone;
  const absl::Status status = client.AwaitAll(keys, options, [&](const Awaited& awaited) {
    if (awaited.event == Awaited::Event::kFailed) code = kRefused;
    PrintAwaited(awaited, context);
    return absl::OkStatus();
  });
  if (absl::IsDeadlineExceeded(status) && command.timeout.has_value()) {
    context.err() << ErrorLine(status) << std::endl;
    return std::max<int>(code, kMiss);  // there is no result yet
  }
  if (!status.ok()) return status;
  return code;
}

void AddSubmit(CLI::App* app, Command* chosen) {
  CLI::App* submit = app->add_subcommand("submit", "Asks for the results of jobs");
  auto options = std::make_shared<SubmitCommand>();
  submit->add_option("FILE", options->files, "Job records; - or nothing: standard input");
  submit->add_flag("--compute", options->compute, "Take leases for those that nobody computes");
  AddDurationOption(submit, "--term", &options->term, "How long a lease lasts, 5s to 1h");
  AddDurationOption(submit, "--answer-failures", &options->answer_failures,
                    "Answer FAILED for a job that failed less than this ago");
  AddBulkOption(submit, &options->bulk);
  submit->callback(
      [=] { *chosen = [options](Context& context) { return RunSubmit(*options, context); }; });
}

void AddStore(CLI::App* app, Command* chosen) {
  CLI::App* store = app->add_subcommand("store", "Stores the result of a job");
  auto options = std::make_shared<StoreCommand>();
  store->add_option("RESULT", options->result, "The result's file; - or nothing: standard input");
  store->add_option("--job", options->job, "The job's record: a file, -, or JSON");
  store->add_option("--key", options->key, "The job's key");
  store->add_option("--lease", options->lease, "The lease's id, as submit --compute printed it");
  store->add_option("--epoch", options->epoch, "The lease's epoch");
  store->add_flag("--error", options->error, "The job failed: RESULT is the error");
  store->add_flag("--no-retry", options->no_retry, "With --error: computing it again cannot help");
  AddDurationOption(store, "--compute-time", &options->compute_time, "What computing it took");
  store->add_option("--exit-status", options->exit_status, "Of the program that computed it");
  store->add_option("--log", options->log, "A file with what the computation printed");
  store->callback(
      [=] { *chosen = [options](Context& context) { return RunStore(*options, context); }; });
}

void AddGet(CLI::App* app, Command* chosen) {
  CLI::App* get = app->add_subcommand("get", "Prints the stored result of a job");
  auto options = std::make_shared<GetCommand>();
  get->add_option("KEY", options->key, "The job's key");
  get->add_option("--alias", options->alias, "By alias instead: profile and name")
      ->expected(2)
      ->type_name("PROFILE NAME");
  AddBulkOption(get, &options->bulk);
  get->add_option("-o,--output", options->output, "Write to this file");
  get->callback(
      [=] { *chosen = [options](Context& context) { return RunGet(*options, context); }; });
}

void AddAwait(CLI::App* app, Command* chosen) {
  CLI::App* await = app->add_subcommand("await", "Waits until all these jobs have ended");
  auto options = std::make_shared<AwaitCommand>();
  await->add_option("KEY", options->keys, "Job keys")->required();
  await->add_flag("--compute", options->compute, "Take the lease of those that nobody computes");
  await->add_option("--after-epoch", options->after_epoch,
                    "Tell a failure of this epoch or a later one even if it came before");
  AddDurationOption(await, "--term", &options->term, "How long a lease lasts, 5s to 1h");
  AddDurationOption(await, "--timeout", &options->timeout, "Give up after this time: exit code 1");
  AddBulkOption(await, &options->bulk);
  await->callback(
      [=] { *chosen = [options](Context& context) { return RunAwait(*options, context); }; });
}

}  // namespace

void AddJobsCommands(CLI::App* app, Command* chosen) {
  AddSubmit(app, chosen);
  AddStore(app, chosen);
  AddGet(app, chosen);
  AddAwait(app, chosen);
}

}  // namespace tiffin::cli
