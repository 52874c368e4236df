// tiffin import: the finished jobs of a Noodles database.
#include <algorithm>
#include <filesystem>
#include <memory>
#include <utility>

#include "client/cli/commands.h"
#include "client/cli/noodles_import.h"
#include "client/cli/output.h"
#include "common/status.h"

namespace tiffin::cli {
namespace {

constexpr size_t kMaxShown = 20;  // rows that people are told of one by one
constexpr char kFooter[] =
    "Stores the job, result and Noodles' own key (an alias) of each row that has a result; "
    "workflows\n"
    "are linked to the job that gave their final result. Nothing that is stored is replaced, and "
    "the\n"
    "file is only read: importing again stores what is new. Let no Noodles run write to the file\n"
    "meanwhile.\n"
    "  stored       now (with --dry-run: would be)\n"
    "  known        the same result was stored before\n"
    "  duplicate    the same job as another row, without a result of its own\n"
    "  final        the result of a workflow, without a job of its own\n"
    "  unfinished   no result, or a workflow that never came to one\n"
    "  failed       null: the job failed, or returned None (see --nulls)\n"
    "  unversioned  a function of __main__ without version, which another script may define "
    "differently\n"
    "  differs      another result is stored, and stays\n"
    "  refused      by the server, or somebody computes it now\n"
    "  unreadable   the row is damaged; file, row and column are named\n"
    "Exit codes: 0 done, 2 no such file, 3 rows that differ, were refused or cannot be read, or "
    "no\n"
    "database of Noodles; 4 the server is away: what was not told is not imported, import again.";

struct ImportCommand {
  std::string file;
  ImportOptions options;
};

bool IsFault(RowOutcome outcome) {
  return outcome == RowOutcome::kDiffers || outcome == RowOutcome::kRefused ||
         outcome == RowOutcome::kUnreadable;
}

// Tells of rows as they come: all to scripts, the first that need a look to people.
class Printer {
 public:
  explicit Printer(Context* context) : context_(*context) {}

  void Add(const RowReport& row) {
    if (row.reason.empty()) return;
    if (context_.globals.json) {
      Object line{{"row", row.row}, {"outcome", OutcomeText(row.outcome)}};
      if (row.key.has_value()) line.Set("key", row.key->ToText());
      line.Set("reason", row.reason);
      PrintLine(line, context_.out());
      return;
    }
    const bool look = row.outcome != RowOutcome::kUnfinished && row.outcome != RowOutcome::kFailed;
    if (!look) return;
    if (++shown_ > kMaxShown) return;
    rows_.Add({StrCat(row.row), std::string(OutcomeText(row.outcome)), row.reason});
  }

  void Finish(const ImportCommand& command, const ImportReport& report) {
    if (context_.globals.json) {
      Object line{{"file", command.file}, {"dry_run", command.options.dry_run}};
      for (size_t i = 0; i < kRowOutcomes; ++i) {
        line.Set(OutcomeText(static_cast<RowOutcome>(i)), report.rows[i]);
      }
      line.Set("links", report.links);
      line.Set("aliases", report.aliases);
      line.Set("aliases_known", report.aliases_known);
      line.Set("aliases_refused", report.aliases_refused);
      PrintLine(line, context_.out());
      return;
    }
    std::ostream& out = context_.out();
    if (!rows_.empty()) {
      rows_.Print(out);
      if (shown_ > kMaxShown) out << "and " << shown_ - kMaxShown << " more; --json tells all\n";
      out << '\n';
    }
    Table table({"rows", "outcome"});
    for (size_t i = 0; i < kRowOutcomes; ++i) {
      if (report.rows[i] == 0) continue;
      table.Add({StrCat(report.rows[i]), std::string(OutcomeText(static_cast<RowOutcome>(i)))});
    }
    if (!table.empty()) table.Print(out);
    out << (command.options.dry_run ? "dry run, nothing was stored: " : "") << report.aliases
        << " new aliases, " << report.links << " workflows linked\n";
    if (report.of(RowOutcome::kStored) == 0 && report.aliases == 0) out << "nothing new\n";
  }

 private:
  Context& context_;
  Table rows_{{"row", "outcome", "because"}};
  size_t shown_ = 0;
};

absl::StatusOr<int> RunImport(const ImportCommand& command, Context& context) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(command.file, error)) {
    return WrongUse(StrCat("cannot read ", command.file, error ? ": " : ": not a file",
                           error ? error.message() : ""));
  }
  TIFFIN_ASSIGN_OR_RETURN(const std::unique_ptr<NoodlesDatabase> database,
                          NoodlesDatabase::Open(command.file));
  TIFFIN_ASSIGN_OR_RETURN(const int64_t last, database->LastId());
  ClientOptions client_options;
  client_options.session.name = "tiffin import";
  client_options.session.script = command.file;
  client_options.lease_term = kImportLeaseTerm;
  Printer printer(&context);
  absl::Status status;
  ImportReport report;
  {
    Progress progress(context.err(), context.progress(), "import",
                      static_cast<uint64_t>(std::max<int64_t>(last, 0)));
    NoodlesImport work(database.get(), &context, context.MakeClient(client_options),
                       command.options, [&](const RowReport& row) {
                         progress.Advance(1);
                         printer.Add(row);
                       });
    status = work.Run();
    report = work.report();
  }
  printer.Finish(command, report);
  if (!status.ok()) return Annotate(status, "the import stopped; import again to go on");
  uint64_t faults = 0;
  for (size_t i = 0; i < kRowOutcomes; ++i) {
    if (IsFault(static_cast<RowOutcome>(i))) faults += report.rows[i];
  }
  if (faults == 0 && report.aliases_refused == 0) return kDone;
  return absl::AbortedError(StrCat("import: ", faults,
                                   " rows differ, were refused or cannot be read; ",
                                   report.aliases_refused, " aliases point elsewhere"));
}

}  // namespace

void AddImportCommand(CLI::App* app, Command* chosen) {
  CLI::App* command =
      app->add_subcommand("import", "Stores the finished jobs of a Noodles 0.3 job database");
  auto options = std::make_shared<ImportCommand>();
  command->add_option("FILE", options->file, "The SQLite database that Noodles wrote")->required();
  command->add_flag("--dry-run", options->options.dry_run,
                    "Compares with the server, stores nothing");
  command->add_flag("--nulls", options->options.nulls,
                    "null is a result: Noodles writes it for jobs that failed, too");
  command->add_flag("--any-prov", options->options.any_prov,
                    "Also rows whose own key cannot be had from their contents; they get no alias");
  command->footer(kFooter);
  command->callback(
      [=] { *chosen = [options](Context& context) { return RunImport(*options, context); }; });
}

}  // namespace tiffin::cli
