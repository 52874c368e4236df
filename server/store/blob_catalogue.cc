// Finding and reading blobs. Uploads are in blob_uploads.cc, packs in blob_packs.cc.
#include "server/store/blob_catalogue.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "common/status.h"
#include "server/store/damaged.h"

namespace tiffin::server {
namespace {

constexpr int kStatJobs = 100;  // jobs listed by Stat, each way

// Whoever reads goes by dtype and shape.
bool HasItsSize(const BlobRow& row) {
  const absl::StatusOr<DType> dtype = ParseDType(row.name.dtype);
  if (!dtype.ok()) return false;
  const absl::StatusOr<uint64_t> bytes = ArrayBytes(*dtype, row.name.shape);
  return bytes.ok() && *bytes == row.size;
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

BlobCatalogue::BlobCatalogue(JobDatabase* database, BlobStore* store, Clock* clock, Options options)
    : database_(database),
      store_(store),
      clock_(clock),
      room_(options.room),
      expire_every_(options.expire_every),
      pins_(clock, options.pin_time),
      started_(clock->Steady()) {}

BlobCatalogue::~BlobCatalogue() { Stop(); }

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
    if (row && namespace_id != 0 && !IsDamaged(*row)) {
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
  std::vector<RowId> found;
  const auto look = [&](JobReader& reader) -> absl::Status {
    found.clear();
    TIFFIN_ASSIGN_OR_RETURN(const RowId id, reader.FindNamespace(name_space));
    TIFFIN_ASSIGN_OR_RETURN(missing, FindMissing(reader, id, refs, &found));
    return absl::OkStatus();
  };
  TIFFIN_RETURN_IF_ERROR(database_->Read(look));
  if (found.empty()) return missing;
  for (const RowId blob : found) pins_.Pin(blob);
  TIFFIN_RETURN_IF_ERROR(database_->Read(look));  // see Pins::Pin
  return missing;
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

absl::StatusOr<std::shared_ptr<BlobReader>> BlobCatalogue::Open(const BlobRow& blob,
                                                                IfDamaged if_damaged) {
  BlobRow row = blob;
  for (int attempt = 0;; ++attempt) {
    if (IsDamaged(row)) {
      return absl::DataLossError(StrCat(row.name.ToText(), " is damaged; put it again"));
    }
    absl::StatusOr<std::shared_ptr<BlobReader>> reader =
        HasItsSize(row) ? store_->Open({row.location, row.checksums, nullptr}, row.size)
                        : absl::DataLossError(StrCat("the index has it with ", row.size, " bytes"));
    if (reader.ok()) return reader;
    const bool gone = absl::IsNotFound(reader.status());
    if (absl::IsDataLoss(reader.status()) || (gone && attempt == 2)) {
      // A file that the index names and that is gone is damage, not a miss.
      const auto damage = absl::DataLossError(reader.status().message());
      return if_damaged == IfDamaged::kReport ? ReportDamage(row, damage) : damage;
    }
    if (!gone) return reader;
    // Sealed away since the row was read.
    TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& index) -> absl::Status {
      TIFFIN_ASSIGN_OR_RETURN(const std::optional<BlobRow> again, index.FindBlob(row.id));
      if (!again) return absl::NotFoundError(absl::StrCat("no blob ", row.name.ToText()));
      row = *again;
      return absl::OkStatus();
    }));
  }
}

absl::Status BlobCatalogue::ReportDamage(const BlobRow& blob, const absl::Status& found) {
  const absl::Status told = Annotate(found, blob.name.ToText());
  if (!absl::IsDataLoss(found)) return told;
  spdlog::error("event=damaged blob=\"{}\" location={} error=\"{}\"", blob.name.ToText(),
                blob.location, found.ToString());
  // Also before it is written down: a kill between the two must not leave results that need it.
  TellDamage(blob.id);
  bool set_aside = false;
  const absl::Status written = database_->WriteAndWait([&](JobTransaction& tx) -> absl::Status {
    set_aside = false;
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<BlobRow> row, tx.FindBlob(blob.id));
    // Moved or healed meanwhile: what was read is not what there is now.
    if (!row || row->location != blob.location) return absl::OkStatus();
    set_aside = true;
    return tx.MoveBlob(row->id, DamagedLocation(*row), row->checksums);
  });
  if (written.ok() && set_aside) ++damage_found_;
  if (!written.ok()) {  // it is found again by the next reader
    spdlog::warn("event=damaged note=\"not written down\" error=\"{}\"", written.ToString());
  } else {
    TellDamage(blob.id);
  }
  return told;
}

void BlobCatalogue::TellDamage(RowId blob) {
  std::function<void(RowId)> tell;
  {
    std::lock_guard lock(mutex_);
    tell = on_damage_;
  }
  if (tell) tell(blob);
}

absl::StatusOr<uint64_t> BlobCatalogue::SetAsideBlobs() {
  uint64_t blobs = 0;
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const PackUse use, reader.UseOfPacks(kDamagedPacks));
    blobs = use.blobs;
    return absl::OkStatus();
  }));
  return blobs;
}

absl::StatusOr<std::string> BlobCatalogue::ReadWhole(const BlobRow& blob) {
  TIFFIN_ASSIGN_OR_RETURN(const std::shared_ptr<BlobReader> reader, Open(blob));
  absl::StatusOr<std::string> bytes = ReadAll(*reader, blob.size);
  if (!bytes.ok()) return ReportDamage(blob, bytes.status());
  return bytes;
}

absl::StatusOr<std::string> BlobCatalogue::ReadWhole(RowId namespace_id, const RecordRef& ref) {
  BlobView view;
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    BlobAddress address;
    if (const auto* name = std::get_if<BlobName>(&ref)) {
      address = *name;
    } else {
      address = std::get<ValueRef>(ref);
    }
    TIFFIN_ASSIGN_OR_RETURN(view, Find(reader, namespace_id, address));
    return absl::OkStatus();
  }));
  return ReadWhole(view.row);
}

absl::StatusOr<BlobStat> BlobCatalogue::Stat(std::string_view name_space,
                                             const BlobAddress& address) {
  BlobStat stat;
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const RowId ns, reader.FindNamespace(name_space));
    TIFFIN_ASSIGN_OR_RETURN(stat.blob, Find(reader, ns, address));
    if (IsDamaged(stat.blob.row)) {
      return absl::DataLossError(StrCat(stat.blob.row.name.ToText(), " is damaged; put it again"));
    }
    stat.pack = std::string(PackOf(stat.blob.row.location));
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<PackRow> pack, reader.FindPack(stat.pack));
    stat.sealed = pack && pack->state == PackState::kSealed;
    for (const BlobUse use : {BlobUse::kArgument, BlobUse::kResult}) {
      TIFFIN_ASSIGN_OR_RETURN(const std::vector<RowId> jobs,
                              reader.JobsUsing(ns, stat.blob.row.id, use, kStatJobs));
      for (const RowId id : jobs) {
        TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> job, FindSoundJob(reader, id));
        if (job) (use == BlobUse::kResult ? stat.made_by : stat.used_by).push_back(job->key);
      }
    }
    return absl::OkStatus();
  }));
  return stat;
}

}  // namespace tiffin::server
