#include "server/store/blob_catalogue.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>
#include <utility>

#include "common/status.h"

namespace tiffin::server {
namespace {

constexpr int kStatJobs = 100;  // jobs listed by Stat, each way

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
  return absl::InvalidArgumentError(absl::StrCat("name.key: the bytes have the key ",
                                                 found.ToText(), ", not ", told.ToText()));
}

}  // namespace

std::string Missing::ToText() const {
  std::string out = absl::StrCat(blobs.size() + values.size(), " blobs are absent:");
  size_t shown = 0;
  for (const BlobName& blob : blobs) {
    if (++shown <= 5) absl::StrAppend(&out, " ", blob.ToText(), ";");
  }
  for (const Digest& value : values) {
    if (++shown <= 5) absl::StrAppend(&out, " value ", value.ToText(), ";");
  }
  out.back() = shown > 5 ? ' ' : '.';
  return shown > 5 ? out + "and more" : out.substr(0, out.size() - 1);
}

absl::Status Upload::Append(std::string_view bytes) {
  if (bytes.size() > size_ - written_) {
    return absl::InvalidArgumentError(
        absl::StrCat("more than the ", size_, " bytes that dtype and shape tell"));
  }
  written_ += bytes.size();
  hash_.Update(bytes);
  return writer_->Append(bytes);
}

BlobCatalogue::BlobCatalogue(JobDatabase* database, BlobStore* store, Clock* clock)
    : database_(database), store_(store), clock_(clock) {}

BlobCatalogue::~BlobCatalogue() { Stop(); }

absl::Status BlobCatalogue::Start() {
  std::vector<KnownPack> known;
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    for (const PackState state : {PackState::kPending, PackState::kOpen}) {
      TIFFIN_ASSIGN_OR_RETURN(const std::vector<PackRow> packs, reader.AllPacks(state));
      for (const PackRow& pack : packs) {
        known.push_back({pack.name, state == PackState::kPending, state == PackState::kOpen});
      }
    }
    return absl::OkStatus();
  }));
  TIFFIN_RETURN_IF_ERROR(store_->Start(this, known));
  TIFFIN_RETURN_IF_ERROR(database_->WriteAndWait([&](JobTransaction& tx) -> absl::Status {
    for (const KnownPack& pack : known) {
      if (pack.pending) TIFFIN_RETURN_IF_ERROR(tx.DeletePack(pack.name));
    }
    return absl::OkStatus();
  }));
  work_ = true;
  sealer_ = std::thread([this] { SealInBackground(); });
  return absl::OkStatus();
}

void BlobCatalogue::Stop() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    wake_.notify_all();
  }
  if (sealer_.joinable()) sealer_.join();
}

void BlobCatalogue::SealInBackground() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stop_ || work_; });
    if (stop_) return;
    work_ = false;
    lock.unlock();
    const absl::StatusOr<SealCounts> counts = Seal(false);
    if (!counts.ok()) spdlog::warn("event=seal error=\"{}\"", counts.status().ToString());
    lock.lock();
  }
}

absl::Status BlobCatalogue::Announce(std::string_view pack, bool open) {
  if (open) {
    // A new open pack follows a full one, mostly.
    std::lock_guard lock(mutex_);
    work_ = true;
    wake_.notify_all();
  }
  const PackRow row{std::string(pack), open ? PackState::kOpen : PackState::kPending};
  return database_->WriteAndWait([row](JobTransaction& tx) { return tx.PutPack(row); });
}

absl::StatusOr<std::vector<NewBlob>> BlobCatalogue::MakeDurable(std::vector<TakenBulk> bulk) {
  std::vector<NewBlob> out;
  std::vector<BlobBytes> small;
  std::vector<size_t> small_at;
  for (const TakenBulk& item : bulk) {
    NewBlob blob{item.name, item.array.bytes.size(), {}, {}};
    if (item.value) blob.value = item.value->value;
    bool known = false;
    TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
      TIFFIN_ASSIGN_OR_RETURN(const std::optional<BlobRow> row, reader.FindBlob(item.name));
      known = row.has_value();
      return absl::OkStatus();
    }));
    if (!known && blob.size < kSmallBlob) {
      small.push_back({item.name, item.array.bytes});
      small_at.push_back(out.size());
    } else if (!known) {
      TIFFIN_ASSIGN_OR_RETURN(std::unique_ptr<BlobWriter> writer,
                              store_->Create(item.name.dtype, item.name.shape, blob.size));
      TIFFIN_RETURN_IF_ERROR(writer->Append(item.array.bytes));
      TIFFIN_ASSIGN_OR_RETURN(blob.stored, writer->Commit(item.name.key));
    }
    out.push_back(std::move(blob));
  }
  if (!small.empty()) {
    TIFFIN_ASSIGN_OR_RETURN(std::vector<StoredBlob> stored, store_->Store(small));
    for (size_t i = 0; i < stored.size(); ++i) out[small_at[i]].stored = std::move(stored[i]);
  }
  return out;
}

