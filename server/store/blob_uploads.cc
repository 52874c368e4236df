// Blobs on their way in.
#include <algorithm>
#include <utility>

#include "common/json.h"
#include "common/status.h"
#include "server/store/blob_catalogue.h"
#include "server/store/damaged.h"

namespace tiffin::server {
namespace {

// Of JSON text that this server printed itself.
constexpr JsonLimits kOwnText = {.max_text_bytes = size_t{128} << 20,
                                 .max_nesting = kMaxJsonNesting,
                                 .max_entries = size_t{1} << 32,
                                 .max_integer_digits = size_t{16} << 20,
                                 .max_tree_bytes = size_t{1} << 30};

absl::StatusOr<uint64_t> CheckedSize(const BlobName& name) {
  absl::StatusOr<DType> dtype = ParseDType(name.dtype);
  if (!dtype.ok()) return Annotate(dtype.status(), "name.dtype");
  if (dtype->has_object()) {
    return absl::InvalidArgumentError("name.dtype: arrays of objects cannot be stored");
  }
  if (DTypeName(*dtype) != name.dtype) {
    return absl::InvalidArgumentError(
        absl::StrCat("name.dtype: '", name.dtype, "' is written '", DTypeName(*dtype), "'"));
  }
  absl::StatusOr<uint64_t> size = ArrayBytes(*dtype, name.shape);
  if (!size.ok()) return Annotate(size.status(), "name.shape");
  return size;
}

absl::Status WrongKey(const Digest& told, const Digest& found) {
  return absl::InvalidArgumentError(
      absl::StrCat("name.key: the bytes have the key ", found.ToText(), ", not ", told.ToText()));
}

}  // namespace

absl::Status Upload::Append(std::span<const std::string_view> parts) {
  size_t bytes = 0;
  for (const std::string_view part : parts) bytes += part.size();
  if (bytes > size_ - written_) {
    writer_->Refuse();
    return absl::InvalidArgumentError(
        absl::StrCat("more than the ", size_, " bytes that dtype and shape tell"));
  }
  TIFFIN_RETURN_IF_ERROR(writer_->Append(parts));
  written_ += bytes;
  for (const std::string_view part : parts) hash_.Update(part);
  return absl::OkStatus();
}

absl::Status Upload::CheckComplete() const {
  if (written_ == size_) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the upload ended after ", written_, " of ", size_, " bytes"));
}

absl::StatusOr<std::vector<RowId>> BlobCatalogue::PinKnown(const std::vector<BlobName>& names) {
  std::vector<RowId> rows;
  const auto look = [&](JobReader& reader) -> absl::Status {
    rows.assign(names.size(), 0);
    for (size_t i = 0; i < names.size(); ++i) {
      TIFFIN_ASSIGN_OR_RETURN(const std::optional<BlobRow> row, reader.FindBlob(names[i]));
      if (row && !IsDamaged(*row)) rows[i] = row->id;
    }
    return absl::OkStatus();
  };
  TIFFIN_RETURN_IF_ERROR(database_->Read(look));
  bool any = false;
  for (const RowId row : rows) {
    if (row == 0) continue;
    pins_.Pin(row);
    any = true;
  }
  if (any) TIFFIN_RETURN_IF_ERROR(database_->Read(look));  // see Pins::Pin
  return rows;
}

absl::StatusOr<std::vector<NewBlob>> BlobCatalogue::MakeDurable(std::vector<TakenBulk> bulk) {
  std::vector<NewBlob> out;
  if (bulk.empty()) return out;
  std::vector<BlobName> names;
  for (const TakenBulk& item : bulk) names.push_back(item.name);
  TIFFIN_ASSIGN_OR_RETURN(const std::vector<RowId> known, PinKnown(names));
  std::vector<BlobBytes> small;
  std::vector<size_t> small_at;
  for (size_t i = 0; i < bulk.size(); ++i) {
    const TakenBulk& item = bulk[i];
    NewBlob blob{item.name, item.array.bytes.size(), {}, {}, nullptr};
    if (item.value) {
      blob.value = item.value->value;
      TIFFIN_ASSIGN_OR_RETURN(const Value text, ParseJson(item.array.bytes, kOwnText));
      TIFFIN_ASSIGN_OR_RETURN(blob.holds, RefsIn(text));
    }
    if (known[i] == 0) TIFFIN_RETURN_IF_ERROR(CheckRoom());
    if (known[i] == 0 && blob.size < kSmallBlob) {
      small.push_back({item.name, item.array.bytes});
      small_at.push_back(i);
    } else if (known[i] == 0) {
      TIFFIN_ASSIGN_OR_RETURN(std::unique_ptr<BlobWriter> writer,
                              store_->Create(item.name.dtype, item.name.shape, blob.size));
      const std::string_view bytes = item.array.bytes;
      TIFFIN_RETURN_IF_ERROR(writer->Append({&bytes, 1}));
      TIFFIN_ASSIGN_OR_RETURN(StoredBlob stored, writer->Commit(item.name.key));
      blob.stored = Pending(std::move(stored));
    }
    out.push_back(std::move(blob));
  }
  if (small.empty()) return out;
  NoteSmallPut();
  TIFFIN_ASSIGN_OR_RETURN(std::vector<StoredBlob> stored, store_->Store(small));
  for (size_t i = 0; i < stored.size(); ++i)
    out[small_at[i]].stored = Pending(std::move(stored[i]));
  return out;
}

absl::StatusOr<RowId> BlobCatalogue::Enter(JobTransaction& tx, RowId namespace_id,
                                           const NewBlob& blob, absl::Time now) {
  RowId id = 0;
  std::optional<BlobRow> row;
  if (blob.value) {
    // The first text of a value stays; another one with the same E is the same value.
    TIFFIN_ASSIGN_OR_RETURN(row, tx.FindValue(*blob.value));
  }
  const bool other_text = row && row->name != blob.name;
  if (!row) {
    TIFFIN_ASSIGN_OR_RETURN(row, tx.FindBlob(blob.name));
  }
  if (blob.stored) blob.stored->set_entered(false);  // of an operation that is run again
  if (row && !IsDamaged(*row)) {
    // An equal blob was first: what was written beside it is dead space, or taken back.
    id = row->id;
  } else if (!blob.stored || other_text) {
    return absl::AbortedError(
        StrCat(blob.name.ToText(), ": the blob has been removed or damaged meanwhile: try again"));
  } else {
    const StoredBlob& stored = blob.stored->blob();
    if (row) {
      id = row->id;
      TIFFIN_RETURN_IF_ERROR(tx.MoveBlob(id, stored.location, stored.checksums));
    } else {
      TIFFIN_ASSIGN_OR_RETURN(
          id, tx.InsertBlob({0, blob.name, blob.size, stored.location, stored.checksums, now}));
    }
    const std::string pack(PackOf(stored.location));
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<PackRow> pack_row, tx.FindPack(pack));
    if (pack_row && pack_row->state == PackState::kPending) {
      TIFFIN_RETURN_IF_ERROR(tx.PutPack({pack, PackState::kSealed}));
    }
    blob.stored->set_entered(true);
  }
  TIFFIN_RETURN_IF_ERROR(tx.ShowBlob(namespace_id, id));
  if (!blob.value) return id;
  TIFFIN_RETURN_IF_ERROR(tx.PutValue(*blob.value, id));
  for (const RecordRef& ref : blob.holds) {
    std::optional<BlobRow> inner;
    if (const auto* name = std::get_if<BlobName>(&ref)) {
      TIFFIN_ASSIGN_OR_RETURN(inner, tx.FindBlob(*name));
    } else {
      TIFFIN_ASSIGN_OR_RETURN(inner, tx.FindValue(std::get<ValueRef>(ref).value));
    }
    // A ref to what is absent is refused, or told, by whoever stores the record.
    if (inner && inner->id != id) TIFFIN_RETURN_IF_ERROR(tx.AddHold(id, inner->id));
  }
  return id;
}

