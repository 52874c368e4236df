// The C++ client against the real server.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "client/client.h"
#include "client/objects.h"
#include "tests/support/server_process.h"

namespace tiffin {
namespace {

namespace fs = std::filesystem;

// A folder that goes when the test does.
class Folder {
 public:
  Folder() {
    std::string path = (fs::temp_directory_path() / "tiffin-client-XXXXXX").string();
    path_ = mkdtemp(path.data());
  }
  ~Folder() { fs::remove_all(path_); }
  std::string Data() const { return path_ / "data"; }

 private:
  fs::path path_;
};

class ClientServerTest : public ::testing::Test {
 protected:
  void Serve(const std::vector<std::string>& flags = {}) {
    server_ = testing::ServerProcess::Tiffin(folder_.Data(), flags);
  }
  Client MakeClient(ClientOptions options = {}) {
    return Client(MakeGrpcConnection({.server = server_->address()}), std::move(options));
  }
  // 0, 1, 2 … of 4 bytes each.
  static Array Counting(const Shape& shape) {
    const size_t items =
        std::accumulate(shape.begin(), shape.end(), size_t{1}, std::multiplies<>());
    std::vector<int32_t> numbers(items);
    std::iota(numbers.begin(), numbers.end(), 0);
    return {"int32", shape, std::string(reinterpret_cast<const char*>(numbers.data()), items * 4)};
  }