absl::StatusOr<RowId> BlobCatalogue::Enter(JobTransaction& tx, RowId namespace_id,
                                           const NewBlob& blob, absl::Time now) {
  RowId id = 0;
  TIFFIN_ASSIGN_OR_RETURN(const std::optional<BlobRow> row, tx.FindBlob(blob.name));
  if (row) {
    // An equal blob was first: what was written beside it is dead space, reclaimed with its pack.
    id = row->id;
  } else if (blob.stored) {
    TIFFIN_ASSIGN_OR_RETURN(id, tx.InsertBlob({0, blob.name, blob.size, blob.stored->location,
                                               blob.stored->checksums, now}));
    const std::string pack(PackOf(blob.stored->location));
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<PackRow> pack_row, tx.FindPack(pack));
    if (pack_row && pack_row->state == PackState::kPending) {
      TIFFIN_RETURN_IF_ERROR(tx.PutPack({pack, PackState::kSealed}));
    }
  } else {
    return absl::AbortedError("a blob that was there has been removed meanwhile: try again");
  }
  TIFFIN_RETURN_IF_ERROR(tx.ShowBlob(namespace_id, id));
  if (blob.value) TIFFIN_RETURN_IF_ERROR(tx.PutValue(*blob.value, id));
  return id;
}

absl::StatusOr<Missing> BlobCatalogue::FindMissing(JobReader& reader, RowId namespace_id,
                                                   const std::vector<RecordRef>& refs,
                                                   std::vector<RowId>* found) {
  Missing missing;
  for (const RecordRef& ref : refs) {
    const auto* name = std::get_if<BlobName>(&ref);
    std::optional<BlobRow> row;
    if (name) {
      TIFFIN_ASSIGN_OR_RETURN(row, reader.FindBlob(*name));
    } else {
      TIFFIN_ASSIGN_OR_RETURN(row, reader.FindValue(std::get<ValueRef>(ref).value));
    }
    bool visible = false;
    if (row && namespace_id != 0) {
      TIFFIN_ASSIGN_OR_RETURN(visible, reader.BlobVisible(namespace_id, row->id));
    }
    if (visible) {
      if (found) found->push_back(row->id);
    } else if (name) {
      missing.blobs.push_back(*name);
    } else {
      missing.values.push_back(std::get<ValueRef>(ref).value);
    }
  }
  return missing;
}

absl::StatusOr<Missing> BlobCatalogue::FindMissing(std::string_view name_space,
                                                   const std::vector<RecordRef>& refs) {
  Missing missing;
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const RowId id, reader.FindNamespace(name_space));
    TIFFIN_ASSIGN_OR_RETURN(missing, FindMissing(reader, id, refs));
    return absl::OkStatus();
  }));
  return missing;
}

absl::StatusOr<std::variant<PutOutcome, std::unique_ptr<Upload>>> BlobCatalogue::BeginPut(
    std::string_view name_space, const BlobName& name, bool key_known) {
  TIFFIN_ASSIGN_OR_RETURN(const uint64_t size, CheckedSize(name));
  if (key_known) {
    TIFFIN_ASSIGN_OR_RETURN(const Missing missing, FindMissing(name_space, {RecordRef(name)}));
    if (missing.empty()) return PutOutcome{name, size, true};
  }
  auto upload = std::make_unique<Upload>();
  upload->name_ = name;
  upload->key_known_ = key_known;
  upload->size_ = size;
  upload->hash_ = StartBlobKey(name.dtype, name.shape);
  TIFFIN_ASSIGN_OR_RETURN(upload->writer_, store_->Create(name.dtype, name.shape, size));
  return upload;
}