void BlobCatalogue::Settle(const absl::Status& committed, std::span<const NewBlob> blobs) {
  if (committed.ok() || absl::IsUnavailable(committed)) return;
  for (const NewBlob& blob : blobs) {
    if (blob.stored) blob.stored->set_entered(false);
  }
}

absl::StatusOr<std::variant<PutOutcome, std::unique_ptr<Upload>>> BlobCatalogue::BeginPut(
    std::string_view name_space, const BlobName& name, bool key_known, uint64_t offset,
    const std::function<bool()>& gone) {
  TIFFIN_ASSIGN_OR_RETURN(const uint64_t size, CheckedSize(name));
  if (key_known) {
    TIFFIN_ASSIGN_OR_RETURN(const Missing missing, FindMissing(name_space, {RecordRef(name)}));
    if (missing.empty()) return PutOutcome{name, size, true};
  }
  TIFFIN_RETURN_IF_ERROR(CheckRoom());
  const bool resumable = key_known && size >= kSmallBlob;
  if (offset > 0 && (!resumable || offset > size)) {
    return absl::InvalidArgumentError(
        offset > size ? StrCat("offset: ", offset, ", the blob has ", size, " bytes")
                      : "offset: only an upload of 1 MiB or more, with its key, can be resumed");
  }
  auto upload = std::make_unique<Upload>();
  upload->name_ = name;
  upload->key_known_ = key_known;
  upload->size_ = size;
  upload->hash_ = StartBlobKey(name.dtype, name.shape);
  if (resumable) {
    TIFFIN_ASSIGN_OR_RETURN(
        upload->writer_, store_->Resume(name_space, name, size, offset,
                                        [&](std::string_view before) -> absl::Status {
                                          if (gone())
                                            return absl::CancelledError("the upload was given up");
                                          upload->hash_.Update(before);
                                          return absl::OkStatus();
                                        }));
    upload->written_ = offset;
    upload->resumed_ = offset > 0;
  } else {
    TIFFIN_ASSIGN_OR_RETURN(upload->writer_, store_->Create(name.dtype, name.shape, size));
  }
  return upload;
}

