// Records that somebody else made (Noodles, a file) and that a C++ program sends on: what DESIGN.md
// 2 has client libraries do with them.
#include <utility>

#include "client/object_codec.h"
#include "common/base64.h"
#include "common/serialiser.h"

namespace tiffin {
namespace {

constexpr std::string_view kArrayClass = "numpy.ndarray";

class RecordEncoder {
 public:
  explicit RecordEncoder(const Encoder& encoder) : encoder_(encoder), options_(encoder.options()) {}

  absl::Status Visit(Value* value) const {
    if (List* list = value->if_list()) {
      for (Value& item : *list) TIFFIN_RETURN_IF_ERROR(Visit(&item));
    } else if (Object* object = value->if_object()) {
      for (auto& [name, member] : *object) TIFFIN_RETURN_IF_ERROR(Visit(&member));
      if (IsRecord(*object)) return VisitRecord(object);
    }
    return absl::OkStatus();
  }

 private:
  absl::Status VisitRecord(Object* record) const {
    if (!NamesFiles(*record)) return UploadBulk(record);
    const Value* host = record->Find("host");
    if (host == nullptr || host->is_null()) record->Set("host", options_.host);
    if (!options_.upload_files || *record->Find("host") != Value(options_.host)) {
      return absl::OkStatus();
    }
    return RecordType(*record) == kObjectType ? UploadArrayFile(record) : UploadFiles(record);
  }

  // An inline array or bytes leaves, as one in memory would.
  absl::Status UploadBulk(Object* record) const {
    const Value* data = record->Find("data");
    const std::string* text = data == nullptr ? nullptr : data->if_string();
    if (options_.blobs == nullptr || text == nullptr ||
        text->size() / 4 * 3 < options_.inline_limit) {
      return absl::OkStatus();
    }
    const std::optional<Array> array = InlineBulk(*record);
    if (!array.has_value() || array->bytes.size() < options_.inline_limit) return absl::OkStatus();
    return BecomeRef(*array, record);
  }

  // An array that Noodles wrote to a file. Other <object> records (a Path) stay.
  absl::Status UploadArrayFile(Object* record) const {
    const Value* data = record->Find("data");
    if (RecordClass(*record) != kArrayClass || data == nullptr) return absl::OkStatus();
    const std::string* file = data->if_string();
    if (file == nullptr) return UploadHdf5(*data, record);
    TIFFIN_ASSIGN_OR_RETURN(const std::string content, ReadWholeFile(*file));
    absl::StatusOr<Array> array = ReadNpy(content);
    if (!array.ok()) return Annotate(array.status(), *file);
    return BecomeRef(*array, record);
  }

  // {"filename", "hdf5_path"} as the seed has it, or {"filename", "path"}: a dataset of a HDF5
  // file.
  absl::Status UploadHdf5(const Value& data, Object* record) const {
    const Object* place = data.if_object();
    if (place == nullptr || !options_.read_hdf5) return absl::OkStatus();
    const Value* path = place->Find(place->Find("hdf5_path") != nullptr ? "hdf5_path" : "path");
    const Value* file = place->Find("filename");
    if (path == nullptr || path->if_string() == nullptr || file == nullptr ||
        file->if_string() == nullptr) {
      return absl::OkStatus();
    }
    TIFFIN_ASSIGN_OR_RETURN(const Array array,
                            options_.read_hdf5(*file->if_string(), *path->if_string()));
    return BecomeRef(array, record);
  }

  // An object that belongs to files: they go with it, as with PackOptions::upload.
  absl::Status UploadFiles(Object* record) const {
    std::vector<std::filesystem::path> files;
    const List* names = record->Find("files")->if_list();
    if (names == nullptr) return absl::InvalidArgumentError("`files` of a record is no list");
    for (const Value& name : *names) {
      if (name.if_string() == nullptr)
        return absl::InvalidArgumentError("a name of a file is no string");
      files.emplace_back(*name.if_string());
    }
    Value* data = record->Find("data");
    TIFFIN_ASSIGN_OR_RETURN(
        Value whole, encoder_.WithFiles(data == nullptr ? Value() : std::move(*data), files));
    record->Set("data", std::move(whole));
    record->Erase("host");
    record->Erase("files");
    return absl::OkStatus();
  }

  absl::Status BecomeRef(const Array& array, Object* record) const {
    if (options_.blobs == nullptr) {
      return absl::FailedPreconditionError("an array is to be uploaded: give EncodeOptions::blobs");
    }
    TIFFIN_ASSIGN_OR_RETURN(const BlobName name,
                            options_.blobs->Put(array.dtype, array.shape, array.bytes));
    record->Set("data", RefData(name));
    record->Erase("ref");
    record->InsertBefore("data", "ref", true);  // after `data` it would be the sender's own
    record->Erase("host");
    record->Erase("files");
    return absl::OkStatus();
  }

  const Encoder& encoder_;
  const EncodeOptions& options_;
};

}  // namespace

absl::StatusOr<Value> Encoder::EncodeRecords(Value value) const {
  TIFFIN_RETURN_IF_ERROR(RecordEncoder(*this).Visit(&value));
  return value;
}

}  // namespace tiffin
