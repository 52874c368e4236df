#include "server/blobs/upload_files.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "common/crypto.h"
#include "common/status.h"
#include "server/blobs/hdf5_packs.h"

namespace tiffin::server {
namespace {

namespace fs = std::filesystem;

// What ID.at holds, in the machine's byte order: the folder does not move between machines.
struct ProgressRecord {
  uint64_t written = 0;
  uint64_t base = 0;  // where the bytes begin in ID.h5
  uint64_t size = 0;
};

std::string_view AsBytes(const ProgressRecord& record) {
  return {reinterpret_cast<const char*>(&record), sizeof record};
}

std::optional<ProgressRecord> ReadProgress(const fs::path& path) {
  ProgressRecord record;
  std::ifstream file(path, std::ios::binary);
  if (!file.read(reinterpret_cast<char*>(&record), sizeof record)) return std::nullopt;
  if (record.written > record.size) return std::nullopt;
  return record;
}

std::string IdOf(std::string_view owner, const BlobName& name) {
  Sha256 hash;
  hash.Update(StrCat(owner, "\n", name.ToText()));
  return absl::BytesToHexString(ToAbsl(hash.Finish().view().substr(0, 16)));
}

absl::Status CutOff() { return absl::AbortedError("another call goes on with this upload"); }

}  // namespace

fs::path UploadFiles::Pack(std::string_view id) const { return folder_ / StrCat(id, ".h5"); }
fs::path UploadFiles::Progress(std::string_view id) const { return folder_ / StrCat(id, ".at"); }

void UploadFiles::RemoveFiles(const std::string& id) {
  for (const fs::path& path : {Progress(id), Pack(id)}) {
    const absl::Status status = RemoveFile(path);
    // It is swept at the next start.
    if (!status.ok()) spdlog::warn("event=upload error=\"{}\"", status.ToString());
  }
}

bool UploadFiles::LiveLocked(const std::string& id) const {
  const auto it = live_.find(id);
  return it != live_.end() && !it->second.expired();
}

absl::Status UploadFiles::Sweep() {
  std::error_code error;
  std::vector<fs::path> halves;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    const std::string id = entry.path().stem().string();
    if (!ReadProgress(Progress(id)) || !fs::exists(Pack(id))) halves.push_back(entry.path());
  }
  if (error)
    return absl::InternalError(StrCat("reading ", folder_.string(), ": ", error.message()));
  for (const fs::path& path : halves) TIFFIN_RETURN_IF_ERROR(RemoveFile(path));
  Expire();
  return absl::OkStatus();
}

void UploadFiles::Expire() {
  std::lock_guard lock(mutex_);
  std::error_code error;
  std::vector<std::string> old;
  const auto limit = fs::file_time_type::clock::now() - limits_.kept;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    const std::string id = entry.path().stem().string();
    if (entry.path().extension() != ".at" || LiveLocked(id)) continue;
    std::error_code gone;
    if (entry.last_write_time(gone) < limit && !gone) old.push_back(id);
  }
  for (const std::string& id : old) RemoveFiles(id);
  std::erase_if(live_, [](const auto& entry) { return entry.second.expired(); });
}

bool UploadFiles::MakeRoomLocked(const std::string& own, uint64_t size) {
  struct Idle {
    fs::file_time_type time;
    std::string id;
    uint64_t size;
  };
  std::vector<Idle> idle;
  uint64_t total = size, needed = size;  // `needed`: with all idle ones removed
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    const std::string id = entry.path().stem().string();
    if (entry.path().extension() != ".at" || id == own) continue;
    const auto progress = ReadProgress(entry.path());
    if (!progress) continue;
    total += progress->size;
    std::error_code gone;
    if (LiveLocked(id)) {
      needed += progress->size;
    } else {
      idle.push_back({entry.last_write_time(gone), id, progress->size});
    }
  }
  if (needed > limits_.quota) return false;  // it fits beside no idle one either
  std::sort(idle.begin(), idle.end(), [](const Idle& a, const Idle& b) { return a.time < b.time; });
  for (const Idle& upload : idle) {
    if (total <= limits_.quota) break;
    RemoveFiles(upload.id);
    total -= upload.size;
  }
  return true;
}

absl::Status UploadFiles::Make(const std::string& id, const BlobName& name, uint64_t size,
                               UploadState& state) {
  RemoveFiles(id);
  const fs::path path = Pack(id);
  const DatasetSpec spec{name.key.ToText(), name.dtype, name.shape};
  TIFFIN_ASSIGN_OR_RETURN(const std::vector<uint64_t> offsets, MakeHdf5File(path, {&spec, 1}));
  TIFFIN_ASSIGN_OR_RETURN(std::unique_ptr<PackFile> file, PackFile::Open(path, true));
  TIFFIN_RETURN_IF_ERROR(file->Reserve(offsets[0], size));
  TIFFIN_ASSIGN_OR_RETURN(state.progress, PackFile::Create(Progress(id)));
  TIFFIN_RETURN_IF_ERROR(state.progress->Write(AsBytes(ProgressRecord{0, offsets[0], size}), 0));
  state.bytes = std::make_unique<StreamedBytes>(std::move(file), offsets[0], size);
  return absl::OkStatus();
}