absl::StatusOr<UploadProgress> BlobCatalogue::QueryPut(std::string_view name_space,
                                                       const BlobName& name) {
  TIFFIN_RETURN_IF_ERROR(CheckedSize(name).status());
  TIFFIN_ASSIGN_OR_RETURN(const Missing missing, FindMissing(name_space, {RecordRef(name)}));
  if (missing.empty()) return UploadProgress{.exists = true};
  return UploadProgress{.exists = false,
                        .received = store_->Received(name_space, name),
                        .sending = store_->BeingWritten(name_space, name)};
}

absl::StatusOr<PutOutcome> BlobCatalogue::FinishPut(std::string_view name_space,
                                                    std::unique_ptr<Upload> upload) {
  TIFFIN_RETURN_IF_ERROR(upload->CheckComplete());
  const Digest key = upload->hash_.Finish();
  if (upload->key_known_ && key != upload->name_.key) {
    upload->writer_->Refuse();
    // Perhaps it is what had come before, cut by a power cut, that is wrong.
    if (upload->resumed_) {
      return absl::FailedPreconditionError(
          "offset: what had come before does not have the key: send it all again");
    }
    return WrongKey(upload->name_.key, key);
  }
  BlobName name = upload->name_;
  name.key = key;
  TIFFIN_ASSIGN_OR_RETURN(const std::vector<RowId> known, PinKnown({name}));
  NewBlob blob{name, upload->size_, {}, {}, nullptr};
  if (known[0] == 0) {
    TIFFIN_RETURN_IF_ERROR(CheckRoom());
    if (blob.size < kSmallBlob) NoteSmallPut();
    TIFFIN_ASSIGN_OR_RETURN(StoredBlob stored, upload->writer_->Commit(key));
    blob.stored = Pending(std::move(stored));
  } else {
    upload->writer_->Refuse();  // an equal one was first
  }
  upload.reset();
  bool first = false;
  const absl::Status committed = database_->WriteAndWait([&](JobTransaction& tx) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const RowId ns, tx.EnsureNamespace(name_space));
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<BlobRow> row, tx.FindBlob(name));
    first = !row.has_value();
    TIFFIN_ASSIGN_OR_RETURN(const RowId id, Enter(tx, ns, blob, clock_->Now()));
    pins_.Pin(id);
    return absl::OkStatus();
  });
  Settle(committed, {&blob, 1});
  TIFFIN_RETURN_IF_ERROR(committed);
  return PutOutcome{name, blob.size, !first};
}

std::vector<absl::StatusOr<PutOutcome>> BlobCatalogue::PutSmall(std::string_view name_space,
                                                                std::vector<SmallPut> blobs) {
  std::vector<absl::StatusOr<PutOutcome>> out;
  std::vector<TakenBulk> bulk;
  std::vector<size_t> at;
  for (SmallPut& put : blobs) {
    out.emplace_back(absl::UnknownError(""));
    absl::StatusOr<uint64_t> size = CheckedSize(put.name);
    if (!size.ok()) {
      out.back() = size.status();
    } else if (put.bytes.size() >= kSmallBlob) {
      out.back() = absl::InvalidArgumentError("data: 1 MiB or more, use Put");
    } else if (*size != put.bytes.size()) {
      out.back() = absl::InvalidArgumentError(
          absl::StrCat("data: ", put.bytes.size(), " bytes, dtype and shape tell ", *size));
    } else {
      TakenBulk item{{put.name.dtype, put.name.shape, std::move(put.bytes)}, {}, {}};
      item.name = item.array.Name();
      if (put.key_known && item.name.key != put.name.key) {
        out.back() = WrongKey(put.name.key, item.name.key);
        continue;
      }
      at.push_back(out.size() - 1);
      bulk.push_back(std::move(item));
    }
  }
  absl::StatusOr<std::vector<NewBlob>> durable = MakeDurable(std::move(bulk));
  absl::Status status = durable.status();
  if (status.ok()) {
    status = database_->WriteAndWait([&](JobTransaction& tx) -> absl::Status {
      TIFFIN_ASSIGN_OR_RETURN(const RowId ns, tx.EnsureNamespace(name_space));
      for (const NewBlob& blob : *durable) {
        TIFFIN_ASSIGN_OR_RETURN(const RowId id, Enter(tx, ns, blob, clock_->Now()));
        pins_.Pin(id);
      }
      return absl::OkStatus();
    });
    Settle(status, *durable);
  }
  for (size_t i = 0; i < at.size(); ++i) {
    if (status.ok()) {
      const NewBlob& blob = (*durable)[i];
      out[at[i]] = PutOutcome{blob.name, blob.size, blob.stored == nullptr};
    } else {
      out[at[i]] = status;
    }
  }
  return out;
}

}  // namespace tiffin::server
