// RunCli of context.h: the options before the command, and what comes of each command.
#include <algorithm>
#include <iostream>
#include <utility>

#include "client/cli/commands.h"
#include "client/cli/context.h"
#include "client/cli/input.h"
#include "common/status.h"

namespace tiffin::cli {
namespace {

constexpr char kFooter[] =
    "Exit codes: 0 done, 1 not found or miss, 2 wrong use, 3 refused, differs or failed,\n"
    "4 unreachable.";

// One key in 64 starts with '-', as options do: a blank in front keeps it an argument. ParseKey
// takes it off again.
void ShieldKeys(std::vector<std::string>* arguments) {
  for (std::string& argument : *arguments) {
    if (argument.starts_with('-') && Digest::FromText(argument).ok()) argument.insert(0, " ");
  }
}

// What stands after `run … --` is another program's command line.
std::vector<std::string> TakeRest(std::vector<std::string>* arguments) {
  const auto dashes = std::find(arguments->begin(), arguments->end(), "--");
  if (std::find(arguments->begin(), dashes, "run") == dashes || dashes == arguments->end())
    return {};
  std::vector<std::string> rest(dashes + 1, arguments->end());
  arguments->erase(dashes, arguments->end());
  return rest;
}

void AddGlobals(CLI::App* app, Globals* globals) {
  app->add_option("--server", globals->server, "Address of the server")
      ->envname("TIFFIN_SERVER")
      ->capture_default_str();
  app->add_option("--namespace", globals->name_space, "Namespace of jobs, aliases and blobs")
      ->envname("TIFFIN_NAMESPACE");
  app->add_flag("--json", globals->json, "One JSON object a line, for scripts");
  AddDurationOption(app, "--patience", &globals->patience,
                    "How long to try again while the server is away (5s; 60s for await and run)")
      ->envname("TIFFIN_PATIENCE");
  app->set_version_flag("--version", "tiffin " TIFFIN_VERSION);
}

int Finish(const absl::StatusOr<int>& result, const Environment& environment) {
  if (result.ok()) return *result;
  environment.err << ErrorLine(result.status()) << std::endl;
  return ExitCodeOf(result.status());
}

}  // namespace

CLI::Option* AddDurationOption(CLI::App* command, const std::string& name,
                               std::optional<absl::Duration>* duration,
                               const std::string& description) {
  const auto parse = [duration, name](const std::string& text) {
    absl::StatusOr<absl::Duration> parsed = ParseDuration(text);
    if (!parsed.ok()) throw CLI::ValidationError(name, std::string(parsed.status().message()));
    *duration = *parsed;
  };
  return command->add_option_function<std::string>(name, parse, description)->type_name("DURATION");
}

void AddBulkOption(CLI::App* command, Bulk* bulk) {
  const auto parse = [bulk](const std::string& text) {
    *bulk = text == "inline" ? Bulk::kInline : Bulk::kRefs;
  };
  command
      ->add_option_function<std::string>("--bulk", parse,
                                         "Arrays and other bulk as refs, or inline as sent")
      ->check(CLI::IsMember({"refs", "inline"}));
}

int RunCli(std::vector<std::string> arguments, const Environment& environment) {
  Context context(environment);
  Command chosen;
  CLI::App app("Stores what jobs computed, so that nobody computes it twice.", "tiffin");
  app.require_subcommand(1);
  app.fallthrough();
  app.footer(kFooter);
  AddGlobals(&app, &context.globals);
  AddKeyCommand(&app, &chosen);
  AddJobsCommands(&app, &chosen);
  AddAliasCommands(&app, &chosen);
  AddHistoryCommands(&app, &chosen);
  AddRunCommand(&app, &chosen);
  AddFlushCommand(&app, &chosen);
  AddBlobCommands(&app, &chosen);
  AddReplayCommand(&app, &chosen);
  AddAdminCommands(&app, &chosen);
  AddBackupCommand(&app, &chosen);
  AddCatalogueCommand(&app, &chosen);
  AddGcCommand(&app, &chosen);
  AddVerifyCommand(&app, &chosen);
  AddImportCommand(&app, &chosen);

  context.rest = TakeRest(&arguments);
  ShieldKeys(&arguments);
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, environment.out, environment.err) == 0 ? kDone : kWrongUse;
  }
  return Finish(chosen(context), environment);
}

}  // namespace tiffin::cli
