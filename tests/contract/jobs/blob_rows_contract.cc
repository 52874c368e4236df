// Each change of the index of blobs and the look-ups that see it.
#include "tests/contract/jobs/job_database_contract.h"

namespace tiffin::server {
namespace {

TEST_P(JobRows, BlobsAreNamedByKeyDtypeAndShape) {
  std::vector<BlobRow> blobs;
  Write([&](JobTransaction& tx) {
    BlobRow blob = TestBlob(1, "pack");
    for (const auto& [dtype, shape] : std::vector<std::pair<std::string, Shape>>{
             {"int64", {0}}, {"int64", {}}, {"int64", {1, 0}}, {"|V1", {0}}}) {
      blob.name.dtype = dtype;
      blob.name.shape = shape;
      blob.id = Must(tx.InsertBlob(blob));
      blobs.push_back(blob);
    }
  });
  Look([&](JobReader& reader) {
    for (const BlobRow& blob : blobs) {
      EXPECT_EQ(Text(Must(reader.FindBlob(blob.name))), Text(blob));
      EXPECT_EQ(Text(Must(reader.FindBlob(blob.id))), Text(blob));
    }
    EXPECT_FALSE(Must(reader.FindBlob({TestDigest(1), "int64", {0, 1}})));
  });
  EXPECT_EQ(Counts().blobs, 4);
  EXPECT_EQ(Counts().blob_bytes, 4 * 24);
}

TEST_P(JobRows, InsertingABlobTwiceIsAlreadyExists) {
  Write([](JobTransaction& tx) { Must(tx.InsertBlob(TestBlob(1, "pack"))); });
  const absl::Status status = database().WriteAndWait(
      [](JobTransaction& tx) { return tx.InsertBlob(TestBlob(1, "other")).status(); });
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists) << status;
  EXPECT_EQ(Counts().blobs, 1);
}

TEST_P(JobRows, ANamespaceSeesTheBlobsItWasShown) {
  RowId a = 0;
  RowId b = 0;
  std::vector<BlobRow> blobs;
  Write([&](JobTransaction& tx) {
    a = Must(tx.EnsureNamespace("a"));
    b = Must(tx.EnsureNamespace("b"));
    for (uint64_t n : {1, 2, 3}) {
      BlobRow blob = TestBlob(n, "pack");
      blob.name.key = TestDigest(9);
      blob.id = Must(tx.InsertBlob(blob));
      blobs.push_back(blob);
    }
    Must(tx.ShowBlob(a, blobs[2].id));
    Must(tx.ShowBlob(a, blobs[0].id));
    Must(tx.ShowBlob(a, blobs[0].id));
    Must(tx.ShowBlob(b, blobs[1].id));
  });
  Look([&](JobReader& reader) {
    EXPECT_TRUE(Must(reader.BlobVisible(a, blobs[0].id)));
    EXPECT_FALSE(Must(reader.BlobVisible(b, blobs[0].id)));
    EXPECT_EQ(Text(Must(reader.FindBlobsByKey(a, TestDigest(9)))),
              Text(std::vector{blobs[0], blobs[2]}));
    EXPECT_EQ(Text(Must(reader.FindBlobsByKey(b, TestDigest(9)))), Text(std::vector{blobs[1]}));
    EXPECT_TRUE(Must(reader.FindBlobsByKey(b, TestDigest(8))).empty());
  });
}

TEST_P(JobRows, TheFirstBlobOfAValueStays) {
  BlobRow blob = TestBlob(1, "pack");
  Write([&](JobTransaction& tx) {
    blob.id = Must(tx.InsertBlob(blob));
    Must(tx.PutValue(TestDigest(50), blob.id));
    Must(tx.PutValue(TestDigest(50), Must(tx.InsertBlob(TestBlob(2, "pack")))));
  });
  Look([&](JobReader& reader) {
    EXPECT_EQ(Text(Must(reader.FindValue(TestDigest(50)))), Text(blob));
    EXPECT_FALSE(Must(reader.FindValue(TestDigest(51))));
  });
}

TEST_P(JobRows, ValuesAreListedInTheOrderOfTheirDigests) {
  std::vector<RowId> blobs;
  std::vector<Digest> values = {TestDigest(50), TestDigest(51), TestDigest(52)};
  std::sort(values.begin(), values.end());
  Write([&](JobTransaction& tx) {
    for (uint64_t n = 0; n < 3; ++n) blobs.push_back(Must(tx.InsertBlob(TestBlob(n, "pack"))));
    for (const size_t n : {1u, 2u, 0u}) Must(tx.PutValue(values[n], blobs[n]));
  });
  const auto listed = [](JobReader& reader, const std::optional<Digest>& after, int limit) {
    std::vector<std::pair<Digest, RowId>> out;
    for (const ValueRow& row : Must(reader.ListValues(after, limit))) {
      EXPECT_FALSE(row.damaged);
      out.emplace_back(row.value, row.blob);
    }
    return out;
  };
  using Rows = std::vector<std::pair<Digest, RowId>>;
  Look([&](JobReader& reader) {
    EXPECT_EQ(listed(reader, std::nullopt, 2),
              (Rows{{values[0], blobs[0]}, {values[1], blobs[1]}}));
    EXPECT_EQ(listed(reader, values[1], 2), (Rows{{values[2], blobs[2]}}));
    EXPECT_EQ(listed(reader, values[2], 2), Rows());
    EXPECT_EQ(listed(reader, std::nullopt, 0), Rows());
  });
}

TEST_P(JobRows, AMovedBlobIsInItsNewPack) {
  BlobRow first = TestBlob(1, "one");
  BlobRow second = TestBlob(2, "one");
  Write([&](JobTransaction& tx) {
    first.id = Must(tx.InsertBlob(first));
    second.id = Must(tx.InsertBlob(second));
    Must(tx.InsertBlob(TestBlob(3, "on")));
  });
  Look([&](JobReader& reader) {
    EXPECT_EQ(Text(Must(reader.BlobsInPack("one"))), Text(std::vector{first, second}));
  });
  first.location = "two:5";
  first.checksums = std::string("\0\1", 2);
  Write([&](JobTransaction& tx) { Must(tx.MoveBlob(first.id, first.location, first.checksums)); });
  Look([&](JobReader& reader) {
    EXPECT_EQ(Text(Must(reader.BlobsInPack("one"))), Text(std::vector{second}));
    EXPECT_EQ(Text(Must(reader.BlobsInPack("two"))), Text(std::vector{first}));
    EXPECT_EQ(Text(Must(reader.FindBlob(first.name))), Text(first));
    EXPECT_TRUE(Must(reader.BlobsInPack("")).empty());
  });
  const absl::Status absent =
      database().WriteAndWait([](JobTransaction& tx) { return tx.MoveBlob(99, "x:1", ""); });
  EXPECT_EQ(absent.code(), absl::StatusCode::kNotFound) << absent;
}

TEST_P(JobRows, UsesAreFoundFromTheBlob) {
  RowId a = 0;
  RowId blob = 0;
  std::vector<RowId> jobs;
  Write([&](JobTransaction& tx) {
    a = Must(tx.EnsureNamespace("a"));
    blob = Must(tx.InsertBlob(TestBlob(1, "pack")));
    for (uint64_t n : {1, 2, 3}) jobs.push_back(Must(tx.InsertJob(TestJob(a, n))));
    const RowId foreign = Must(tx.InsertJob(TestJob(Must(tx.EnsureNamespace("b")), 1)));
    for (const RowId job : {jobs[2], jobs[0], foreign, jobs[1], jobs[0]}) {
      Must(tx.AddUse(job, blob, BlobUse::kArgument));
    }
    Must(tx.AddUse(jobs[1], blob, BlobUse::kResult));
  });
  Look([&](JobReader& reader) {
    EXPECT_EQ(Must(reader.JobsUsing(a, blob, BlobUse::kArgument, 100)), jobs);
    EXPECT_EQ(Must(reader.JobsUsing(a, blob, BlobUse::kArgument, 2)),
              (std::vector{jobs[0], jobs[1]}));
    EXPECT_EQ(Must(reader.JobsUsing(a, blob, BlobUse::kResult, 100)), (std::vector{jobs[1]}));
    EXPECT_EQ(Must(reader.AllJobsUsing(blob, BlobUse::kArgument)).size(), jobs.size() + 1);
  });
  Write([&](JobTransaction& tx) { Must(tx.DropUses(jobs[1], BlobUse::kArgument)); });
  Look([&](JobReader& reader) {
    EXPECT_EQ(Must(reader.JobsUsing(a, blob, BlobUse::kArgument, 100)),
              (std::vector{jobs[0], jobs[2]}));
    EXPECT_EQ(Must(reader.JobsUsing(a, blob, BlobUse::kResult, 100)), (std::vector{jobs[1]}));
  });
}

TEST_P(JobRows, BlobsThatNothingUsesCanBeFoundAndDeleted) {
  RowId a = 0, b = 0;
  std::vector<RowId> blobs;
  Write([&](JobTransaction& tx) {
    a = Must(tx.EnsureNamespace("a"));
    b = Must(tx.EnsureNamespace("b"));
    const RowId job = Must(tx.InsertJob(TestJob(a, 1)));
    for (int i = 0; i < 4; ++i) {
      blobs.push_back(Must(tx.InsertBlob(TestBlob(i, i < 3 ? "p:o:1" : "q:s:1"))));
      Must(tx.ShowBlob(i % 2 == 0 ? a : b, blobs.back()));
    }
    Must(tx.AddUse(job, blobs[0], BlobUse::kResult));
    Must(tx.PutValue(TestDigest(7), blobs[1]));
    Must(tx.AddHold(blobs[1], blobs[2]));
    Must(tx.AddHold(blobs[1], blobs[2]));
  });
  const auto ids = [](const std::vector<BlobRow>& rows) {
    std::vector<RowId> out;
    for (const BlobRow& row : rows) out.push_back(row.id);
    return out;
  };
  Look([&](JobReader& reader) {
    EXPECT_EQ(ids(Must(reader.ListBlobs(a, 0, 10))), (std::vector{blobs[0], blobs[2]}));
    EXPECT_EQ(ids(Must(reader.ListBlobs(a, blobs[0], 10))), (std::vector{blobs[2]}));
    EXPECT_EQ(ids(Must(reader.ListBlobs(a, 0, 1))), (std::vector{blobs[0]}));
    EXPECT_TRUE(Must(reader.BlobInUse(blobs[0]))) << "by a job";
    EXPECT_TRUE(Must(reader.BlobInUse(blobs[2]))) << "by another blob";
    EXPECT_FALSE(Must(reader.BlobInUse(blobs[1])));
    EXPECT_EQ(ids(Must(reader.UnusedBlobs(0, 10))), (std::vector{blobs[1], blobs[3]}));
    EXPECT_EQ(ids(Must(reader.UnusedBlobs(blobs[1], 10))), (std::vector{blobs[3]}));
    const std::vector<PackUse> uses = Must(reader.PackUses());
    ASSERT_EQ(uses.size(), 2u);
    EXPECT_EQ(uses[0].pack, "p");
    EXPECT_EQ(uses[0].blobs, 3u);
    EXPECT_EQ(uses[1].blobs, 1u);
    EXPECT_EQ(ids(Must(reader.ListAllBlobs(blobs[0], 2))), (std::vector{blobs[1], blobs[2]}));
    EXPECT_TRUE(Must(reader.ListBlobs(0, 0, 10)).empty()) << "no namespace sees nothing";
    EXPECT_EQ(Must(reader.BlobsHolding(blobs[2])), (std::vector{blobs[1]}));
    EXPECT_EQ(Must(reader.BlobsHeldBy(blobs[1])), (std::vector{blobs[2]}));
    EXPECT_TRUE(Must(reader.BlobsHolding(blobs[1])).empty());
    EXPECT_EQ(Must(reader.UseOfPacks("p")).blobs, 3u);
    EXPECT_EQ(Must(reader.UseOfPacks("q")).bytes, Must(reader.FindBlob(blobs[3]))->size);
    EXPECT_EQ(Must(reader.UseOfPacks("!")).blobs, 0u);
  });
  const int64_t bytes = Counts().blob_bytes;
  uint64_t size = 0;
  Write([&](JobTransaction& tx) {
    size = Must(tx.FindBlob(blobs[1]))->size;
    Must(tx.DeleteBlob(blobs[1]));
  });
  EXPECT_EQ(Counts().blobs, 3);
  EXPECT_EQ(Counts().blob_bytes, bytes - static_cast<int64_t>(size));
  Look([&](JobReader& reader) {
    EXPECT_FALSE(Must(reader.FindBlob(blobs[1])).has_value());
    EXPECT_FALSE(Must(reader.FindValue(TestDigest(7))).has_value());
    EXPECT_FALSE(Must(reader.BlobVisible(b, blobs[1])));
    EXPECT_EQ(ids(Must(reader.UnusedBlobs(0, 10))), (std::vector{blobs[2], blobs[3]}))
        << "what it held is free now";
  });
  // One that is in use stays.
  EXPECT_TRUE(absl::IsFailedPrecondition(
      database().WriteAndWait([&](JobTransaction& tx) { return tx.DeleteBlob(blobs[0]); })));
  EXPECT_EQ(Counts().blobs, 3);
}

TEST_P(JobRows, PacksChangeStateAndGo) {
  Write([](JobTransaction& tx) {
    Must(tx.PutPack({"b", PackState::kPending}));
    Must(tx.PutPack({"a", PackState::kPending}));
    Must(tx.PutPack({"c", PackState::kOpen}));
    Must(tx.PutPack({"b", PackState::kSealed}));
  });
  Look([](JobReader& reader) {
    EXPECT_EQ(Text(Must(reader.AllPacks(PackState::kPending))),
              Text(std::vector<PackRow>{{"a", PackState::kPending}}));
    EXPECT_EQ(Text(Must(reader.FindPack("b"))), Text(PackRow{"b", PackState::kSealed}));
  });
  Write([](JobTransaction& tx) {
    Must(tx.DeletePack("b"));
    Must(tx.DeletePack("b"));
  });
  Look([](JobReader& reader) {
    EXPECT_FALSE(Must(reader.FindPack("b")));
    EXPECT_TRUE(Must(reader.AllPacks(PackState::kSealed)).empty());
  });
}

}  // namespace
}  // namespace tiffin::server
