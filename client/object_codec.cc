#include "client/object_codec.h"

#include <cxxabi.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <system_error>
#include <utility>
#include <vector>

#include "client/object_ref.h"
#include "common/base64.h"
#include "common/cbor.h"
#include "common/json.h"
#include "common/serialiser.h"
#include "common/strings.h"
#include "common/utf8.h"

namespace tiffin {
namespace {

constexpr std::string_view kNoodlesVersion = "0.3.0";
constexpr size_t kMaxShown = 200;

List Names(const std::vector<std::filesystem::path>& files) {
  List names;
  for (const std::filesystem::path& file : files) names.emplace_back(file.string());
  return names;
}

}  // namespace

absl::StatusOr<std::string> ReadWholeFile(const std::filesystem::path& file) {
  std::error_code error;
  std::ifstream in(file, std::ios::binary);
  if (!std::filesystem::is_regular_file(file, error) || !in) {
    return absl::NotFoundError(StrCat("file ", file.string(), " cannot be read"));
  }
  std::string content;
  std::vector<char> part(size_t{1} << 20);
  while (in.read(part.data(), static_cast<std::streamsize>(part.size())) || in.gcount() > 0) {
    content.append(part.data(), static_cast<size_t>(in.gcount()));
  }
  if (in.bad())
    return absl::UnavailableError(StrCat("file ", file.string(), ": reading it failed"));
  return content;
}

std::string HostOf(const std::string& told) {
  if (!told.empty()) return told;
  const char* host = std::getenv("TIFFIN_HOST");
  if (host != nullptr && *host != '\0') return host;
  char name[256] = "";
  return gethostname(name, sizeof name - 1) == 0 ? name : "unknown";
}

std::string TypeName(const std::type_info& type) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(
      abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), std::free);
  return status == 0 ? name.get() : type.name();
}

absl::Status ExpectedError(const PathLink& where, std::string_view what, const Value& found) {
  std::string text(found.KindName());
  if (const Object* record = AsRecord(found)) {
    text = StrCat("a record ", CutUtf8(ToValidUtf8(RecordType(*record)), kMaxShown), " ",
                  CutUtf8(ToValidUtf8(RecordClass(*record)), kMaxShown));
  }
  return BadRecord(where, StrCat("expected ", what, ", found ", text));
}

Value MakeRecord(std::string_view type, std::string_view class_name, Value data) {
  return Object{{"_noodles", kNoodlesVersion},
                {"type", type},
                {"class", class_name},
                {"data", std::move(data)}};
}

Encoder::Encoder(const ObjectRegistry* registry, EncodeOptions options)
    : registry_(registry), options_(std::move(options)) {
  options_.host = HostOf(options_.host);
}

absl::StatusOr<Value> Encoder::EncodeArray(std::string_view class_name, std::string_view dtype,
                                           const Shape& shape, std::string_view bytes) const {
  const bool plain = class_name == kBytesClass;
  if (bytes.size() < options_.inline_limit || (plain && options_.blobs == nullptr)) {
    std::string text(bytes);
    if (!plain) {
      TIFFIN_ASSIGN_OR_RETURN(text, WriteNpy({std::string(dtype), shape, std::move(text)}));
    }
    return MakeRecord(kObjectType, class_name, Base64Encode(text));
  }
  if (options_.blobs == nullptr) {
    return absl::FailedPreconditionError(StrCat("an array of ", bytes.size(),
                                                " bytes is uploaded, never written into a record: "
                                                "give EncodeOptions::blobs"));
  }
  TIFFIN_ASSIGN_OR_RETURN(const BlobName name, options_.blobs->Put(dtype, shape, bytes));
  return Client::RefRecord(name, class_name);
}

absl::StatusOr<Value> Pack::Finish(Value data, const PackOptions& options) const {
  const bool name_files = !options.files.empty() && !options.upload;
  if (options.upload) {
    TIFFIN_ASSIGN_OR_RETURN(data, encoder_->WithFiles(std::move(data), options.files));
  }
  Value value = MakeRecord(type_, class_name_, std::move(data));
  Object& record = *value.if_object();
  if (options.ref) record.Set("ref", true);
  if (name_files) {
    record.Set("host", encoder_->options().host);
    record.Set("files", Names(options.files));
  }
  return value;
}

absl::StatusOr<Value> Encoder::WithFiles(Value data,
                                         const std::vector<std::filesystem::path>& names) const {
  if (options_.blobs == nullptr) {
    return absl::FailedPreconditionError("files are to be uploaded: give EncodeOptions::blobs");
  }
  Object files;
  for (const std::filesystem::path& file : names) {
    TIFFIN_ASSIGN_OR_RETURN(const std::string content, ReadWholeFile(file));
    TIFFIN_ASSIGN_OR_RETURN(const BlobName name,
                            options_.blobs->Put(kBytesDType, {content.size()}, content));
    files.Set(file.string(), Client::RefRecord(name, kBytesClass));
  }
  return MakeRecord(kObjectType, kFilesClass,
                    Object{{"value", std::move(data)}, {"files", std::move(files)}});
}

