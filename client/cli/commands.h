// The commands, one function for each file that has some: adds them to the program. The command
// that the user named is put in `*chosen`.
#ifndef TIFFIN_CLIENT_CLI_COMMANDS_H_
#define TIFFIN_CLIENT_CLI_COMMANDS_H_

#include <optional>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/time/time.h"
#include "client/cli/context.h"

namespace tiffin::cli {

void AddKeyCommand(CLI::App* app, Command* chosen);        // key
void AddJobsCommands(CLI::App* app, Command* chosen);      // submit, store, get, await
void AddAliasCommands(CLI::App* app, Command* chosen);     // alias set, list, delete
void AddHistoryCommands(CLI::App* app, Command* chosen);   // ls, show, explain, invalidate, leases
void AddFlushCommand(CLI::App* app, Command* chosen);      // flush
void AddRunCommand(CLI::App* app, Command* chosen);        // run
void AddBlobCommands(CLI::App* app, Command* chosen);      // put, deref, stat
void AddDerefCommand(CLI::App* app, Command* chosen);      // deref
void AddReplayCommand(CLI::App* app, Command* chosen);     // replay
void AddVerifyCommand(CLI::App* app, Command* chosen);     // verify
void AddGcCommand(CLI::App* app, Command* chosen);         // gc
void AddBackupCommand(CLI::App* app, Command* chosen);     // backup
void AddCatalogueCommand(CLI::App* app, Command* chosen);  // catalogue
void AddImportCommand(CLI::App* app, Command* chosen);     // import
void AddAdminCommands(CLI::App* app, Command* chosen);     // stats, describe, seal, health

// Adds `--bulk refs|inline`.
void AddBulkOption(CLI::App* command, Bulk* bulk);
// Adds an option that takes a duration (see ParseDuration).
CLI::Option* AddDurationOption(CLI::App* command, const std::string& name,
                               std::optional<absl::Duration>* duration,
                               const std::string& description);

}  // namespace tiffin::cli

#endif  // TIFFIN_CLIENT_CLI_COMMANDS_H_
