// tiffin run: the result of a job if there is one, else that of a program, computed under a lease.
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/time/clock.h"
#include "client/cli/child_process.h"
#include "client/cli/commands.h"
#include "client/cli/input.h"
#include "client/cli/npy_file.h"
#include "client/cli/output.h"
#include "client/spool.h"
#include "common/base64.h"
#include "common/json.h"
#include "common/status.h"
#include "common/utf8.h"

namespace tiffin::cli {
namespace {

// What a record may hold: more than this is refused by the server anyway.
constexpr size_t kMaxOutput = 16 << 20;
constexpr size_t kMaxLog = (64 << 10) - 3;  // and the dots of a cut

struct RunOptions {
  std::string job;
  std::string output;
  Bulk bulk = Bulk::kRefs;
  std::optional<absl::Duration> term, answer_failures;
  bool compute_alone = true;  // while the server is away
};

constexpr absl::Duration kRenewTimeout = absl::Seconds(2), kRenewAgain = absl::Seconds(1);

// Makes a lease last while it lives. A job that somebody else has ended need not be computed: its
// program is told to stop. What the program prints is told as progress.
class Renewer {
 public:
  Renewer(Client client, Lease lease, SignalRelay* relay)
      : client_(std::move(client)),
        lease_(std::move(lease)),
        relay_(relay),
        thread_([this] { Loop(); }) {}
  ~Renewer() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

  void NoteOutput() { printed_ = true; }
  bool done_elsewhere() const { return done_elsewhere_; }

 private:
  void Loop() {
    v1::RenewRequest request;
    *request.mutable_caller() = client_.caller();
    request.add_leases(lease_.id);
    absl::Duration pause = lease_.term / 3;
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, absl::ToChronoMilliseconds(pause), [this] { return stop_; })) {
      lock.unlock();
      const bool printed = printed_.exchange(false);
      request.set_progress(printed);
      // One call without patience of its own, so that the end of the command does not wait for it.
      const auto renewed = client_.connection().RenewWithin(kRenewTimeout, request);
      lock.lock();
      if (!renewed.ok() && printed) printed_ = true;
      pause = renewed.ok() ? lease_.term / 3 : std::min(lease_.term / 3, kRenewAgain);
      // A lost lease is no reason to stop: its value may still be stored.
      if (renewed.ok() && renewed->outcomes_size() == 1 &&
          renewed->outcomes(0) == v1::RenewResponse::DONE_ELSEWHERE) {
        done_elsewhere_ = true;
        relay_->Kill(SIGTERM);
        return;
      }
    }
  }

  Client client_;
  Lease lease_;
  SignalRelay* relay_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;  // guarded by mutex_
  std::atomic<bool> done_elsewhere_ = false;
  std::atomic<bool> printed_ = false;  // since the last renewal
  std::thread thread_;
};

// Gives the lease back unless it was used up.
class LeaseHolder {
 public:
  LeaseHolder(Client client, Lease lease) : client_(std::move(client)), lease_(std::move(lease)) {}
  ~LeaseHolder() {
    if (held_) client_.Release(lease_).IgnoreError();  // else it lapses after its term
  }
  LeaseHolder(const LeaseHolder&) = delete;
  LeaseHolder& operator=(const LeaseHolder&) = delete;

  const Lease& lease() const { return lease_; }
  void Used() { held_ = false; }

 private:
  Client client_;
  Lease lease_;
  bool held_ = true;
};

// What a program printed: JSON if it is JSON, else text, else bytes.
Value ValueOfBytes(std::string bytes) {
  absl::StatusOr<Value> json = ParseJson(bytes);
  if (json.ok()) return *std::move(json);
  if (ToValidUtf8(bytes) == bytes) return bytes;
  return Object{{"_noodles", "0.3.0"},
                {"type", kObjectType},
                {"class", kBytesClass},
                {"data", Base64Encode(bytes)}};
}

