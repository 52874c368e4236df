// The changes to the blob index: blobs, who sees them, values, uses and packs.
#include "common/status.h"
#include "server/jobs/sqlite_rows.h"
#include "server/jobs/sqlite_transaction.h"

namespace tiffin::server {

absl::StatusOr<RowId> SqliteTransaction::InsertBlob(const BlobRow& blob) {
  return Grow("adding a blob", [&]() -> absl::StatusOr<RowId> {
    // The index is on the key alone, so that uniqueness of the whole name is looked after here.
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<BlobRow> known, FindBlob(blob.name));
    if (known) return absl::AlreadyExistsError("a blob of that key, dtype and shape is there");
    Query query(connection_.Prepared(
        "INSERT INTO blobs (key, dtype, shape, size, created, location, checksums) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)"));
    query.Bind(blob.name.key).BindText(blob.name.dtype).BindName(ShapeText(blob.name.shape));
    query.Bind(static_cast<int64_t>(blob.size)).Bind(blob.created);
    query.BindText(blob.location).BindBytes(blob.checksums).Run();
    bytes_ += blob.checksums.size();
    ++counters_.rows.blobs;
    counters_.rows.blob_bytes += static_cast<int64_t>(blob.size);
    return connection_.database().getLastInsertRowid();
  });
}

absl::Status SqliteTransaction::MoveBlob(RowId blob, std::string_view location,
                                         std::string_view checksums) {
  return Change("moving a blob", [&]() -> absl::Status {
    Query query(connection_.Prepared("UPDATE blobs SET location = ?, checksums = ? WHERE id = ?"));
    if (query.BindName(location).BindBytes(checksums).Bind(blob).Run() == 0) {
      return absl::NotFoundError("the blob to move is not there");
    }
    bytes_ += checksums.size();
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::ShowBlob(RowId namespace_id, RowId blob) {
  return Change("showing a blob", [&] {
    Query query(connection_.Prepared(
        "INSERT INTO blob_views (blob, namespace) VALUES (?, ?) ON CONFLICT DO NOTHING"));
    query.Bind(blob).Bind(namespace_id).Run();
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::PutValue(const Digest& value, RowId blob) {
  return Change("storing a value's digest", [&]() -> absl::Status {
    Query known(connection_.Prepared(TIFFIN_SELECT_VALUE "WHERE value = ?"));
    if (known.Bind(value).Step()) {
      const ValueRow row = ReadValue(known);
      if (!row.damaged) return absl::OkStatus();
      // As CheckAliasIndex.
      Query indexed(connection_.Prepared(
          "SELECT 1 FROM value_digests INDEXED BY value_blob WHERE blob = ? AND value = ?"));
      if (!indexed.Bind(row.blob).Bind(value).Step()) return DamagedIndexedRow("a value's digest");
    }
    Query query(connection_.Prepared(
        "INSERT OR REPLACE INTO value_digests (value, blob, checksum) VALUES (?, ?, ?)"));
    query.Bind(value).Bind(blob).Bind(ChecksumOf(ValueRow{value, blob})).Run();
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::AddUse(RowId job, RowId blob, BlobUse use) {
  return Change("adding a blob's use", [&] {
    Query query(connection_.Prepared(
        "INSERT INTO uses (job, use, blob) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"));
    query.Bind(job).Bind(static_cast<int64_t>(use)).Bind(blob).Run();
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::DropUses(RowId job, BlobUse use) {
  return Change("dropping a job's uses", [&] {
    Query query(connection_.Prepared("DELETE FROM uses WHERE job = ? AND use = ?"));
    query.Bind(job).Bind(static_cast<int64_t>(use)).Run();
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::AddHold(RowId blob, RowId inner) {
  return Change("adding a blob's hold", [&] {
    Query query(connection_.Prepared(
        "INSERT INTO holds (blob, inner) VALUES (?, ?) ON CONFLICT DO NOTHING"));
    query.Bind(blob).Bind(inner).Run();
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::DeleteBlob(RowId blob) {
  return Change("deleting a blob", [&]() -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const bool used, BlobInUse(blob));
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<BlobRow> row, FindBlob(blob));
    if (used || !row) {
      return absl::FailedPreconditionError("the blob to delete is in use or not there");
    }
    Query(connection_.Prepared("DELETE FROM blob_views WHERE blob = ?")).Bind(blob).Run();
    Query(connection_.Prepared("DELETE FROM value_digests WHERE blob = ?")).Bind(blob).Run();
    Query(connection_.Prepared("DELETE FROM holds WHERE blob = ?")).Bind(blob).Run();
    Query(connection_.Prepared("DELETE FROM blobs WHERE id = ?")).Bind(blob).Run();
    --counters_.rows.blobs;
    counters_.rows.blob_bytes -= static_cast<int64_t>(row->size);
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::PutPack(const PackRow& pack) {
  return Change("storing a pack", [&] {
    Query query(
        connection_.Prepared("INSERT INTO packs (name, state) VALUES (?, ?) "
                             "ON CONFLICT (name) DO UPDATE SET state = excluded.state"));
    query.BindText(pack.name).Bind(static_cast<int64_t>(pack.state)).Run();
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::DeletePack(std::string_view name) {
  return Change("deleting a pack", [&] {
    Query(connection_.Prepared("DELETE FROM packs WHERE name = ?")).BindName(name).Run();
    return absl::OkStatus();
  });
}

}  // namespace tiffin::server