absl::Status UploadFiles::Load(const std::string& id, const BlobName& name, uint64_t size,
                               uint64_t offset, const TakeBytes& before, UploadState& state) {
  const auto progress = ReadProgress(Progress(id));
  if (!progress) return absl::InternalError(StrCat(Progress(id).string(), " is gone"));
  TIFFIN_ASSIGN_OR_RETURN(std::unique_ptr<PackFile> file, PackFile::Open(Pack(id), true));
  TIFFIN_ASSIGN_OR_RETURN(state.progress, PackFile::Open(Progress(id), true));
  auto bytes = std::make_unique<StreamedBytes>(std::move(file), progress->base, size);
  // The key does not tell whether HDF5's part of the file has survived.
  absl::Status sound =
      CheckHdf5File(Pack(id), {name.key.ToText(), name.dtype, name.shape}, progress->base);
  if (sound.ok()) sound = bytes->TakeOver(offset, before);
  if (absl::IsDataLoss(sound)) {
    state.progress.reset();
    RemoveFiles(id);
    return absl::FailedPreconditionError(
        StrCat("offset: ", offset, ", but what had come is damaged: send it all again"));
  }
  TIFFIN_RETURN_IF_ERROR(sound);
  state.bytes = std::move(bytes);
  return absl::OkStatus();
}

absl::StatusOr<std::optional<UploadFiles::Claim>> UploadFiles::Begin(std::string_view owner,
                                                                     const BlobName& name,
                                                                     uint64_t size, uint64_t offset,
                                                                     const TakeBytes& before) {
  Claim claim;
  claim.id = IdOf(owner, name);
  std::unique_lock<std::mutex> writing;
  {
    std::lock_guard lock(mutex_);
    claim.state = live_[claim.id].lock();
    if (claim.state && offset == 0) return std::nullopt;
    if (!claim.state) {
      if (offset == 0 && !MakeRoomLocked(claim.id, size)) return std::nullopt;
      claim.state = std::make_shared<UploadState>();
      live_[claim.id] = claim.state;
      // Before anybody else finds it.
      writing = std::unique_lock(claim.state->mutex);
    }
  }
  if (!writing.owns_lock()) writing = std::unique_lock(claim.state->mutex);
  if (offset > 0) {
    const auto progress = ReadProgress(Progress(claim.id));
    const uint64_t there = progress && progress->size == size ? progress->written : 0;
    if (there < offset) {
      return absl::FailedPreconditionError(
          StrCat("offset: ", offset, ", but only the first ", there, " bytes have come"));
    }
  }
  claim.number = ++claim.state->claim;
  claim.state->bytes.reset();
  const absl::Status status = offset == 0
                                  ? Make(claim.id, name, size, *claim.state)
                                  : Load(claim.id, name, size, offset, before, *claim.state);
  if (status.ok()) return claim;
  // Half made, it would only take space.
  if (offset == 0) RemoveFiles(claim.id);
  return status;
}

absl::Status UploadFiles::Append(const Claim& claim, std::span<const std::string_view> parts) {
  UploadState& state = *claim.state;
  std::lock_guard lock(state.mutex);
  if (state.claim != claim.number || !state.bytes) return CutOff();
  TIFFIN_RETURN_IF_ERROR(state.bytes->Append(parts));
  const uint64_t written = state.bytes->written();
  return state.progress->Write({reinterpret_cast<const char*>(&written), sizeof written},
                               offsetof(ProgressRecord, written));
}

absl::Status UploadFiles::Complete(const Claim& claim,
                                   const std::function<absl::Status(const fs::path&)>& publish,
                                   uint64_t* base, std::string* checksums) {
  UploadState& state = *claim.state;
  std::lock_guard lock(state.mutex);
  if (state.claim != claim.number || !state.bytes) return CutOff();
  TIFFIN_RETURN_IF_ERROR(state.bytes->CheckComplete());
  if (const absl::Status status = state.bytes->file().Sync(); !status.ok()) {
    // The kernel may have dropped pages: a second sync would say OK and mean nothing.
    state.bytes.reset();
    RemoveFiles(claim.id);
    return status;
  }
  *base = state.bytes->base();
  *checksums = state.bytes->Checksums();
  state.bytes.reset();
  absl::Status published = publish(Pack(claim.id));
  std::error_code error;
  if (published.ok() || !fs::exists(Pack(claim.id), error)) RemoveFiles(claim.id);
  return published;
}

void UploadFiles::Remove(const Claim& claim) {
  std::lock_guard lock(claim.state->mutex);
  if (claim.state->claim != claim.number) return;
  claim.state->bytes.reset();
  RemoveFiles(claim.id);
}

void UploadFiles::Leave(const Claim& claim) {
  std::lock_guard lock(claim.state->mutex);
  if (claim.state->claim != claim.number || !claim.state->bytes ||
      claim.state->bytes->written() > 0)
    return;
  claim.state->bytes.reset();
  RemoveFiles(claim.id);
}

uint64_t UploadFiles::Received(std::string_view owner, const BlobName& name) {
  const auto progress = ReadProgress(Progress(IdOf(owner, name)));
  return progress ? progress->written : 0;
}

bool UploadFiles::BeingWritten(std::string_view owner, const BlobName& name) {
  std::lock_guard lock(mutex_);
  return LiveLocked(IdOf(owner, name));
}

uint64_t UploadFiles::bytes() const {
  uint64_t total = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    if (entry.path().extension() != ".at") continue;
    if (const auto progress = ReadProgress(entry.path())) total += progress->size;
  }
  return total;
}

}  // namespace tiffin::server
