// tiffin gc: frees what nothing refers to, and, when told how much may stay, results that were not
// read for long.
#include <memory>
#include <optional>

#include "client/cli/commands.h"
#include "client/cli/output.h"
#include "common/status.h"

namespace tiffin::cli {
namespace {

struct GcCommand {
  std::optional<uint64_t> max_bytes;
  bool dry_run = false;
};

absl::StatusOr<int> RunGc(const GcCommand& command, Context& context) {
  v1::CollectRequest request;
  *request.mutable_caller() = context.caller();
  request.set_dry_run(command.dry_run);
  if (command.max_bytes) request.set_max_bytes(*command.max_bytes);
  v1::CollectResponse collected;
  TIFFIN_RETURN_IF_ERROR(context.Persist([&]() -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(collected, context.connection()->Collect(request));
    return absl::OkStatus();
  }));
  if (context.globals.json) {
    PrintLine(MessageObject(collected), context.out());
  } else {
    const auto count = [](uint64_t n, uint64_t bytes) {
      return StrCat(n, " (", BytesText(bytes), ")");
    };
    const std::string pre = command.dry_run ? "would be " : "";
    std::vector<std::pair<std::string, std::string>> fields;
    if (command.max_bytes) {
      fields.emplace_back("results " + pre + "evicted", StrCat(collected.evicted()));
    }
    fields.emplace_back("blobs " + pre + "removed",
                        count(collected.blobs(), collected.blob_bytes()));
    if (!command.dry_run) {  // of packs only doing it tells
      fields.emplace_back("packs removed", StrCat(collected.packs_removed()));
      fields.emplace_back("packs rewritten", StrCat(collected.packs_rewritten()));
      fields.emplace_back("freed on disk", BytesText(collected.freed_bytes()));
    }
    fields.emplace_back("left since they are pinned", StrCat(collected.pinned()));
    fields.emplace_back("kept", BytesText(collected.kept_bytes()));
    PrintFields(fields, context.out());
  }
  if (command.max_bytes && collected.kept_bytes() > *command.max_bytes) {
    return absl::ResourceExhaustedError(StrCat(
        BytesText(collected.kept_bytes()), " stay: they are pinned, named by aliases, or in use"));
  }
  return kDone;
}

}  // namespace

void AddGcCommand(CLI::App* app, Command* chosen) {
  CLI::App* gc =
      app->add_subcommand("gc", "Frees what nothing refers to; results too, with --max-bytes");
  auto command = std::make_shared<GcCommand>();
  gc->add_option_function<uint64_t>(
        "--max-bytes", [command](const uint64_t& bytes) { command->max_bytes = bytes; },
        "Evict results, the least recently read first, until blobs and rows take less (10GiB)")
      ->transform(CLI::AsSizeValue(false));
  gc->add_flag("--dry-run", command->dry_run, "Only count");
  gc->callback([=] { *chosen = [command](Context& context) { return RunGc(*command, context); }; });
}

}  // namespace tiffin::cli