absl::StatusOr<std::optional<Value>> Decoder::Resolve(const Value& value,
                                                      const PathLink& where) const {
  const Object* record = AsRecord(value);
  if (record == nullptr || !HasRef(*record)) return std::nullopt;
  const auto lacking = [&where](std::string_view what) {
    return Annotate(absl::FailedPreconditionError(ToAbsl(what)), where.text());
  };
  TIFFIN_ASSIGN_OR_RETURN(const std::optional<RecordRef> ref, RefOf(*record, where));
  if (!options_.deref) {
    return lacking(StrCat("it is a ref", ref ? StrCat(" to ", RefText(*ref)) : "",
                          ": decode it as a Ref<T>, or set DecodeOptions::deref"));
  }
  // Data that is here although it is marked, or an array.
  if (!ref.has_value() || std::holds_alternative<BlobName>(*ref)) return std::nullopt;
  if (options_.blobs == nullptr) {
    return lacking(StrCat("to bring ", RefText(*ref), ", give DecodeOptions::blobs"));
  }
  absl::StatusOr<std::string> text = FetchWhole(*options_.blobs, *ref);
  if (!text.ok()) return Annotate(text.status(), where.text());
  absl::StatusOr<Value> data = DataOfRef(*record, *ref, *std::move(text));
  if (!data.ok()) return Annotate(data.status(), where.text());
  Value whole = value;
  *whole.if_object()->Find("data") = *std::move(data);
  whole.if_object()->Erase("ref");
  absl::StatusOr<Digest> digest = BodyDigest(*whole.if_object());
  if (!digest.ok()) return Annotate(digest.status(), where.text());
  if (*digest != std::get<ValueRef>(*ref).value) {
    return Annotate(absl::DataLossError(StrCat(RefText(*ref), ": the text does not match")),
                    where.text());
  }
  return whole;
}

std::string RefRecordText(const Value& value) {
  const Object* record = AsRecord(value);
  if (record == nullptr) return StrCat("Ref(", value.KindName(), ")");
  std::string text = StrCat("Ref(", ToValidUtf8(RecordClass(*record)));
  const absl::StatusOr<std::optional<RecordRef>> ref = RefOf(*record);
  if (ref.ok() && ref->has_value()) {
    StrAppend(&text, ", ", RefText(**ref));
  } else if (NamesFiles(*record)) {
    StrAppend(&text, ", files ", PrintJson(*record->Find("files")));
    const Value* host = record->Find("host");
    if (host != nullptr && host->if_string()) StrAppend(&text, " on ", *host->if_string());
  }
  return text + ")";
}

Unpack::Unpack(const Decoder* decoder, const Value* record, const PathLink* where)
    : decoder_(decoder), record_(record->if_object()), data_path_(*where, "data") {
  static const Value& none = *new Value();
  data_ = record_->Find("data");
  if (data_ == nullptr) data_ = &none;
  if (!IsRecordOf(*data_, kObjectType, kFilesClass)) return;
  const Value* inner = data_->if_object()->Find("data");
  if (inner == nullptr || inner->if_object() == nullptr) return;
  const Value* value = inner->if_object()->Find("value");
  const Value* files = inner->if_object()->Find("files");
  if (value == nullptr || files == nullptr || files->if_object() == nullptr) return;
  data_ = value;
  uploaded_ = files->if_object();
}

absl::StatusOr<const Value*> Unpack::FindMember(std::string_view name) const {
  if (data_->if_object() == nullptr || AsRecord(*data_) != nullptr) {
    return ExpectedError(data_path_, "an object", *data_);
  }
  const Value* member = data_->if_object()->Find(name);
  if (member == nullptr) return BadRecord(PathLink(data_path_, name), "is missing");
  return member;
}

absl::StatusOr<std::string> Unpack::File(std::string_view name) const {
  if (const Value* blob = uploaded_ == nullptr ? nullptr : uploaded_->Find(name)) {
    const Object* record = AsRecord(*blob);
    if (record == nullptr) return ExpectedError(data_path_, "a ref to the file", *blob);
    if (const std::optional<std::string> bytes = InlineBytes(*record)) return *bytes;
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<RecordRef> ref, RefOf(*record, data_path_));
    if (!ref) return ExpectedError(data_path_, "a ref to the file", *blob);
    const auto& blobs = decoder_->options().blobs;
    if (blobs == nullptr) {
      return absl::FailedPreconditionError(
          StrCat("to bring ", name, ", give DecodeOptions::blobs"));
    }
    return FetchWhole(*blobs, *ref);
  }
  const Value* files = record_->Find("files");
  bool named = false;
  if (files != nullptr && files->if_list() != nullptr) {
    for (const Value& file : *files->if_list()) named = named || file == Value(name);
  }
  if (!named) return absl::NotFoundError(StrCat("the object has no file ", name));
  const Value* host = record_->Find("host");
  const std::string on = host != nullptr && host->if_string() ? *host->if_string() : "";
  if (!on.empty() && on != HostOf("")) {
    return absl::FailedPreconditionError(
        StrCat("file ", name, " is on host ", on, ", this is ", HostOf("")));
  }
  return ReadWholeFile(std::string(name));
}

absl::Status Unpack::Error(std::string_view what) const { return BadRecord(data_path_, what); }

}  // namespace tiffin
