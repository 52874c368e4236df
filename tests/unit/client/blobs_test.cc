// Arrays to the server and back.
#include <array>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "client/object_blobs.h"
#include "common/npy.h"
#include "tests/unit/client/client_fixture.h"

namespace tiffin::testing {
namespace {

constexpr size_t kMiB = 1 << 20;

// Bytes as an array, different ones for each seed.
Array ArrayOf(size_t size, int seed = 0) {
  Array array{"uint8", {size}, std::string(size, '\0')};
  for (size_t i = 0; i < size; ++i) array.bytes[i] = static_cast<char>(i * 31 + i / 251 + seed);
  return array;
}

class BlobsTest : public ClientTest {
 protected:
  // An array that is on the server.
  BlobName Stored(const Array& array) {
    server_->blobs[array.Name()] = array.bytes;
    return array.Name();
  }
  // A program that is killed when it has sent so many chunks, which the server keeps.
  void BreakOff(const Array& array, int chunks) {
    server_->keeps_uploads = true;
    server_->put_breaks_after = {chunks};
    ClientOptions options = Quick();
    options.retry.patience = absl::ZeroDuration();
    EXPECT_THAT(MakeClient(options).Put(array), Fails(absl::StatusCode::kUnavailable, "broken"));
  }
};

// ---- Put ----------------------------------------------------------------------------------------

TEST_F(BlobsTest, ASmallArrayGoesInOneMessage) {
  const Array array = ArrayOf(1000);
  EXPECT_EQ(*MakeClient().Put(array), array.Name());
  EXPECT_EQ(server_->blobs[array.Name()], array.bytes);
  EXPECT_EQ(server_->Calls("BatchPut"), 1);
  EXPECT_EQ(server_->Calls("Put"), 0);
}

TEST_F(BlobsTest, ALargeArrayIsStreamed) {
  const Array array = ArrayOf(3 * kMiB + 5);
  EXPECT_EQ(*MakeClient().Put(array), array.Name());
  EXPECT_EQ(server_->blobs[array.Name()], array.bytes);
  EXPECT_EQ(server_->Calls("Put"), 1);
}

TEST_F(BlobsTest, AnArrayIsSentOnce) {
  const Array array = ArrayOf(2 * kMiB);
  Client client = MakeClient();
  ASSERT_THAT(client.Put(array), IsOk());
  ASSERT_THAT(Client(client).Put(array), IsOk());
  EXPECT_EQ(server_->Calls("Put"), 1);
}

TEST_F(BlobsTest, EqualArraysOfSeveralThreadsAreSentOnce) {
  const Array array = ArrayOf(2 * kMiB);
  Client client = MakeClient();
  std::vector<std::future<absl::StatusOr<BlobName>>> names;
  for (int i = 0; i < 8; ++i) {
    names.push_back(std::async(std::launch::async, [&] { return client.Put(array); }));
  }
  for (auto& name : names) EXPECT_EQ(*name.get(), array.Name());
  EXPECT_EQ(server_->Calls("Put"), 1);
}

TEST_F(BlobsTest, AnUploadThatFailedIsLeftToTheNextThread) {
  const Array array = ArrayOf(2 * kMiB);
  Client client = MakeClient();
  server_->FailNext("Put", absl::ResourceExhaustedError("the disk is full"));
  std::future<absl::StatusOr<BlobName>> other;
  server_->on_put = [&] {
    // While the first upload is under way.
    other = std::async(std::launch::async, [&] { return client.Put(array); });
  };
  EXPECT_THAT(client.Put(array), Fails(absl::StatusCode::kResourceExhausted, "full"));
  EXPECT_EQ(*other.get(), array.Name());
}

TEST_F(BlobsTest, AnotherThreadsUploadIsWaitedForUntilTheDeadline) {
  const Array array = ArrayOf(2 * kMiB);
  Client client = MakeClient();
  server_->on_put = [&] {
    // While the first upload is under way, which waits for this.
    EXPECT_THAT(client.Until(absl::Now() + absl::Milliseconds(20)).Put(array),
                Fails(absl::StatusCode::kDeadlineExceeded, "still being sent by another thread"));
  };
  EXPECT_THAT(client.Put(array), IsOk());
}

TEST_F(BlobsTest, PutStartsAgainAfterABreak) {
  ClientOptions options = Quick();
  options.retry.patience = absl::Milliseconds(4);  // a few tries without progress
  server_->put_breaks_after = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const Array array = ArrayOf(17 * kMiB);
  EXPECT_EQ(*MakeClient(options).Put(array), array.Name());
  EXPECT_EQ(server_->blobs[array.Name()], array.bytes);
  EXPECT_EQ(server_->Calls("Put"), 17);
}

TEST_F(BlobsTest, PutGoesOnWithWhatTheServerHasKept) {
  server_->keeps_uploads = true;
  server_->put_breaks_after = {2, 0, 1};
  const Array array = ArrayOf(5 * kMiB + 7);
  EXPECT_EQ(*MakeClient().Put(array), array.Name());
  EXPECT_EQ(server_->blobs[array.Name()], array.bytes);
  EXPECT_THAT(server_->put_offsets(), ::testing::ElementsAre(0, 2 * kMiB, 2 * kMiB, 3 * kMiB));
}

TEST_F(BlobsTest, PutGoesOnWithWhatAProgramThatWasKilledHadSent) {
  const Array array = ArrayOf(5 * kMiB);
  BreakOff(array, 3);
  EXPECT_EQ(*MakeClient().Put(array), array.Name());
  EXPECT_THAT(server_->put_offsets(), ::testing::ElementsAre(0, 3 * kMiB));
}

TEST_F(BlobsTest, PutTakesNoUploadFromWhoStillSendsIt) {
  const Array array = ArrayOf(5 * kMiB);
  BreakOff(array, 3);
  server_->somebody_sends = true;
  EXPECT_EQ(*MakeClient().Put(array), array.Name());
  EXPECT_THAT(server_->put_offsets(), ::testing::ElementsAre(0, 0));
}

TEST_F(BlobsTest, PutNamedTellsHowFarItIsAndWhetherItWasThere) {
  const Array array = ArrayOf(3 * kMiB), small = ArrayOf(10);
  std::vector<uint64_t> sent;
  const auto note = [&](uint64_t bytes) { sent.push_back(bytes); };
  EXPECT_FALSE(*MakeClient().PutNamed(array.Name(), array.bytes, note));
  EXPECT_THAT(sent, ::testing::IsSupersetOf({kMiB, 2 * kMiB, 3 * kMiB}));
  EXPECT_TRUE(*MakeClient().PutNamed(array.Name(), array.bytes, note));
  EXPECT_FALSE(*MakeClient().PutNamed(small.Name(), small.bytes));
  EXPECT_TRUE(*MakeClient().PutNamed(small.Name(), small.bytes));
}

TEST_F(BlobsTest, PutStartsAtTheFrontWhereSomebodyElseGoesOn) {
  server_->keeps_uploads = true;
  server_->put_breaks_after = {2};
  server_->on_put = [&] {
    server_->on_put = [&] { server_->FailNext("Put", absl::AbortedError("taken over")); };
  };
  const Array array = ArrayOf(4 * kMiB);
  EXPECT_EQ(*MakeClient().Put(array), array.Name());
  EXPECT_THAT(server_->put_offsets(), ::testing::ElementsAre(0, 2 * kMiB, 0));
}

TEST_F(BlobsTest, PutStartsAtTheFrontWhenWhatWasKeptHasExpired) {
  server_->keeps_uploads = true;
  server_->put_breaks_after = {2};
  server_->on_put = [&] {
    server_->on_put = [&] {
      server_->FailNext("Put", absl::FailedPreconditionError("fewer bytes have come"));
    };
  };
  const Array array = ArrayOf(4 * kMiB);
  EXPECT_EQ(*MakeClient().Put(array), array.Name());
  EXPECT_THAT(server_->put_offsets(), ::testing::ElementsAre(0, 2 * kMiB, 0));
}

TEST_F(BlobsTest, PutGivesUpWhereItGetsNoFurther) {
  ClientOptions options = Quick();
  options.retry.patience = absl::Milliseconds(4);
  server_->put_breaks_after.assign(1000, 2);
  EXPECT_THAT(MakeClient(options).Put(ArrayOf(4 * kMiB)),
              Fails(absl::StatusCode::kUnavailable, "broken"));
  EXPECT_LT(server_->Calls("Put"), 20);
}

TEST_F(BlobsTest, PutOfWhatTheServerHasSendsNoBytes) {
  const Array array = ArrayOf(2 * kMiB);
  const BlobName name = Stored(array);
  server_->put_breaks_after = {0};  // would break with the first chunk
  EXPECT_EQ(*MakeClient().Put(array), name);
}

TEST_F(BlobsTest, PutChecksTheSize) {
  EXPECT_THAT(MakeClient().Put("int64", {3}, "too short"),
              Fails(absl::StatusCode::kInvalidArgument, "24"));
  EXPECT_EQ(server_->Calls("BatchPut"), 0);
}

TEST_F(BlobsTest, TheNameIsTheSeeds) {
  std::array<int64_t, 10> numbers;
  for (int64_t i = 0; i < 10; ++i) numbers[i] = i;
  const std::string_view bytes(reinterpret_cast<const char*>(numbers.data()), sizeof numbers);
  const auto name = MakeClient().Put("int64", {10}, bytes);
  ASSERT_THAT(name, IsOk());
  EXPECT_EQ(name->key.ToText(), "4Z8kdMg-CbjgTKKYlz6b-_-Tsda5VAJL44OheRB10mU=");
  const Value record = Client::RefRecord(*name);
  const auto array = MakeClient().DerefArray(record);
  ASSERT_THAT(array, IsOk());
  EXPECT_EQ(array->bytes, bytes);
}

// ---- PutBatch -----------------------------------------------------------------------------------

TEST_F(BlobsTest, PutBatchGroupsSmallArraysAndStreamsLargeOnes) {
  std::vector<Array> arrays;
  for (int i = 0; i < 20; ++i) arrays.push_back(ArrayOf(kMiB - 1, i));
  arrays.insert(arrays.begin() + 3, ArrayOf(kMiB, 99));
  arrays.push_back(arrays[0]);  // equal ones travel once, whether in one message or in two
  arrays.push_back(arrays[20]);
  const auto names = MakeClient().PutBatch(arrays);
  ASSERT_THAT(names, IsOk());
  ASSERT_EQ(names->size(), arrays.size());
  for (size_t i = 0; i < arrays.size(); ++i) {
    EXPECT_EQ((*names)[i], arrays[i].Name());
    EXPECT_EQ(server_->blobs[arrays[i].Name()], arrays[i].bytes);
  }
  EXPECT_EQ(server_->Calls("Put"), 1);
  int items = 0;
  for (const v1::BatchPutRequest& request : server_->batch_puts()) {
    EXPECT_LE(request.ByteSizeLong(), kMiB + 4096);
    items += request.items_size();
  }
  EXPECT_EQ(server_->Calls("BatchPut"), 3);
  EXPECT_EQ(items, 20);
}

TEST_F(BlobsTest, PutBatchSendsAgainWhatABrokenStreamDidNotAnswer) {
  std::vector<Array> arrays;
  for (int i = 0; i < 5; ++i) arrays.push_back(ArrayOf(100, i));
  server_->batch_breaks_after = {3};
  ASSERT_THAT(MakeClient().PutBatch(arrays), IsOk());
  for (const Array& array : arrays) EXPECT_EQ(server_->blobs[array.Name()], array.bytes);
  ASSERT_EQ(server_->batch_puts().size(), 2);
  EXPECT_EQ(server_->batch_puts()[1].items_size(), 2);
}

TEST_F(BlobsTest, PutBatchSendsOnlyWhatIsNotKnown) {
  Client client = MakeClient();
  const std::vector<Array> arrays = {ArrayOf(10, 1), ArrayOf(10, 2)};
  ASSERT_THAT(client.Put(arrays[0]), IsOk());
  ASSERT_THAT(client.PutBatch(arrays), IsOk());
  ASSERT_THAT(client.PutBatch(arrays), IsOk());
  EXPECT_EQ(server_->Calls("BatchPut"), 2);
  EXPECT_EQ(server_->batch_puts()[1].items_size(), 1);
}

TEST_F(BlobsTest, PutBatchesOfSeveralThreadsDoNotStopEachOther) {
  std::vector<Array> arrays;
  for (int i = 0; i < 50; ++i) {
    arrays.push_back(ArrayOf(100, i));
    arrays.push_back(ArrayOf(100, i));
  }
  const std::vector<Array> backwards(arrays.rbegin(), arrays.rend());
  Client client = MakeClient();
  std::vector<std::future<absl::StatusOr<std::vector<BlobName>>>> names;
  for (int i = 0; i < 4; ++i) {
    names.push_back(std::async(
        std::launch::async, [&, i] { return client.PutBatch(i % 2 == 0 ? arrays : backwards); }));
  }
  for (auto& name : names) EXPECT_THAT(name.get(), IsOk());
  EXPECT_EQ(server_->blobs.size(), 50);
}

TEST_F(BlobsTest, PutBatchNamesTheArrayThatIsWrong) {
  const std::vector<Array> arrays = {ArrayOf(10), {"int64", {3}, "too short"}};
  EXPECT_THAT(MakeClient().PutBatch(arrays),
              Fails(absl::StatusCode::kInvalidArgument, "arrays[1]: "));
}

// ---- Deref --------------------------------------------------------------------------------------

TEST_F(BlobsTest, DerefBringsTheArray) {
  const Array array = ArrayOf(1000);
  const auto back = MakeClient().Deref(Stored(array));
  ASSERT_THAT(back, IsOk());
  EXPECT_EQ(back->bytes, array.bytes);
  EXPECT_EQ(back->dtype, array.dtype);
  EXPECT_EQ(back->shape, array.shape);
}

TEST_F(BlobsTest, DerefOfAnEmptyArray) {
  const Array array{"float64", {0, 3}, ""};
  const auto back = MakeClient().Deref(Stored(array));
  ASSERT_THAT(back, IsOk());
  EXPECT_EQ(back->bytes, "");
}

TEST_F(BlobsTest, DerefGoesOnAtTheByteWhereItBroke) {
  ClientOptions options = Quick();
  options.retry.patience = absl::Milliseconds(4);  // a few tries without progress
  server_->deref_breaks_after = {8, 0, 0, 4, 12};
  for (int i = 0; i < 20; ++i) server_->deref_breaks_after.push_back(4);
  const Array array = ArrayOf(250);
  const auto back = MakeClient(options).Deref(Stored(array));
  ASSERT_THAT(back, IsOk());
  EXPECT_EQ(back->bytes, array.bytes);
  const auto derefs = server_->derefs();
  ASSERT_EQ(derefs.size(), 26);
  EXPECT_EQ(derefs[1].offset(), 8);
  EXPECT_EQ(derefs[2].offset(), 8);
  EXPECT_EQ(derefs[3].offset(), 8);
  EXPECT_EQ(derefs[4].offset(), 12);
  EXPECT_EQ(derefs[5].offset(), 24);
}

TEST_F(BlobsTest, MapStreamsWhatIsNotOnThisHost) {
  const BlobName name = Stored({"float64", {3}, std::string("0123456789abcdefghijklmn")});
  server_->local_place.emplace();
  server_->local_place->set_path("/no/such/folder/packs/ab/ab.h5");
  server_->local_place->set_file_size(1000);
  const auto blob = MakeClient().Map(name);
  ASSERT_TRUE(blob.ok()) << blob.status();
  EXPECT_FALSE(blob->mapped());
  EXPECT_EQ(blob->bytes(), "0123456789abcdefghijklmn");
  ASSERT_EQ(server_->derefs().size(), 2);
  EXPECT_FALSE(server_->derefs()[1].local());
}

TEST_F(BlobsTest, MapGoesOnStreamingThoughAServerCameBackThatMaps) {
  const BlobName name = Stored({"float64", {3}, std::string("0123456789abcdefghijklmn")});
  server_->deref_breaks_after = {0};  // after the header
  server_->on_deref_broken = [this] { server_->local_place.emplace(); };
  const auto blob = MakeClient().Map(name);
  ASSERT_TRUE(blob.ok()) << blob.status();
  EXPECT_EQ(blob->bytes(), "0123456789abcdefghijklmn");
  ASSERT_EQ(server_->derefs().size(), 2);
  EXPECT_TRUE(server_->derefs()[0].local());
  EXPECT_FALSE(server_->derefs()[1].local());
}

TEST_F(BlobsTest, DerefGivesUpWhereItGetsNoFurther) {
  ClientOptions options = Quick();
  options.retry.patience = absl::Milliseconds(4);
  server_->deref_breaks_after.assign(1000, 0);
  EXPECT_THAT(MakeClient(options).Deref(Stored(ArrayOf(100))),
              Fails(absl::StatusCode::kUnavailable, "broken"));
  EXPECT_LT(server_->Calls("Deref"), 20);
}

TEST_F(BlobsTest, DerefFindsAWrongByte) {
  const BlobName name = Stored(ArrayOf(100));
  server_->blobs[name][50] ^= 1;
  EXPECT_THAT(MakeClient().Deref(name), Fails(absl::StatusCode::kDataLoss, name.key.ToText()));
}

TEST_F(BlobsTest, DerefDoesNotLookIfItIsTold) {
  const BlobName name = Stored(ArrayOf(100));
  server_->blobs[name][50] ^= 1;
  ClientOptions options = Quick();
  options.verify = false;
  const auto back = MakeClient(options).Deref(name);
  ASSERT_THAT(back, IsOk());
  EXPECT_EQ(back->bytes, server_->blobs[name]);
  EXPECT_EQ(*FetchWhole(*MakeObjectBlobs(MakeClient(options)), name), server_->blobs[name]);
  EXPECT_THAT(FetchWhole(*MakeObjectBlobs(MakeClient()), name),
              Fails(absl::StatusCode::kDataLoss, ""));
}

TEST_F(BlobsTest, DerefRefusesAnotherSize) {
  const BlobName name = Stored(ArrayOf(100));
  server_->blobs[name] += "more";
  EXPECT_THAT(MakeClient().Deref(name), Fails(absl::StatusCode::kInternal, "104"));
}

TEST_F(BlobsTest, DerefOfWhatIsNotThere) {
  EXPECT_THAT(MakeClient().Deref(ArrayOf(3).Name()), Fails(absl::StatusCode::kNotFound, ""));
}

TEST_F(BlobsTest, DerefIntoFillsTheCallersMemory) {
  const Array array = ArrayOf(1000);
  server_->deref_breaks_after = {400};
  std::vector<char> memory(1000);
  ASSERT_THAT(MakeClient().DerefInto(Stored(array), std::as_writable_bytes(std::span(memory))),
              IsOk());
  EXPECT_EQ(std::string(memory.begin(), memory.end()), array.bytes);
}

TEST_F(BlobsTest, DerefIntoFindsAWrongByte) {
  const BlobName name = Stored(ArrayOf(100));
  server_->blobs[name][99] ^= 1;
  std::vector<char> memory(100);
  EXPECT_THAT(MakeClient().DerefInto(name, std::as_writable_bytes(std::span(memory))),
              Fails(absl::StatusCode::kDataLoss, ""));
}

TEST_F(BlobsTest, DerefIntoTakesMemoryOfTheArraysSizeOnly) {
  const BlobName name = Stored(ArrayOf(100));
  for (const size_t size : {99, 101}) {
    std::vector<char> memory(size);
    EXPECT_THAT(MakeClient().DerefInto(name, std::as_writable_bytes(std::span(memory))),
                Fails(absl::StatusCode::kInvalidArgument, "100"));
  }
  EXPECT_EQ(server_->Calls("Deref"), 0);
}

TEST_F(BlobsTest, DerefRangeGoesOnWithinItsRange) {
  server_->deref_breaks_after = {8};
  const Array array = ArrayOf(100);
  EXPECT_EQ(*MakeClient().DerefRange(Stored(array), 10, 30), array.bytes.substr(10, 30));
  EXPECT_EQ(server_->derefs()[1].offset(), 18);
  EXPECT_EQ(server_->derefs()[1].limit(), 22);
}

TEST_F(BlobsTest, AnErrorOfTheCallbackEndsDerefAndIsNotRepeated) {
  v1::BlobRef ref;
  const BlobName name = Stored(ArrayOf(100));
  ref.mutable_name()->set_key(std::string(name.key.view()));
  ref.mutable_name()->set_dtype(name.dtype);
  ref.mutable_name()->add_shape(100);
  EXPECT_THAT(MakeClient().DerefTo(ref, 0, std::nullopt,
                                   [](std::string_view) { return absl::UnavailableError("mine"); }),
              Fails(absl::StatusCode::kUnavailable, "mine"));
  EXPECT_EQ(server_->Calls("Deref"), 1);
}

}  // namespace
}  // namespace tiffin::testing