absl::StatusOr<PutOutcome> BlobCatalogue::FinishPut(std::string_view name_space,
                                                    std::unique_ptr<Upload> upload) {
  if (upload->written_ != upload->size_) {
    return absl::InvalidArgumentError(absl::StrCat("the upload ended after ", upload->written_,
                                                   " of ", upload->size_, " bytes"));
  }
  const Digest key = upload->hash_.Finish();
  if (upload->key_known_ && key != upload->name_.key) return WrongKey(upload->name_.key, key);
  BlobName name = upload->name_;
  name.key = key;
  bool known = false;
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<BlobRow> row, reader.FindBlob(name));
    known = row.has_value();
    return absl::OkStatus();
  }));
  NewBlob blob{name, upload->size_, {}, {}};
  if (!known) {
    TIFFIN_ASSIGN_OR_RETURN(blob.stored, upload->writer_->Commit(key));
  }
  upload.reset();
  bool first = false;
  TIFFIN_RETURN_IF_ERROR(database_->WriteAndWait([&](JobTransaction& tx) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const RowId ns, tx.EnsureNamespace(name_space));
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<BlobRow> row, tx.FindBlob(name));
    first = !row.has_value();
    return Enter(tx, ns, blob, clock_->Now()).status();
  }));
  if (!first && blob.stored) store_->Discard(*blob.stored);
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
      out.back() = absl::InvalidArgumentError(absl::StrCat(
          "data: ", put.bytes.size(), " bytes, dtype and shape tell ", *size));
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
        TIFFIN_RETURN_IF_ERROR(Enter(tx, ns, blob, clock_->Now()).status());
      }
      return absl::OkStatus();
    });
  }
  for (size_t i = 0; i < at.size(); ++i) {
    if (status.ok()) {
      const NewBlob& blob = (*durable)[i];
      out[at[i]] = PutOutcome{blob.name, blob.size, !blob.stored.has_value()};
    } else {
      out[at[i]] = status;
    }
  }
  return out;
}

absl::StatusOr<BlobView> BlobCatalogue::Find(JobReader& reader, RowId namespace_id,
                                             const BlobAddress& address) {
  std::optional<BlobRow> row;
  bool json = false;
  std::string text;
  if (const auto* name = std::get_if<BlobName>(&address)) {
    text = name->ToText();
    TIFFIN_ASSIGN_OR_RETURN(row, reader.FindBlob(*name));
  } else if (const auto* value = std::get_if<ValueRef>(&address)) {
    text = absl::StrCat("value ", value->value.ToText());
    json = true;
    TIFFIN_ASSIGN_OR_RETURN(row, reader.FindValue(value->value));
  } else {
    const Digest& key = std::get<Digest>(address);
    text = key.ToText();
    TIFFIN_ASSIGN_OR_RETURN(const std::vector<BlobRow> rows,
                            reader.FindBlobsByKey(namespace_id, key));
    if (rows.size() > 1) {
      std::string message = absl::StrCat("the key names ", rows.size(), " blobs, say which:");
      for (const BlobRow& each : rows) absl::StrAppend(&message, " ", each.name.ToText(), ";");
      return absl::InvalidArgumentError(message);
    }
    if (!rows.empty()) row = rows[0];
  }
  bool visible = false;
  if (row && namespace_id != 0) {
    TIFFIN_ASSIGN_OR_RETURN(visible, reader.BlobVisible(namespace_id, row->id));
  }
  if (!visible) return absl::NotFoundError(absl::StrCat("no blob ", text));
  return BlobView{*std::move(row), json};
}

absl::StatusOr<BlobView> BlobCatalogue::Find(std::string_view name_space,
                                             const BlobAddress& address) {
  BlobView view;
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const RowId id, reader.FindNamespace(name_space));
    TIFFIN_ASSIGN_OR_RETURN(view, Find(reader, id, address));
    return absl::OkStatus();
  }));
  return view;
}

