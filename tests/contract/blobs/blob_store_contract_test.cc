// What every BlobStore promises, and what the HDF5 one does on disk.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "common/crypto.h"
#include "common/status.h"
#include "server/blobs/hdf5_blob_store.h"
#include "server/blobs/memory_blob_store.h"

namespace tiffin::server {
namespace {

// Remembers what was announced, as the index would.
class Journal : public PackJournal {
 public:
  absl::Status Announce(std::string_view pack, bool open) override {
    std::lock_guard lock(mutex_);
    packs.push_back({std::string(pack), !open, open});
    return absl::OkStatus();
  }
  std::mutex mutex_;
  std::vector<KnownPack> packs;
};

class Folder {
 public:
  Folder() {
    std::string text = (std::filesystem::temp_directory_path() / "tiffin-XXXXXX").string();
    path = mkdtemp(text.data());
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::filesystem::path path;
};

Array BytesOf(size_t n, char seed) {
  std::string bytes(n, '\0');
  for (size_t i = 0; i < n; ++i) bytes[i] = static_cast<char>(i * 31 + seed + i / 251);
  return {"uint8", {n}, std::move(bytes)};
}

class BlobStoreContract : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override { Open({}); }
  void Open(std::vector<KnownPack> known) {
    store_.reset();
    if (GetParam()) {
      absl::StatusOr<std::unique_ptr<BlobStore>> opened =
          OpenHdf5BlobStore({.data = folder_.path, .open_pack_bytes = 4 << 20});
      ASSERT_TRUE(opened.ok()) << opened.status();
      store_ = *std::move(opened);
    } else {
      store_ = MakeMemoryBlobStore();
    }
    ASSERT_TRUE(store_->Start(&journal_, known).ok());
  }
  StoredBlob StoreSmall(const Array& array) {
    const BlobBytes blob{array.Name(), array.bytes};
    absl::StatusOr<std::vector<StoredBlob>> stored = store_->Store({&blob, 1});
    EXPECT_TRUE(stored.ok()) << stored.status();
    return stored.ok() ? (*stored)[0] : StoredBlob{};
  }
  StoredBlob StoreLarge(const Array& array) {
    auto writer = store_->Create(array.dtype, array.shape, array.bytes.size());
    EXPECT_TRUE(writer.ok()) << writer.status();
    const std::string_view bytes = array.bytes;
    for (size_t at = 0; at < bytes.size(); at += 300'000) {
      EXPECT_TRUE(Append(**writer, bytes.substr(at, 300'000)).ok());
    }
    auto stored = (*writer)->Commit(array.Name().key);
    EXPECT_TRUE(stored.ok()) << stored.status();
    return stored.ok() ? *stored : StoredBlob{};
  }
  static absl::Status Append(BlobWriter& writer, std::string_view bytes) {
    // In two parts, as messages come.
    const std::string_view parts[] = {bytes.substr(0, bytes.size() / 3),
                                      bytes.substr(bytes.size() / 3)};
    return writer.Append(parts);
  }
  absl::StatusOr<std::string> Read(const StoredBlob& blob, uint64_t size, uint64_t offset,
                                   uint64_t length) {
    TIFFIN_ASSIGN_OR_RETURN(const std::shared_ptr<BlobReader> reader, store_->Open(blob, size));
    TIFFIN_RETURN_IF_ERROR(reader->Check(offset, length));
    EXPECT_TRUE(reader->Checked(offset, length));
    std::string copy(length, '\0');
    TIFFIN_RETURN_IF_ERROR(reader->Gather(Slab::Whole({size}, 1), offset, length, copy.data()));
    EXPECT_EQ(reader->Slice(offset, length)->bytes, copy);
    return copy;
  }
  std::string ReadAll(const StoredBlob& blob, size_t size) {
    auto bytes = Read(blob, size, 0, size);
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    return bytes.ok() ? *bytes : "";
  }
  size_t FilesIn(const char* folder) {
    size_t n = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path / folder)) {
      n += entry.is_regular_file();
    }
    return n;
  }

  Folder folder_;
  Journal journal_;
  std::unique_ptr<BlobStore> store_;
};

TEST_P(BlobStoreContract, SmallLargeEmptyAndSingleValuesComeBackEqual) {
  for (const Array& array :
       {BytesOf(1, 1), BytesOf(5000, 2), Array{"float64", {}, std::string(8, 'x')},
        Array{"int64", {1, 0}, ""}}) {
    EXPECT_EQ(ReadAll(StoreSmall(array), array.bytes.size()), array.bytes);
  }
  for (const size_t n : {size_t{1} << 20, (size_t{3} << 20) + 17}) {
    const Array array = BytesOf(n, 3);
    EXPECT_EQ(ReadAll(StoreLarge(array), n), array.bytes);
  }
}

TEST_P(BlobStoreContract, RangesAreCutAnywhere) {
  const Array array = BytesOf((3 << 20) + 5, 4);
  const StoredBlob blob = StoreLarge(array);
  const std::pair<uint64_t, uint64_t> ranges[] = {
      {0, 0}, {0, 1}, {(1 << 20) - 1, 2}, {5, 3 << 20}, {array.bytes.size(), 0}};
  for (const auto& [offset, length] : ranges) {
    auto bytes = Read(blob, array.bytes.size(), offset, length);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    EXPECT_EQ(*bytes, std::string_view(array.bytes).substr(offset, length)) << offset;
  }
}

TEST_P(BlobStoreContract, TooManyOrTooFewBytesAreRefused) {
  for (const size_t n : {size_t{100}, size_t{2} << 20}) {
    auto writer = store_->Create("uint8", {n}, n);
    ASSERT_TRUE(writer.ok());
    EXPECT_TRUE(absl::IsInvalidArgument(Append(**writer, std::string(n + 1, 'x'))));
    ASSERT_TRUE(Append(**writer, "x").ok());
    EXPECT_TRUE(absl::IsInvalidArgument((*writer)->Commit(Digest()).status()));
  }
  if (GetParam()) {
    EXPECT_EQ(FilesIn("tmp"), 0u);
    EXPECT_EQ(FilesIn("packs"), 0u);
  }
}

TEST_P(BlobStoreContract, SealingMovesEveryBlobAndTheOldPackCanGo) {
  std::vector<Array> arrays;
  std::vector<BlobToMove> moves;
  for (int i = 0; i < 20; ++i) {
    arrays.push_back(BytesOf(1000 + i, static_cast<char>(i)));
    const StoredBlob stored = StoreSmall(arrays.back());
    moves.push_back(
        {arrays.back().Name(), arrays.back().bytes.size(), stored.location, stored.checksums});
  }
  const std::vector<std::string> packs = store_->PacksToSeal(true);
  ASSERT_EQ(packs.size(), 1u);
  auto moved = store_->Seal(moves);
  ASSERT_TRUE(moved.ok()) << moved.status();
  EXPECT_TRUE(store_->Drop(packs[0]).ok());
  for (size_t i = 0; i < arrays.size(); ++i) {
    EXPECT_EQ(ReadAll((*moved)[i], arrays[i].bytes.size()), arrays[i].bytes);
    EXPECT_TRUE(absl::IsNotFound(
        Read({moves[i].location, moves[i].checksums, nullptr}, moves[i].size, 0, 1).status()));
  }
  EXPECT_TRUE(store_->PacksToSeal(true).empty());
}

TEST_P(BlobStoreContract, ManyThreadsStoreAtOnce) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 30; ++i) {
        const Array array = BytesOf(20'000 + 100 * t + i, static_cast<char>(t));
        EXPECT_EQ(ReadAll(StoreSmall(array), array.bytes.size()), array.bytes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_P(BlobStoreContract, WhatWasStoredIsThereAfterARestart) {
  if (!GetParam()) return;  // memory keeps nothing, and says so in Start
  const Array small = BytesOf(5000, 5), large = BytesOf(2 << 20, 6), lost = BytesOf(2 << 20, 7);
  StoredBlob small_at = StoreSmall(small), large_at = StoreLarge(large), lost_at = StoreLarge(lost);
  std::vector<KnownPack> known;
  for (const KnownPack& pack : journal_.packs) {
    // The index knows of the first large blob; of the second nothing was committed.
    if (pack.open || pack.name == PackOf(lost_at.location)) known.push_back(pack);
  }
  small_at.pin = nullptr;
  { std::ofstream(folder_.path / "tmp" / "left.h5") << "half"; }
  Open(known);
  EXPECT_EQ(ReadAll(small_at, small.bytes.size()), small.bytes);
  EXPECT_EQ(ReadAll(large_at, large.bytes.size()), large.bytes);
  EXPECT_TRUE(absl::IsNotFound(Read(lost_at, lost.bytes.size(), 0, 1).status()));
  EXPECT_EQ(FilesIn("tmp"), 0u);
  // The open pack is sealed, never appended to again.
  const StoredBlob next = StoreSmall(BytesOf(10, 8));
  EXPECT_NE(PackOf(next.location), PackOf(small_at.location));
  const std::vector<std::string> packs = store_->PacksToSeal(false);
  EXPECT_EQ(packs, std::vector<std::string>{std::string(PackOf(small_at.location))});
}

TEST_P(BlobStoreContract, DamageIsFoundAndNeverServed) {
  if (!GetParam()) return;
  const Array array = BytesOf(3 << 20, 9);
  const StoredBlob blob = StoreLarge(array);
  std::filesystem::path file;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path / "packs")) {
    if (entry.is_regular_file()) file = entry.path();
  }
  const uint64_t base = std::stoull(blob.location.substr(blob.location.rfind(':') + 1));
  {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(static_cast<std::streamoff>(base + (1 << 20) + 7));
    stream.put(static_cast<char>(array.bytes[(1 << 20) + 7] ^ 1));
  }
  const size_t n = array.bytes.size();
  EXPECT_TRUE(Read(blob, n, 0, 1 << 20).ok()) << "the first block is sound";
  EXPECT_TRUE(absl::IsDataLoss(Read(blob, n, (1 << 20) + 100, 1).status()));
  std::filesystem::resize_file(file, base + (2 << 20));
  EXPECT_TRUE(absl::IsDataLoss(Read(blob, n, 2 << 20, 1).status()));
}

TEST_P(BlobStoreContract, VerifyReadsAllAndNamesTheRangesThatAreDamaged) {
  const Array array = BytesOf((3 << 20) + 5, 11);
  const StoredBlob large = StoreLarge(array), small = StoreSmall(BytesOf(5000, 12));
  std::string read;
  const auto verify = [&](const StoredBlob& blob, uint64_t size) {
    read.clear();
    return store_->Verify(blob, size, [&](std::string_view bytes) {
      read += bytes;
      return absl::OkStatus();
    });
  };
  EXPECT_TRUE(verify(large, array.bytes.size())->empty());
  EXPECT_EQ(read, array.bytes);
  EXPECT_TRUE(verify(small, 5000)->empty());
  EXPECT_TRUE(
      absl::IsAborted(store_
                          ->Verify(large, array.bytes.size(),
                                   [](std::string_view) { return absl::AbortedError("enough"); })
                          .status()));
  StoredBlob other = small;
  other.checksums[3] = static_cast<char>(other.checksums[3] ^ 1);
  ASSERT_EQ(verify(other, 5000)->size(), 1u);
  const std::string pack(PackOf(large.location));
  if (!GetParam()) {
    EXPECT_FALSE(store_->Locate(large.location));
    return;
  }
  const FilePlace place = *store_->Locate(large.location);
  EXPECT_EQ(place.path, "packs/" + pack.substr(0, 2) + "/" + pack + ".h5");
  const std::filesystem::path file = folder_.path / place.path;
  ASSERT_TRUE(Read(large, array.bytes.size(), 0, array.bytes.size()).ok()) << "mapped and checked";
  {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(static_cast<std::streamoff>(place.offset + (1 << 20) + 7));
    stream.put(static_cast<char>(array.bytes[(1 << 20) + 7] ^ 1));
  }
  std::filesystem::resize_file(file, place.offset + (3 << 20) - 1);
  const auto ranges = *verify(large, array.bytes.size());
  ASSERT_EQ(ranges.size(), 2u);
  EXPECT_EQ(ranges[0].begin, 1u << 20);
  EXPECT_EQ(ranges[0].end, 2u << 20);
  EXPECT_EQ(ranges[0].how, "differ from their checksum");
  EXPECT_EQ(ranges[1].begin, 2u << 20);
  EXPECT_EQ(ranges[1].end, array.bytes.size());
  EXPECT_EQ(ranges[1].how, "lie behind the end of the file");
  std::filesystem::remove(file);
  EXPECT_TRUE(absl::IsNotFound(verify(large, array.bytes.size()).status()));
}

TEST_P(BlobStoreContract, AnUploadGoesOnWhereItBroke) {
  const Array array = BytesOf((3 << 20) + 11, 10);
  const BlobName name = array.Name();
  const std::string_view bytes = array.bytes;
  const auto resume = [&](uint64_t offset, std::string* before) {
    return store_->Resume("ns", name, bytes.size(), offset, [before](std::string_view piece) {
      if (before) *before += piece;
      return absl::OkStatus();
    });
  };
  {
    auto first = resume(0, nullptr);
    ASSERT_TRUE(first.ok()) << first.status();
    ASSERT_TRUE(Append(**first, bytes.substr(0, 1 << 20)).ok());
    // An equal upload meanwhile proceeds beside it.
    auto beside = resume(0, nullptr);
    ASSERT_TRUE(beside.ok()) << beside.status();
    ASSERT_TRUE(Append(**beside, bytes.substr(0, 5)).ok());
    EXPECT_EQ(store_->Received("ns", name), uint64_t{1} << 20);
    EXPECT_EQ(store_->Received("another", name), 0u);
  }
  if (GetParam()) Open({});  // and the server is started again
  EXPECT_EQ(store_->Received("ns", name), uint64_t{1} << 20);
  EXPECT_TRUE(absl::IsFailedPrecondition(resume((1 << 20) + 1, nullptr).status()));
  const auto given_up = store_->Resume("ns", name, bytes.size(), 1 << 20, [](std::string_view) {
    return absl::CancelledError("nobody wants it");
  });
  EXPECT_TRUE(absl::IsCancelled(given_up.status()));
  EXPECT_EQ(store_->Received("ns", name), uint64_t{1} << 20);
  std::string before;
  auto second = resume(1'000'000, &before);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(before, bytes.substr(0, 1'000'000));
  ASSERT_TRUE(Append(**second, bytes.substr(1'000'000, 1 << 20)).ok());
  // The newest goes on, the other is cut off.
  before.clear();
  auto third = resume(1'500'000, &before);
  ASSERT_TRUE(third.ok()) << third.status();
  EXPECT_EQ(before, bytes.substr(0, 1'500'000));
  EXPECT_TRUE(absl::IsAborted(Append(**second, "x")));
  EXPECT_TRUE(absl::IsAborted((*second)->Commit(name.key).status()));
  // One that has no right to go on cuts nobody off.
  EXPECT_TRUE(absl::IsFailedPrecondition(resume(3 << 20, nullptr).status()));
  ASSERT_TRUE(Append(**third, bytes.substr(1'500'000)).ok());
  auto stored = (*third)->Commit(name.key);
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(ReadAll(*stored, bytes.size()), bytes);
  EXPECT_EQ(store_->Received("ns", name), 0u);
  if (GetParam()) {
    EXPECT_EQ(FilesIn("uploads"), 0u);
  }
}

TEST_P(BlobStoreContract, NothingStaysOfARefusedUpload) {
  const Array array = BytesOf(2 << 20, 11);
  const BlobName name = array.Name();
  auto writer = store_->Resume("ns", name, array.bytes.size(), 0,
                               [](std::string_view) { return absl::OkStatus(); });
  ASSERT_TRUE(writer.ok()) << writer.status();
  ASSERT_TRUE(Append(**writer, array.bytes).ok());
  (*writer)->Refuse();
  writer->reset();
  EXPECT_EQ(store_->Received("ns", name), 0u);
  EXPECT_EQ(store_->Stats().upload_bytes, 0u);
  if (GetParam()) {
    EXPECT_EQ(FilesIn("uploads"), 0u);
  }
}

TEST_P(BlobStoreContract, UploadsKeepToTheirQuotaAndExpire) {
  if (!GetParam()) return;
  const auto open = [&](UploadLimits limits) {
    store_.reset();
    auto opened = OpenHdf5BlobStore({.data = folder_.path, .uploads = limits});
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = *std::move(opened);
    ASSERT_TRUE(store_->Start(&journal_, {}).ok());
  };
  const Array first = BytesOf(2 << 20, 12), second = BytesOf(2 << 20, 13);
  const auto half = [&](const Array& array) {
    auto writer = store_->Resume("ns", array.Name(), array.bytes.size(), 0,
                                 [](std::string_view) { return absl::OkStatus(); });
    ASSERT_TRUE(writer.ok()) << writer.status();
    ASSERT_TRUE(Append(**writer, std::string_view(array.bytes).substr(0, 1 << 20)).ok());
  };
  open({.quota = 3 << 20});
  half(first);
  EXPECT_EQ(store_->Received("ns", first.Name()), uint64_t{1} << 20);
  half(second);  // the older one gives way
  EXPECT_EQ(store_->Received("ns", first.Name()), 0u);
  EXPECT_EQ(store_->Received("ns", second.Name()), uint64_t{1} << 20);
  half(BytesOf(4 << 20, 14));  // too large to be kept: it cannot be resumed, and that is all
  EXPECT_EQ(store_->Received("ns", second.Name()), uint64_t{1} << 20);
  open({.quota = 5 << 20});
  half(first);
  half(second);
  half(second);  // from the front: what it had itself takes no room from the older one
  EXPECT_EQ(store_->Received("ns", first.Name()), uint64_t{1} << 20);
  EXPECT_EQ(FilesIn("tmp"), 0u);
  open({.kept = std::chrono::seconds(-1)});
  EXPECT_EQ(store_->Received("ns", second.Name()), 0u);
  EXPECT_EQ(FilesIn("uploads"), 0u);
}

TEST_P(BlobStoreContract, AReaderOutlivesThePack) {
  const Array array = BytesOf(2 << 20, 15);
  const StoredBlob blob = StoreLarge(array);
  auto reader = store_->Open(blob, array.bytes.size());
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_TRUE(store_->PackBytes(PackOf(blob.location)).ok());
  EXPECT_TRUE(store_->Drop(PackOf(blob.location)).ok());
  EXPECT_TRUE(absl::IsNotFound(store_->PackBytes(PackOf(blob.location)).status()));
  EXPECT_TRUE(absl::IsNotFound(store_->Open(blob, array.bytes.size()).status()));
  auto bytes = tiffin::server::ReadAll(**reader, array.bytes.size());
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*bytes, array.bytes);
}

INSTANTIATE_TEST_SUITE_P(All, BlobStoreContract, testing::Bool(),
                         [](const auto& param) { return param.param ? "Hdf5" : "Memory"; });

}  // namespace
}  // namespace tiffin::server
