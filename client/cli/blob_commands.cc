// tiffin put, stat: what goes in, and what is there. deref_command.cc has the way back.
#include <algorithm>
#include <memory>
#include <utility>

#include "client/cli/blob_target.h"
#include "client/cli/commands.h"
#include "client/cli/input.h"
#include "client/cli/npy_file.h"
#include "client/cli/output.h"
#include "common/status.h"

namespace tiffin::cli {
namespace {

constexpr size_t kChunk = 1 << 20;

Digest KeyOf(const NpyFile& file, Progress* progress) {
  Sha256 hash = StartBlobKey(file.dtype(), file.shape());
  for (size_t at = 0; at < file.bytes().size(); at += kChunk) {
    const std::string_view chunk = file.bytes().substr(at, kChunk);
    hash.Update(chunk);
    progress->Advance(chunk.size());
  }
  return hash.Finish();
}

// Uploads the file's bytes unless the server says early that it has them. Goes on where an earlier try
// broke, of this program or of another that sent the same.
absl::StatusOr<v1::PutResponse> Upload(const NpyFile& file, const BlobName& name,
                                       Context& context) {
  v1::PutRequest::Header header;
  *header.mutable_caller() = context.caller();
  header.mutable_name()->set_key(std::string(name.key.view()));
  header.mutable_name()->set_dtype(name.dtype);
  for (uint64_t size : name.shape) header.mutable_name()->add_shape(size);
  v1::PutResponse response;
  TIFFIN_RETURN_IF_ERROR(context.Persist([&]() -> absl::Status {
    Progress progress(context.err(), context.progress(), "sending", file.bytes().size());
    v1::QueryPutRequest query;
    *query.mutable_caller() = header.caller();
    *query.mutable_name() = header.name();
    const absl::StatusOr<v1::QueryPutResponse> state = context.connection()->QueryPut(query);
    if (!state.ok() && !absl::IsUnimplemented(state.status())) return state.status();
    size_t at = state.ok() ? state->received() : 0;
    header.set_offset(at);
    progress.Advance(at);
    const auto next_chunk = [&] {
      const std::string_view chunk = file.bytes().substr(at, kChunk);
      at += chunk.size();
      progress.Advance(chunk.size());
      return chunk;
    };
    TIFFIN_ASSIGN_OR_RETURN(response, context.connection()->Put(header, next_chunk));
    return absl::OkStatus();
  }));
  return response;
}

absl::StatusOr<int> RunPut(const std::vector<std::string>& paths, Context& context) {
  Table table({"key", "dtype", "shape", "size", ""});
  for (const std::string& path : paths) {
    TIFFIN_ASSIGN_OR_RETURN(const NpyFile file, NpyFile::Open(path));
    Progress progress(context.err(), context.progress(), "hashing", file.bytes().size());
    const BlobName name{KeyOf(file, &progress), file.dtype(), file.shape()};
    progress.Clear();
    const absl::StatusOr<v1::PutResponse> response = Upload(file, name, context);
    if (!response.ok()) return Annotate(response.status(), path);
    if (context.globals.json) {
      Object object = BlobObject(name);
      object.Set("size", response->size());
      object.Set("existed", response->existed());
      object.Set("file", path);
      PrintLine(object, context.out());
    } else {
      table.Add({name.key.ToText(), name.dtype, ShapeText(name.shape), BytesText(response->size()),
                 response->existed() ? "already there" : "stored"});
    }
  }
  if (!table.empty()) table.Print(context.out());
  return kDone;
}

struct StatCommand {
  std::string target;
  bool value = false;
};

absl::StatusOr<int> RunStat(const StatCommand& command, Context& context) {
  v1::StatRequest request;
  *request.mutable_caller() = context.caller();
  TIFFIN_ASSIGN_OR_RETURN(*request.mutable_ref(),
                          ParseTarget(command.target, command.value, context.in()));
  v1::StatResponse response;
  TIFFIN_RETURN_IF_ERROR(context.Persist([&]() -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(response, context.connection()->Stat(request));
    return absl::OkStatus();
  }));
  TIFFIN_ASSIGN_OR_RETURN(const BlobName name, NameOf(response.name()));
  if (context.globals.json) {
    Object object = BlobObject(name);
    for (const auto& [member, value] : MessageObject(response)) {
      if (member != "name") object.Set(member, value);
    }
    PrintLine(object, context.out());
    return kDone;
  }
  std::vector<std::pair<std::string, std::string>> fields = {
      {"key", name.key.ToText()},
      {"dtype", name.dtype},
      {"shape", ShapeText(name.shape)},
      {"size", BytesText(response.size())},
      {"pack", response.pack() + (response.sealed() ? " (sealed)" : " (open)")},
      {"created", TimeText(absl::FromUnixSeconds(response.created().seconds()))}};
  for (const std::string& key : response.made_by()) {
    TIFFIN_ASSIGN_OR_RETURN(const Digest job, Digest::FromBytes(key));
    fields.emplace_back("made by", job.ToText());
  }
  for (const std::string& key : response.used_by()) {
    TIFFIN_ASSIGN_OR_RETURN(const Digest job, Digest::FromBytes(key));
    fields.emplace_back("used by", job.ToText());
  }
  PrintFields(fields, context.out());
  return kDone;
}

}  // namespace

void AddBlobCommands(CLI::App* app, Command* chosen) {
  CLI::App* put = app->add_subcommand("put", "Uploads arrays");
  auto paths = std::make_shared<std::vector<std::string>>();
  put->add_option("FILE", *paths, ".npy files")->required();
  put->callback([=] {
    *chosen = [paths](Context& context) { return RunPut(*paths, context); };
  });
  AddDerefCommand(app, chosen);
  CLI::App* stat = app->add_subcommand("stat", "Size, place and users of a blob");
  auto options = std::make_shared<StatCommand>();
  stat->add_option("KEY|RECORD", options->target, kTargetHelp)->required();
  stat->add_flag("--value", options->value, "KEY is that of a value (second ref form)");
  stat->callback([=] {
    *chosen = [options](Context& context) { return RunStat(*options, context); };
  });
}

}  // namespace tiffin::cli
