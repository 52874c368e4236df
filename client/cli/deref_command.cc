// tiffin deref: the bytes that a ref stands for, whole, by range or by slice.
#include <memory>
#include <utility>

#include "absl/strings/numbers.h"
#include "client/cli/array_text.h"
#include "client/cli/blob_target.h"
#include "client/cli/commands.h"
#include "client/cli/output.h"
#include "client/cli/output_file.h"
#include "client/cli/slice.h"
#include "common/json.h"
#include "common/record.h"
#include "common/status.h"

namespace tiffin::cli {
namespace {

// What is shown on the screen at most; larger blobs get a summary.
constexpr uint64_t kShownBytes = 64 << 10;

struct DerefCommand {
  std::string target;
  bool value = false;
  std::string output;
  std::string slice;
  std::string range;
  bool raw = false;
};

// A blob to bring: what the server says of it before any byte has come.
struct Source {
  v1::BlobRef ref;
  BlobName name;
  uint64_t size = 0;
  bool json = false;
};

// Asks for no bytes: the header has all there is to know, and a ref that cannot be resolved is
// told.
absl::StatusOr<Source> Ask(const DerefCommand& command, Client& client, Context& context) {
  Source source;
  TIFFIN_ASSIGN_OR_RETURN(source.ref, ParseTarget(command.target, command.value, context.in()));
  TIFFIN_ASSIGN_OR_RETURN(
      const v1::DerefResponse::Header header,
      client.DerefTo(source.ref, 0, 0, [](std::string_view) { return absl::OkStatus(); }));
  TIFFIN_ASSIGN_OR_RETURN(source.name, NameOf(header.name()));
  source.size = header.size();
  source.json = header.json();
  return source;
}

absl::StatusOr<std::string> FetchRange(const Source& source, uint64_t offset, uint64_t limit,
                                       Client& client, Context& context) {
  std::string bytes;
  Progress progress(context.err(), context.progress(), "fetching", limit);
  const auto append = [&](std::string_view chunk) {
    bytes.append(chunk);
    progress.Advance(chunk.size());
    return absl::OkStatus();
  };
  TIFFIN_RETURN_IF_ERROR(client.DerefTo(source.ref, offset, limit, append).status());
  return bytes;
}

bool IsBytes(const BlobName& name) { return name.dtype == kBytesDType && name.shape.size() == 1; }

// Arrays are written as `.npy`, bytes and values as they are, unless the user says otherwise.
bool WritesNpy(const DerefCommand& command, const Source& source) {
  if (command.raw || source.json) return false;
  return !IsBytes(source.name) || command.output.ends_with(".npy");
}

// Streams the whole blob to the output, checking its key on the way.
absl::Status WriteWhole(const DerefCommand& command, const Source& source, Client& client,
                        Context& context) {
  OutputFile file(command.output, context.out());
  if (WritesNpy(command, source)) {
    TIFFIN_ASSIGN_OR_RETURN(const std::string header,
                            NpyHeaderText(source.name.dtype, source.name.shape));
    TIFFIN_RETURN_IF_ERROR(file.Write(header));
  }
  Sha256 hash = StartBlobKey(source.name.dtype, source.name.shape);
  Progress progress(context.err(), context.progress(), "fetching", source.size);
  const auto on_chunk = [&](std::string_view chunk) {
    hash.Update(chunk);
    progress.Advance(chunk.size());
    return file.Write(chunk);
  };
  TIFFIN_RETURN_IF_ERROR(client.DerefTo(source.ref, 0, std::nullopt, on_chunk).status());
  if (hash.Finish() != source.name.key) {
    return absl::DataLossError(
        StrCat("the bytes that came are not those of ", source.name.ToText()));
  }
  return file.Commit();
}

absl::Status WriteBytes(const DerefCommand& command, std::string_view bytes, Context& context) {
  OutputFile file(command.output.empty() ? "-" : command.output, context.out());
  TIFFIN_RETURN_IF_ERROR(file.Write(bytes));
  return file.Commit();
}

// ---- showing ----------------------------------------------------------------------------------

// What is shown instead of written: the values of a small array, the text of a small value.
absl::StatusOr<std::optional<Value>> ShownValue(const Source& source, const Array* array,
                                                Client& client, Context& context) {
  if (array != nullptr) {
    if (array->bytes.size() > kShownBytes) return std::nullopt;
    return ArrayValues(*array);
  }
  if (source.size > kShownBytes) return std::nullopt;
  TIFFIN_ASSIGN_OR_RETURN(std::string bytes, FetchRange(source, 0, source.size, client, context));
  if (source.json) {
    TIFFIN_ASSIGN_OR_RETURN(Value value, ParseJson(bytes));
    return value;
  }
  const Array whole{source.name.dtype, source.name.shape, std::move(bytes)};
  if (whole.Name() != source.name) {
    return absl::DataLossError(
        StrCat("the bytes that came are not those of ", source.name.ToText()));
  }
  return ArrayValues(whole);
}

// `selected`: of a slice, whose shape and size are then shown beside the blob's name.
absl::Status Show(const Source& source, const Array* selected, Client& client, Context& context) {
  TIFFIN_ASSIGN_OR_RETURN(const std::optional<Value> value,
                          ShownValue(source, selected, client, context));
  const char* member = source.json ? "value" : "values";
  if (context.globals.json) {
    Object object = BlobObject(source.name);
    object.Set("size", source.size);
    if (selected != nullptr) {
      List shape;
      for (uint64_t size : selected->shape) shape.emplace_back(size);
      object.Set("slice_shape", std::move(shape));
    }
    if (value.has_value()) object.Set(member, *value);
    PrintLine(object, context.out());
    return absl::OkStatus();
  }
  std::vector<std::pair<std::string, std::string>> fields = {
      {"key", source.name.key.ToText()},
      {"dtype", source.name.dtype},
      {"shape", ShapeText(source.name.shape)},
      {"size", BytesText(source.size)}};
  if (selected != nullptr) fields.emplace_back("slice", ShapeText(selected->shape));
  if (value.has_value()) fields.emplace_back(member, PrintJson(*value, {.spaces = true}));
  PrintFields(fields, context.out());
  return absl::OkStatus();
}

// ---- the three ways ---------------------------------------------------------------------------

absl::Status DerefSlice(const DerefCommand& command, const Source& source, Client& client,
                        Context& context) {
  if (source.json) return WrongUse("deref: a value is not an array: no --slice");
  absl::StatusOr<std::vector<SliceItem>> items = ParseSlice(command.slice);
  if (!items.ok()) return WrongUse(ToStd(items.status().message()));
  absl::StatusOr<Selection> selection = Select(*items, source.name.shape);
  if (!selection.ok()) return WrongUse(ToStd(selection.status().message()));
  TIFFIN_ASSIGN_OR_RETURN(Array selected, client.DerefSlab(source.name, selection->dimensions));
  selected.shape = std::move(selection->shape);
  if (command.output.empty()) return Show(source, &selected, client, context);
  if (!WritesNpy(command, source)) return WriteBytes(command, selected.bytes, context);
  TIFFIN_ASSIGN_OR_RETURN(const std::string npy, WriteNpy(selected));
  return WriteBytes(command, npy, context);
}

absl::Status DerefRange(const DerefCommand& command, const Source& source, Client& client,
                        Context& context) {
  const size_t colon = std::min(command.range.find(':'), command.range.size());
  uint64_t offset = 0;
  uint64_t limit = 0;
  const std::string rest = command.range.substr(std::min(colon + 1, command.range.size()));
  if (colon == command.range.size() || !absl::SimpleAtoi(command.range.substr(0, colon), &offset) ||
      !absl::SimpleAtoi(rest, &limit)) {
    return WrongUse(StrCat("deref: '", command.range, "' is not OFFSET:LIMIT"));
  }
  OutputFile file(command.output.empty() ? "-" : command.output, context.out());
  const auto on_chunk = [&](std::string_view chunk) { return file.Write(chunk); };
  TIFFIN_RETURN_IF_ERROR(client.DerefTo(source.ref, offset, limit, on_chunk).status());
  return file.Commit();
}

absl::StatusOr<int> RunDeref(const DerefCommand& command, Context& context) {
  if (!command.slice.empty() && !command.range.empty()) {
    return WrongUse("deref: --slice or --range, not both");
  }
  Client client = context.MakeClient();
  TIFFIN_ASSIGN_OR_RETURN(const Source source, Ask(command, client, context));
  if (!command.slice.empty()) {
    TIFFIN_RETURN_IF_ERROR(DerefSlice(command, source, client, context));
  } else if (!command.range.empty()) {
    TIFFIN_RETURN_IF_ERROR(DerefRange(command, source, client, context));
  } else if (!command.output.empty()) {
    TIFFIN_RETURN_IF_ERROR(WriteWhole(command, source, client, context));
  } else {
    TIFFIN_RETURN_IF_ERROR(Show(source, nullptr, client, context));
  }
  return kDone;
}

}  // namespace

void AddDerefCommand(CLI::App* app, Command* chosen) {
  CLI::App* deref = app->add_subcommand("deref", "Brings the data that a ref stands for");
  auto options = std::make_shared<DerefCommand>();
  deref->add_option("KEY|RECORD", options->target, kTargetHelp)->required();
  deref->add_flag("--value", options->value, "KEY is that of a value (second ref form)");
  deref->add_option("-o,--output", options->output,
                    "Write to this file, or - : arrays as .npy, bytes and values as they are; "
                    "without it, a summary is shown");
  deref->add_option("--slice", options->slice, "As numpy: 0:10,::2 (nothing negative)");
  deref->add_option("--range", options->range, "Bytes OFFSET:LIMIT, as they are");
  deref->add_flag("--raw", options->raw, "With -o: C-order bytes without a header");
  deref->callback(
      [=] { *chosen = [options](Context& context) { return RunDeref(*options, context); }; });
}

}  // namespace tiffin::cli
