// tiffin put, stat: what goes in, and what is there. deref_command.cc has the way back.
#include <algorithm>
#include <memory>
#include <utility>

#include "client/cli/blob_target.h"
#include "client/cli/commands.h"
#include "client/cli/input.h"
#include "client/cli/npy_file.h"
#include "client/cli/output.h"
#include "client/hdf5_array.h"
#include "common/status.h"

namespace tiffin::cli {
namespace {

constexpr size_t kChunk = 1 << 20;

// What is to be sent: a `.npy`, or a dataset of a HDF5 file.
struct PutSource {
  std::string dtype;
  Shape shape;
  std::string_view bytes;
  std::shared_ptr<const void> owner;  // of the bytes
};

Digest KeyOf(const PutSource& source, Progress* progress) {
  Sha256 hash = StartBlobKey(source.dtype, source.shape);
  for (size_t at = 0; at < source.bytes.size(); at += kChunk) {
    const std::string_view chunk = source.bytes.substr(at, kChunk);
    hash.Update(chunk);
    progress->Advance(chunk.size());
  }
  return hash.Finish();
}

absl::StatusOr<PutSource> OpenSource(const std::string& path, const std::string& dataset) {
  if (dataset.empty()) {
    TIFFIN_ASSIGN_OR_RETURN(NpyFile npy, NpyFile::Open(path));
    const auto file = std::make_shared<const NpyFile>(std::move(npy));
    return PutSource{file->dtype(), file->shape(), file->bytes(), file};
  }
  TIFFIN_ASSIGN_OR_RETURN(Array read, ReadHdf5Array(path, dataset));
  const auto array = std::make_shared<const Array>(std::move(read));
  return PutSource{array->dtype, array->shape, array->bytes, array};
}

absl::StatusOr<int> RunPut(const std::vector<std::string>& paths, const std::string& dataset,
                           Context& context) {
  Table table({"key", "dtype", "shape", "size", ""});
  Client client = context.MakeClient({}, absl::Seconds(5));
  for (const std::string& path : paths) {
    TIFFIN_ASSIGN_OR_RETURN(const PutSource source, OpenSource(path, dataset));
    const uint64_t size = source.bytes.size();
    Progress hashing(context.err(), context.progress(), "hashing", size);
    const BlobName name{KeyOf(source, &hashing), source.dtype, source.shape};
    hashing.Clear();
    Progress sending(context.err(), context.progress(), "sending", size);
    const absl::StatusOr<bool> existed =
        client.PutNamed(name, source.bytes, [&](uint64_t sent) { sending.Reach(sent); });
    sending.Clear();
    if (!existed.ok()) return Annotate(existed.status(), path);
    if (context.globals.json) {
      Object object = BlobObject(name);
      object.Set("size", size);
      object.Set("existed", *existed);
      object.Set("file", path);
      PrintLine(object, context.out());
    } else {
      table.Add({name.key.ToText(), name.dtype, ShapeText(name.shape), BytesText(size),
                 *existed ? "already there" : "stored"});
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
  auto dataset = std::make_shared<std::string>();
  put->add_option("FILE", *paths, ".npy files; with --dataset, HDF5 files")->required();
  put->add_option("--dataset", *dataset,
                  "The dataset of this name, with the dtype that h5py gives it");
  put->callback([=] {
    *chosen = [paths, dataset](Context& context) { return RunPut(*paths, *dataset, context); };
  });
  AddDerefCommand(app, chosen);
  CLI::App* stat = app->add_subcommand("stat", "Size, place and users of a blob");
  auto options = std::make_shared<StatCommand>();
  stat->add_option("KEY|RECORD", options->target, kTargetHelp)->required();
  stat->add_flag("--value", options->value, "KEY is that of a value (second ref form)");
  stat->callback(
      [=] { *chosen = [options](Context& context) { return RunStat(*options, context); }; });
}

}  // namespace tiffin::cli