absl::StatusOr<Value> ValueOfFile(const std::string& path, Client& client, Context& context) {
  if (!path.ends_with(".npy")) {
    TIFFIN_ASSIGN_OR_RETURN(std::string bytes, ReadInput(path, context.in()));
    return ValueOfBytes(std::move(bytes));
  }
  TIFFIN_ASSIGN_OR_RETURN(const NpyFile file, NpyFile::Open(path));
  TIFFIN_ASSIGN_OR_RETURN(const BlobName name,
                          client.Put(file.dtype(), file.shape(), file.bytes()));
  return Client::RefRecord(name);
}

// The same without a server: an array stands in the record.
absl::StatusOr<Value> InlineValueOfFile(const std::string& path, Context& context) {
  TIFFIN_ASSIGN_OR_RETURN(std::string bytes, ReadInput(path, context.in()));
  if (!path.ends_with(".npy")) return ValueOfBytes(std::move(bytes));
  if (bytes.size() > kMaxOutput / 2) {
    return absl::UnavailableError(
        StrCat(path, " is too large to wait in the spool; store it when the server is back"));
  }
  return Object{{"_noodles", "0.3.0"},
                {"type", kObjectType},
                {"class", "numpy.ndarray"},
                {"data", Base64Encode(bytes)}};
}

Value ErrorOf(const std::vector<std::string>& command, int exit_status) {
  List words;
  for (const std::string& word : command) words.emplace_back(ToValidUtf8(word));
  return Object{{"error", StrCat("exit status ", exit_status)}, {"command", std::move(words)}};
}

// One call of `tiffin run`.
class Runner {
 public:
  Runner(const RunOptions& options, Context* context, Client client, SignalRelay* relay)
      : options_(options), context_(*context), client_(std::move(client)), relay_(*relay) {}

  absl::StatusOr<int> Run(const Value& job) {
    SubmitOptions submit_options;
    submit_options.bulk = options_.bulk;
    submit_options.answer_failures = options_.answer_failures.value_or(absl::ZeroDuration());
    TIFFIN_ASSIGN_OR_RETURN(const Submitted answer, client_.Submit(job, submit_options));
    key_ = answer.key;
    if (answer.result.has_value()) return Report("RETRIEVED", *answer.result);
    if (answer.lease.has_value()) return Compute(*answer.lease, answer.workflow.has_value());
    AwaitOptions await{.capacity = 1, .bulk = options_.bulk};
    // The holder may have failed since.
    if (answer.holder.has_value()) await.after_epoch = answer.holder->epoch;
    TIFFIN_ASSIGN_OR_RETURN(const Awaited awaited, client_.Await(key_, await));
    if (awaited.lease.has_value()) return Compute(*awaited.lease, awaited.workflow.has_value());
    return Report("WAITED", *awaited.result);
  }

  // Whether Run's error leaves a result to be made or kept without the server.
  bool MayGoOnAlone(const absl::Status& error) const {
    return absl::IsUnavailable(error) || (computed_ && Spool::MayStillCome(error));
  }

  // The server is away, `why`: what was computed already, or the command now, without a lease. The
  // result waits in the spool.
  absl::StatusOr<int> RunAlone(const Value& job, const absl::Status& why) {
    if (!computed_) {
      relay_.Hold();
      const absl::Time started = absl::Now();
      TIFFIN_ASSIGN_OR_RETURN(ChildOutcome outcome,
                              RunChild(context_.rest, MakeChildOptions(), &relay_));
      compute_time_ = absl::Now() - started;
      if (relay_.signal_number() != 0) return 128 + relay_.signal_number();
      if (outcome.exit_status != 0) return FailedWith(outcome.exit_status);
      computed_ = std::move(outcome);
    }
    TIFFIN_RETURN_IF_ERROR(CheckWhole(*computed_));
    Value value = ValueOfBytes(computed_->out);
    if (!options_.output.empty()) {
      TIFFIN_ASSIGN_OR_RETURN(value, InlineValueOfFile(options_.output, context_));
    }
    TIFFIN_RETURN_IF_ERROR(CheckNoWorkflow(value));
    TIFFIN_ASSIGN_OR_RETURN(key_, client_.KeyOf(job));
    v1::StoreResultRequest request;
    *request.mutable_caller() = client_.caller();
    request.set_key(std::string(key_.view()));
    if (lease_) {
      request.set_lease(lease_->id);
      request.set_epoch(lease_->epoch);
    }
    request.mutable_record()->set_json(PrintJson(value));
    request.mutable_job()->set_json(PrintJson(job));
    const absl::Duration time = compute_time_;
    request.mutable_compute_time()->set_seconds(absl::ToInt64Seconds(time));
    request.mutable_compute_time()->set_nanos(static_cast<int32_t>(
        absl::ToInt64Nanoseconds(time - absl::Seconds(absl::ToInt64Seconds(time)))));
    request.set_log(CutUtf8(ToValidUtf8(computed_->log), kMaxLog));
    Spool spool(Spool::DefaultFolder());
    const absl::Status spooled = spool.Add(request);
    context_.err() << "tiffin: not stored (" << why.message() << ")";
    if (spooled.ok()) {
      context_.err() << "; the result waits in " << spool.folder() << std::endl;
    } else {
      context_.err() << ", and the result cannot wait: " << spooled.message() << std::endl;
    }
    StoredResult result;
    result.value = std::move(value);
    return Report("COMPUTED", result);
  }

