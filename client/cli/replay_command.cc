// tiffin replay: a recorded Noodles run, played against a server and compared.
#include <memory>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/cli/commands.h"
#include "client/cli/input.h"
#include "client/cli/output.h"
#include "client/cli/replay_pass.h"
#include "common/status.h"

namespace tiffin::cli {
namespace {

struct ReplayCommand {
  std::string file;
  std::string prefix = "replay";
  int passes = 1;
  bool second = false;
  bool aliases = false;
};

Object ReportObject(int pass, const PassReport& report) {
  List differences;
  for (const Difference& d : report.differences) {
    differences.emplace_back(Object{{"workflow", d.workflow},
                                    {"seq", d.seq},
                                    {"what", d.what},
                                    {"expected", d.expected},
                                    {"got", d.got}});
  }
  List again;
  for (const GrantedAgain& g : report.granted_again) {
    again.emplace_back(
        Object{{"workflow", g.workflow}, {"seq", g.seq}, {"key", g.key}, {"reason", g.reason}});
  }
  return {{"pass", pass},
          {"submissions", report.submissions},
          {"granted", report.granted},
          {"attached", report.attached},
          {"retrieved", report.retrieved},
          {"open", report.other},
          {"links", report.links},
          {"records", report.records},
          {"differing", uint64_t{report.differences.size()}},
          {"seconds", absl::ToDoubleSeconds(report.time)},
          {"granted_again", std::move(again)},
          {"differences", std::move(differences)}};
}

std::vector<std::string> ReportRow(int pass, const PassReport& report) {
  return {StrCat(pass),
          StrCat(report.submissions),
          StrCat(report.granted),
          StrCat(report.attached),
          StrCat(report.retrieved),
          StrCat(report.records),
          StrCat(report.differences.size()),
          absl::StrFormat("%.2f s", absl::ToDoubleSeconds(report.time))};
}

void PrintDetails(const PassReport& report, std::ostream& out) {
  Table again({"granted again", "seq", "key", "because"});
  for (const GrantedAgain& g : report.granted_again) {
    again.Add({g.workflow, StrCat(g.seq), g.key, g.reason});
  }
  if (!again.empty()) again.Print(out << '\n');
  Table differs({"differs", "seq", "what", "expected", "got"});
  for (const Difference& d : report.differences) {
    differs.Add({d.workflow, StrCat(d.seq), d.what, d.expected, d.got});
  }
  if (!differs.empty()) differs.Print(out << '\n');
}

class Replay {
 public:
  Replay(const ReplayCommand& command, const std::vector<RecordedWorkflow>& workflows,
         size_t inline_limit, Context* context)
      : command_(command), workflows_(workflows), context_(*context), inline_limit_(inline_limit) {}

  absl::StatusOr<PassReport> Pass(int pass) {
    const PassOptions options{.rerun = command_.second || pass > 1,
                              .aliases = command_.aliases,
                              .inline_limit = inline_limit_};
    uint64_t steps = 0;
    for (const RecordedWorkflow& workflow : workflows_) steps += workflow.steps.size();
    Progress progress(context_.err(), context_.progress(), StrCat("pass ", pass), steps);
    PassReport report;
    const absl::Time started = absl::Now();
    for (const RecordedWorkflow& workflow : workflows_) {
      ClientOptions client_options;
      client_options.name_space = StrCat(command_.prefix, "/", workflow.name);
      // A pass takes seconds: no lease lapses, however slow the machine.
      client_options.lease_term = absl::Minutes(10);
      TIFFIN_RETURN_IF_ERROR(ReplayWorkflow(
          workflow, options, context_.MakeClient(client_options), [&] { progress.Advance(1); },
          &report));
    }
    report.time = absl::Now() - started;
    return report;
  }

 private:
  const ReplayCommand& command_;
  const std::vector<RecordedWorkflow>& workflows_;
  Context& context_;
  size_t inline_limit_;
};

absl::StatusOr<size_t> InlineLimit(Context& context) {
  v1::DescribeRequest request;
  *request.mutable_caller() = context.caller();
  v1::DescribeResponse response;
  TIFFIN_RETURN_IF_ERROR(context.Persist([&]() -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(response, context.connection()->Describe(request));
    return absl::OkStatus();
  }));
  return response.inline_limit();
}

absl::StatusOr<int> RunReplay(const ReplayCommand& command, Context& context) {
  TIFFIN_ASSIGN_OR_RETURN(const std::string text, ReadInput(command.file, context.in()));
  absl::StatusOr<std::vector<RecordedWorkflow>> workflows = ParseRecording(text);
  if (!workflows.ok()) return Annotate(workflows.status(), command.file);
  TIFFIN_ASSIGN_OR_RETURN(const size_t inline_limit, InlineLimit(context));
  Replay replay(command, *workflows, inline_limit, &context);
  std::vector<PassReport> reports;
  Table table({"pass", "submissions", "granted", "attached", "retrieved", "records compared",
               "differing", "time"});
  uint64_t differing = 0;
  for (int i = 0; i < command.passes; ++i) {
    const int pass = i + (command.second ? 2 : 1);
    TIFFIN_ASSIGN_OR_RETURN(const PassReport report, replay.Pass(pass));
    differing += report.differences.size();
    if (context.globals.json) PrintLine(ReportObject(pass, report), context.out());
    table.Add(ReportRow(pass, report));
    reports.push_back(report);
  }
  if (!context.globals.json) {
    table.Print(context.out());
    for (const PassReport& report : reports) PrintDetails(report, context.out());
  }
  if (differing == 0) return kDone;
  std::string message = StrCat("replay: ", differing, " answers or records differ");
  if (!command.second && reports[0].granted < reports[0].retrieved) {
    message += "; was this recording replayed here before? Then say --second, or another --prefix";
  }
  return absl::AbortedError(message);
}

}  // namespace

void AddReplayCommand(CLI::App* app, Command* chosen) {
  CLI::App* replay = app->add_subcommand(
      "replay", "Plays a recorded Noodles run and compares each answer with Noodles' own");
  auto options = std::make_shared<ReplayCommand>();
  replay->add_option("FILE", options->file, "The recording, JSON lines")->required();
  replay->add_option("--prefix", options->prefix, "Each workflow is in the namespace PREFIX/NAME")
      ->capture_default_str();
  replay->add_option("--passes", options->passes, "How often; from the second on, results are hits")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  replay->add_flag("--second", options->second, "An earlier replay has stored the results already");
  replay->add_flag("--aliases", options->aliases,
                   "Also stores Noodles' own keys, as names of the profile noodles/json");
  replay->callback(
      [=] { *chosen = [options](Context& context) { return RunReplay(*options, context); }; });
}

}  // namespace tiffin::cli
