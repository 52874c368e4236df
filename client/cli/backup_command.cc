// tiffin backup: a copy of the data folder on the server's host.
#include <memory>
#include <optional>
#include <string>

#include "client/cli/commands.h"
#include "client/cli/output.h"
#include "common/status.h"

namespace tiffin::cli {
namespace {

absl::StatusOr<int> RunBackup(const std::string& name, Context& context) {
  v1::BackupRequest request;
  *request.mutable_caller() = context.caller();
  request.set_name(name);
  v1::BackupResponse last;
  std::optional<Progress> bar;
  uint64_t shown = 0, total = 0;
  // Once: a copy that was made all the same would be ALREADY_EXISTS.
  TIFFIN_RETURN_IF_ERROR(
      context.connection()->Backup(request, [&](const v1::BackupResponse& response) {
        if (response.total_bytes() != total) {  // it grows once, when the rows are copied
          bar.reset();
          total = response.total_bytes();
          shown = 0;
          bar.emplace(context.err(), context.progress(), "copying", total);
        }
        bar->Advance(response.bytes() - std::min(shown, response.bytes()));
        shown = response.bytes();
        last = response;
        return true;
      }));
  bar.reset();
  if (context.globals.json) {
    PrintLine(MessageObject(last), context.out());
  } else {
    context.out() << last.path() << "  (" << BytesText(last.total_bytes()) << ")\n";
  }
  return kDone;
}

}  // namespace

void AddBackupCommand(CLI::App* app, Command* chosen) {
  CLI::App* backup = app->add_subcommand(
      "backup", "Copies the data folder, while the server goes on, into its --backups folder");
  auto name = std::make_shared<std::string>();
  backup->add_option("name", *name, "Of the copy: a folder that a server can be started on")
      ->required();
  backup->callback(
      [=] { *chosen = [name](Context& context) { return RunBackup(*name, context); }; });
}

}  // namespace tiffin::cli