 private:
  absl::StatusOr<int> Compute(const Lease& lease, bool unfolding) {
    relay_.Hold();
    LeaseHolder holder(client_, lease);
    if (unfolding) {
      return absl::FailedPreconditionError(
          "the job unfolds into a workflow that is stored; run does not go on with it");
    }
    const absl::Time started = absl::Now();
    // until the result is stored: an upload takes its time, too
    Renewer renewer(client_, lease, &relay_);
    ChildOptions child_options = MakeChildOptions();
    child_options.on_output = [&] { renewer.NoteOutput(); };
    absl::StatusOr<ChildOutcome> outcome = RunChild(context_.rest, child_options, &relay_);
    TIFFIN_RETURN_IF_ERROR(outcome.status());
    lease_ = lease;
    if (renewer.done_elsewhere()) {
      holder.Used();
      return Fetch("WAITED");
    }
    StoreOptions options;
    options.compute_time = absl::Now() - started;
    options.exit_status = outcome->exit_status;
    options.log = CutUtf8(ToValidUtf8(outcome->log), kMaxLog);
    if (outcome->exit_status == 0) {
      computed_ = *outcome;
      compute_time_ = options.compute_time;
      absl::StatusOr<int> code = StoreValue(*std::move(outcome), options, &holder);
      if (absl::IsUnavailable(code.status())) holder.Used();  // nobody there to take it back
      return code;
    }
    // Interrupted is not failed: somebody else may compute it.
    if (relay_.signal_number() != 0) return 128 + relay_.signal_number();
    return StoreFailure(options, &holder);
  }

  absl::StatusOr<int> StoreValue(ChildOutcome outcome, const StoreOptions& options,
                                 LeaseHolder* holder) {
    TIFFIN_RETURN_IF_ERROR(CheckWhole(outcome));
    Value value = ValueOfBytes(std::move(outcome.out));
    if (!options_.output.empty()) {
      TIFFIN_ASSIGN_OR_RETURN(value, ValueOfFile(options_.output, client_, context_));
    }
    TIFFIN_RETURN_IF_ERROR(CheckNoWorkflow(value));
    const absl::Status stored = client_.Store(key_, holder->lease(), value, options).status();
    // Another value was first: all get the same.
    if (!stored.ok() && !absl::IsAlreadyExists(stored)) return stored;
    holder->Used();
    return Fetch("COMPUTED");
  }

  absl::StatusOr<int> StoreFailure(const StoreOptions& options, LeaseHolder* holder) {
    const Value error = ErrorOf(context_.rest, options.exit_status);
    const absl::Status told = client_.StoreFailure(key_, holder->lease(), error, options).status();
    // Told or not, it has failed: a server that is away is no reason to run it again.
    if (!told.ok() && !absl::IsUnavailable(told)) return told;
    holder->Used();
    return FailedWith(options.exit_status);
  }

  ChildOptions MakeChildOptions() const {
    return {.collect_bytes = options_.output.empty() ? std::optional(kMaxOutput) : std::nullopt,
            .err = &context_.err()};
  }

  absl::Status FailedWith(int exit_status) const {
    return absl::AbortedError(StrCat(context_.rest[0], " failed with exit status ", exit_status));
  }