  Folder folder_;
  std::unique_ptr<testing::ServerProcess> server_;
};

// Some are refused by the server, others reset by gRPC, which has no room to read them.
TEST_F(ClientServerTest, MoreThanTheServerHasRoomForIsDoneOneAfterAnother) {
  Serve({"--max-memory", std::to_string(64 << 20)});
  ClientOptions options;
  options.retry.patience = absl::Minutes(5);
  Client client = MakeClient(options);
  const std::string text(8 << 20, 'x');
  std::vector<absl::Status> ends(24);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < ends.size(); ++i) {
    threads.emplace_back([&, i] {
      const Value job(Object{
          {"function", "f"}, {"arguments", List{static_cast<int64_t>(i), text}}, {"version", "1"}});
      ends[i] = client.Submit(job).status();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& end : ends) EXPECT_TRUE(end.ok()) << end;
}

TEST_F(ClientServerTest, BatchesOfAnyLengthAreAnswered) {
  Serve();
  Client client = MakeClient();
  std::vector<Value> jobs;
  for (int i = 0; i < 12'000; ++i) {
    jobs.push_back(Value(Object{{"function", "f"}, {"arguments", List{i}}, {"version", "1"}}));
  }
  const auto submitted = client.SubmitBatch(jobs);
  ASSERT_TRUE(submitted.ok()) << submitted.status();
  std::vector<Digest> keys;
  for (size_t i = 0; i < jobs.size(); ++i) {
    ASSERT_TRUE((*submitted)[i].ok());
    keys.push_back((*submitted)[i]->key);
    if (i % 1000 != 7) continue;
    const Submitted& granted = *(*submitted)[i];
    ASSERT_TRUE(client.Store(granted.key, granted.lease, Value(static_cast<int64_t>(i))).ok());
  }
  const auto results = client.BatchGet(keys);
  ASSERT_TRUE(results.ok()) << results.status();
  for (size_t i = 0; i < keys.size(); ++i) {
    ASSERT_EQ((*results)[i].ok(), i % 1000 == 7) << i;
    if (i % 1000 != 7) continue;
    EXPECT_EQ((*results)[i]->value, Value(static_cast<int64_t>(i)));
  }
}

TEST_F(ClientServerTest, ManySmallArraysGoInOneCall) {
  Serve();
  std::vector<Array> arrays;
  for (uint64_t i = 0; i < 300; ++i) arrays.push_back(Counting({i, 100}));
  const auto names = MakeClient().PutBatch(arrays);
  ASSERT_TRUE(names.ok()) << names.status();
  Client other = MakeClient();
  for (size_t i = 0; i < arrays.size(); i += 29) {
    EXPECT_EQ(other.Deref((*names)[i])->bytes, arrays[i].bytes);
  }
}

TEST_F(ClientServerTest, OnlyTheSelectionTravels) {
  Serve();
  Client client = MakeClient();
  const BlobName name = *client.Put(Counting({1000, 1000}));
  const std::vector<SlabDimension> slab = {{10, 3, 100}, {999, 1, 1}};
  const auto selected = client.DerefSlab(name, slab);
  ASSERT_TRUE(selected.ok()) << selected.status();
  EXPECT_EQ(selected->shape, (Shape{3, 1}));
  std::vector<int32_t> numbers(3);
  ASSERT_EQ(selected->bytes.size(), 12u);
  std::memcpy(numbers.data(), selected->bytes.data(), 12);
  EXPECT_EQ(numbers, (std::vector<int32_t>{10'999, 110'999, 210'999}));
  const std::vector<SlabDimension> nothing = {{0, 0, 1}, {0, 5, 1}};
  EXPECT_EQ(client.DerefSlab(name, nothing)->shape, (Shape{0, 5}));
  const std::vector<SlabDimension> beyond = {{0, 1, 1}, {999, 2, 1}};
  EXPECT_EQ(client.DerefSlab(name, beyond).status().code(), absl::StatusCode::kOutOfRange);
}

TEST_F(ClientServerTest, TheServersFileIsMapped) {
  Serve({"--allow-local"});
  Client client = MakeClient();
  const Array array = Counting({3, 200'000});
  const BlobName name = *client.Put(array);
  const auto blob = client.Map(name);
  ASSERT_TRUE(blob.ok()) << blob.status();
  EXPECT_TRUE(blob->mapped());
  EXPECT_EQ(blob->bytes(), array.bytes);
  server_->Stop(9);  // the bytes stay
  EXPECT_EQ(MappedBlob(*blob).bytes(), array.bytes);
}

TEST_F(ClientServerTest, WhatCannotBeMappedIsFetched) {
  Serve();  // does not allow it
  const Array large = Counting({3, 200'000}), small = Counting({5});
  {
    Client client = MakeClient();
    const auto blob = client.Map(*client.Put(large));
    ASSERT_TRUE(blob.ok()) << blob.status();
    EXPECT_FALSE(blob->mapped());
    EXPECT_EQ(blob->bytes(), large.bytes);
  }
  server_->Stop(15);
  Serve({"--allow-local"});
  Client client = MakeClient();
  const auto blob = client.Map(*client.Put(small));  // in an open pack, which is still written to
  ASSERT_TRUE(blob.ok()) << blob.status();
  EXPECT_FALSE(blob->mapped());
  EXPECT_EQ(blob->bytes(), small.bytes);
}

TEST_F(ClientServerTest, DamageInAMappedFileIsSeen) {
  Serve({"--allow-local"});
  Client client = MakeClient();
  const BlobName name = *client.Put(Counting({3, 200'000}));
  v1::DerefRequest request;
  *request.mutable_caller() = client.caller();
  request.mutable_ref()->set_key(std::string(name.key.view()));
  request.set_local(true);
  v1::LocalPlace place;
  const auto on_header = [&](const v1::DerefResponse::Header& header) {
    place = header.local();
    return absl::OkStatus();
  };
  ASSERT_TRUE(client.connection()
                  .Deref(request, on_header, [](std::string_view) { return absl::OkStatus(); })
                  .ok());
  std::FILE* file = std::fopen(place.path().c_str(), "r+");
  ASSERT_NE(file, nullptr);
  ASSERT_EQ(std::fseek(file, static_cast<long>(place.offset()) + 1000, SEEK_SET), 0);
  ASSERT_EQ(std::fputs("damage", file) < 0, false);
  ASSERT_EQ(std::fclose(file), 0);
  EXPECT_EQ(client.Map(name).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(MakeClient({.verify = false}).Map(name).ok());
}

// An object with a file, whose content goes along.
struct Report {
  static constexpr std::string_view kClassName = "m.Report";
  absl::StatusOr<Value> serialise(const Pack& pack) const {
    return pack(title, {.files = {file}, .upload = true});
  }
  static absl::StatusOr<Report> construct(const Unpack& record) {
    Report report;
    const absl::StatusOr<std::string> title = record.As<std::string>();
    if (!title.ok()) return title.status();
    const absl::StatusOr<std::string> content = record.File("report.txt");
    if (!content.ok()) return content.status();
    report.title = *title;
    report.content = *content;
    return report;
  }
  std::string title, file, content;
};

TEST_F(ClientServerTest, FilesOfObjectsComeBackOnAnyHost) {
  Serve();
  for (const std::string& content : {std::string("small"), std::string(3 << 20, 'L')}) {
    Report report;
    report.title = "t";
    report.file = "report.txt";
    std::ofstream(report.file) << content;
    Client client = MakeClient();
    const Value job(Object{{"function", "report"},
                           {"arguments", List{static_cast<int64_t>(content.size())}},
                           {"version", "1"}});
    const auto record = Encode(report, {.host = "node1", .blobs = MakeObjectBlobs(client)});
    ASSERT_TRUE(record.ok()) << record.status();
    ASSERT_TRUE(client.StoreJob(job, *record).ok());
    fs::remove(report.file);
    Client other = MakeClient();
    const auto stored = other.Get(*other.KeyOf(job));
    ASSERT_TRUE(stored.ok()) << stored.status();
    const auto back = Decode<Report>(stored->value, {.blobs = MakeObjectBlobs(other)});
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(back->title, "t");
    EXPECT_TRUE(back->content == content);
  }
}

// An object that is to be elsewhere.
struct Model {
  static constexpr std::string_view kClassName = "m.Model";
  absl::StatusOr<Value> serialise(const Pack& pack) const { return pack(weights, {.ref = true}); }
  static absl::StatusOr<Model> construct(const Unpack& record) {
    absl::StatusOr<std::vector<double>> weights = record.As<std::vector<double>>();
    if (!weights.ok()) return weights.status();
    return Model{*std::move(weights)};
  }
  std::vector<double> weights;
};

TEST_F(ClientServerTest, ObjectsMarkedWithRefComeBackAsPlaceholders) {
  Serve();
  Client client = MakeClient();
  const Model model{{0.5, -1.25}};
  const Value job(Object{{"function", "train"}, {"arguments", List{}}, {"version", "1"}});
  const auto record = Encode(std::vector<Model>{model});
  ASSERT_TRUE(record.ok()) << record.status();
  ASSERT_TRUE(client.StoreJob(job, *record).ok());

  Client other = MakeClient();
  const auto stored = other.Get(*other.KeyOf(job));
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_NE(PrintJson(stored->value), PrintJson(*record)) << "the data stayed in the record";
  // Without `deref` it is a placeholder, which brings the object when asked.
  const auto refs =
      Decode<std::vector<Ref<Model>>>(stored->value, {.blobs = MakeObjectBlobs(other)});
  ASSERT_TRUE(refs.ok()) << refs.status();
  EXPECT_TRUE((*refs)[0].elsewhere());
  const auto brought = (*refs)[0].Deref();
  ASSERT_TRUE(brought.ok()) << brought.status();
  EXPECT_EQ(brought->weights, model.weights);
  EXPECT_EQ(Decode<std::vector<Model>>(stored->value).status().code(),
            absl::StatusCode::kFailedPrecondition);
  // With it, it is the object; and the placeholder sent on is the same job's argument as the
  // object.
  const auto whole =
      Decode<std::vector<Model>>(stored->value, {.deref = true, .blobs = MakeObjectBlobs(other)});
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_EQ((*whole)[0].weights, model.weights);
  const auto sent_on = Encode(*refs);
  ASSERT_TRUE(sent_on.ok()) << sent_on.status();
  const auto key = [&](const Value& argument) {
    return *client.KeyOf(Object{{"function", "use"}, {"arguments", argument}, {"version", "1"}});
  };
  EXPECT_EQ(key(*sent_on), key(*record));
}

TEST(MappedBlob, IsOfTheServersFileOnly) {
  const Folder folder;
  fs::create_directories(folder.Data());
  const std::string path = folder.Data() + "/file";
  std::FILE* file = std::fopen(path.c_str(), "w");
  ASSERT_NE(file, nullptr);
  std::fputs("0123456789", file);
  std::fclose(file);
  struct stat info;
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(MappedBlob::Map(path, 3, 4, 10, info.st_ino)->bytes(), "3456");
  EXPECT_EQ(MappedBlob::Map(path, 10, 0, 10, info.st_ino)->bytes(), "");
  for (const auto& refused : {MappedBlob::Map(path, 3, 4, 11, info.st_ino),
                              MappedBlob::Map(path, 3, 4, 10, info.st_ino + 1),
                              MappedBlob::Map(path, 3, 8, 10, info.st_ino),
                              MappedBlob::Map(path, UINT64_MAX, 4, 10, info.st_ino),
                              MappedBlob::Map(path + "-absent", 3, 4, 10, info.st_ino)}) {
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kNotFound);
  }
}

}  // namespace
}  // namespace tiffin