absl::StatusOr<BlobSlice> BlobCatalogue::Read(const BlobRow& blob, uint64_t offset,
                                              uint64_t length) {
  BlobRow row = blob;
  for (int attempt = 0;; ++attempt) {
    absl::StatusOr<BlobSlice> slice =
        store_->Read({row.location, row.checksums, nullptr}, row.size, offset, length);
    if (slice.ok() || !absl::IsNotFound(slice.status()) || attempt == 2) {
      // A file that the index names and that is gone is damage, not a miss.
      if (absl::IsNotFound(slice.status())) {
        return absl::DataLossError(absl::StrCat(row.name.ToText(), ": ", slice.status().message()));
      }
      return slice;
    }
    // Sealed away since the row was read.
    TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
      TIFFIN_ASSIGN_OR_RETURN(const std::optional<BlobRow> again, reader.FindBlob(row.id));
      if (!again) return absl::NotFoundError(absl::StrCat("no blob ", row.name.ToText()));
      row = *again;
      return absl::OkStatus();
    }));
  }
}

absl::StatusOr<std::string> BlobCatalogue::ReadWhole(RowId namespace_id, const RecordRef& ref) {
  BlobView view;
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    BlobAddress address;
    if (const auto* name = std::get_if<BlobName>(&ref)) address = *name;
    else address = std::get<ValueRef>(ref);
    TIFFIN_ASSIGN_OR_RETURN(view, Find(reader, namespace_id, address));
    return absl::OkStatus();
  }));
  TIFFIN_ASSIGN_OR_RETURN(const BlobSlice slice, Read(view.row, 0, view.row.size));
  return std::string(slice.bytes);
}

absl::StatusOr<BlobStat> BlobCatalogue::Stat(std::string_view name_space,
                                             const BlobAddress& address) {
  BlobStat stat;
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const RowId ns, reader.FindNamespace(name_space));
    TIFFIN_ASSIGN_OR_RETURN(stat.blob, Find(reader, ns, address));
    stat.pack = std::string(PackOf(stat.blob.row.location));
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<PackRow> pack, reader.FindPack(stat.pack));
    stat.sealed = pack && pack->state == PackState::kSealed;
    for (const BlobUse use : {BlobUse::kArgument, BlobUse::kResult}) {
      TIFFIN_ASSIGN_OR_RETURN(const std::vector<RowId> jobs,
                              reader.JobsUsing(ns, stat.blob.row.id, use, kStatJobs));
      for (const RowId id : jobs) {
        TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> job, reader.FindJob(id));
        if (job) (use == BlobUse::kResult ? stat.made_by : stat.used_by).push_back(job->key);
      }
    }
    return absl::OkStatus();
  }));
  return stat;
}

absl::Status BlobCatalogue::SealPack(const std::string& pack, SealCounts* counts) {
  std::vector<BlobRow> rows;
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(rows, reader.BlobsInPack(pack));
    return absl::OkStatus();
  }));
  std::vector<StoredBlob> moved;
  if (!rows.empty()) {
    std::vector<BlobToMove> blobs;
    for (const BlobRow& row : rows) blobs.push_back({row.name, row.size, row.location, row.checksums});
    TIFFIN_ASSIGN_OR_RETURN(moved, store_->Seal(blobs));
  }
  size_t damaged = 0;
  TIFFIN_RETURN_IF_ERROR(database_->WriteAndWait([&](JobTransaction& tx) -> absl::Status {
    damaged = 0;
    std::set<std::string> packs;
    for (size_t i = 0; i < rows.size(); ++i) {
      if (moved[i].location.empty()) {
        ++damaged;
        continue;
      }
      packs.insert(std::string(PackOf(moved[i].location)));
      TIFFIN_RETURN_IF_ERROR(tx.MoveBlob(rows[i].id, moved[i].location, moved[i].checksums));
    }
    for (const std::string& name : packs) {
      TIFFIN_RETURN_IF_ERROR(tx.PutPack({name, PackState::kSealed}));
    }
    // What is damaged stays for somebody to look at; the pack is never appended to again.
    return damaged == 0 ? tx.DeletePack(pack) : absl::OkStatus();
  }));
  if (damaged == 0) store_->Drop(pack);
  ++counts->packs;
  counts->blobs += rows.size() - damaged;
  counts->damaged += damaged;
  spdlog::info("event=sealed pack={} blobs={} damaged={}", pack, rows.size() - damaged, damaged);
  return absl::OkStatus();
}

absl::StatusOr<SealCounts> BlobCatalogue::Seal(bool all) {
  std::lock_guard lock(seal_mutex_);
  SealCounts counts;
  for (const std::string& pack : store_->PacksToSeal(all)) {
    TIFFIN_RETURN_IF_ERROR(Annotate(SealPack(pack, &counts), pack));
  }
  return counts;
}

}  // namespace tiffin::server