  // INVALID_ARGUMENT: trying again later does not help.
  static absl::Status CheckWhole(const ChildOutcome& outcome) {
    if (!outcome.out_cut) return absl::OkStatus();
    return absl::InvalidArgumentError(
        StrCat("the command printed more than ", BytesText(kMaxOutput),
               ": let it write an .npy file, and name that with --output"));
  }

  // FAILED_PRECONDITION if it is one: then it is printed, so that it is not lost.
  absl::Status CheckNoWorkflow(const Value& value) {
    if (!IsWorkflow(value)) return absl::OkStatus();
    context_.out() << PrintJson(value) << std::endl;
    return absl::FailedPreconditionError(
        "what was printed is a workflow, which run does not unfold: nothing is stored");
  }

  // What was stored, as any reader gets it: a hit and a miss print the same.
  absl::StatusOr<int> Fetch(std::string_view outcome) {
    TIFFIN_ASSIGN_OR_RETURN(const StoredResult result, client_.Get(key_, options_.bulk));
    return Report(outcome, result);
  }

  absl::StatusOr<int> Report(std::string_view outcome, const StoredResult& result) {
    if (result.kind == StoredResult::Kind::kError) {
      return absl::AbortedError(
          StrCat("the job failed on ", result.host, ": ", Short(result.value, 500)));
    }
    if (context_.globals.json) {
      PrintLine({{"key", key_.ToText()}, {"outcome", outcome}, {"value", result.value}},
                context_.out());
    } else if (const std::string* text = result.value.if_string(); text != nullptr) {
      context_.out() << *text << std::flush;
    } else {
      context_.out() << PrintJson(result.value) << std::endl;
    }
    return kDone;
  }

  const RunOptions& options_;
  Context& context_;
  Client client_;
  SignalRelay& relay_;
  Digest key_;
  std::optional<ChildOutcome> computed_;  // by a command that succeeded
  absl::Duration compute_time_;
  std::optional<Lease> lease_;  // under which
};

absl::StatusOr<int> RunRun(const RunOptions& options, Context& context) {
  if (context.rest.empty()) return WrongUse("run: no command: tiffin run JOB -- COMMAND…");
  TIFFIN_ASSIGN_OR_RETURN(const Value job, ReadValue(options.job, context.in()));
  SignalRelay relay;  // before gRPC starts its threads
  ClientOptions client_options;
  if (options.term.has_value()) client_options.lease_term = *options.term;
  Runner runner(options, &context, context.MakeClient(client_options, absl::Seconds(60)), &relay);
  absl::StatusOr<int> code = runner.Run(job);
  if (options.compute_alone && runner.MayGoOnAlone(code.status()))
    return runner.RunAlone(job, code.status());
  Spool spool(Spool::DefaultFolder());
  // It is there, so that what was spooled can go; `tiffin flush` tells more of it.
  if (code.ok() && !spool.empty()) spool.Deliver(*context.connection()).IgnoreError();
  return code;
}

}  // namespace

void AddRunCommand(CLI::App* app, Command* chosen) {
  CLI::App* run = app->add_subcommand(
      "run", "Prints a job's result; computes it by the command after -- if nobody has");
  auto options = std::make_shared<RunOptions>();
  run->add_option("JOB", options->job, "The job's record: a file, -, or JSON")->required();
  run->add_option(
      "--output", options->output,
      "Store what the command writes to this file (.npy: an array), not what it prints");
  AddDurationOption(run, "--term", &options->term, "How long the lease lasts without us, 5s to 1h");
  AddDurationOption(run, "--answer-failures", &options->answer_failures,
                    "Do not compute what failed less than this ago: tell the failure");
  AddBulkOption(run, &options->bulk);
  run->add_option_function<std::string>(
         "--on-unavailable",
         [options](const std::string& text) { options->compute_alone = text == "compute"; },
         "While the server is away: compute (default), the result waits in $TIFFIN_SPOOL; or fail")
      ->check(CLI::IsMember({"compute", "fail"}));
  run->callback(
      [=] { *chosen = [options](Context& context) { return RunRun(*options, context); }; });
}

}  // namespace tiffin::cli
