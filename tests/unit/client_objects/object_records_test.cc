// Records that somebody else made, given to the client as values (DESIGN.md 2).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "client/objects.h"
#include "common/base64.h"
#include "common/cbor.h"
#include "tests/unit/client_objects/fake_blobs.h"

namespace tiffin {
namespace {

Value Parsed(std::string_view text) { return ParseJson(text).value(); }

Value Sent(std::string_view text, const EncodeOptions& options = {.host = "node1"}) {
  const absl::StatusOr<Value> value = Encode(Parsed(text), options);
  EXPECT_TRUE(value.ok()) << value.status();
  return value.value_or(Value());
}

TEST(Records, ThatNameFilesGetThisHost) {
  const std::string_view path =
      R"({"_noodles": "0.3.0", "type": "<object>", "class": "pathlib.PosixPath", )"
      R"("data": "out.dat", "host": null, "files": ["out.dat"]})";
  const Value sent = Sent(path);
  EXPECT_EQ(*sent.if_object()->Find("host"), Value("node1"));
  EXPECT_EQ(*sent.if_object()->Find("data"), Value("out.dat"));
  // At any depth, within other records, too.
  const Value deep = Sent(
      StrCat(R"({"a": [1, {"_noodles": "0.3.0", "type": "<automagic>", "class": "m.C", "data": [)",
             path, "]}]}"));
  EXPECT_THAT(PrintJson(deep), ::testing::HasSubstr(R"("host":"node1","files":["out.dat"])"));
}

TEST(Records, ThatNameAHostKeepIt) {
  const std::string_view there =
      R"({"_noodles": "0.3.0", "type": "<object>", "class": "pathlib.PosixPath", )"
      R"("data": "out.dat", "host": "node7", "files": ["out.dat"]})";
  EXPECT_EQ(Sent(there), Parsed(there));
}

TEST(Records, ThatNameNoFilesStayAsTheyAre) {
  const std::string_view text =
      R"([{"_noodles": "0.3.0", "type": "<object>", "class": "builtins.tuple", "data": [1], "host": null}, )"
      R"({"host": null, "files": ["a"]}])";
  EXPECT_EQ(Sent(text), Parsed(text));
}

TEST(Records, LoseTheirArraysWhereThereAreBlobs) {
  const absl::StatusOr<std::string> npy = WriteNpy({"int64", {2, 400}, std::string(6400, 'x')});
  ASSERT_TRUE(npy.ok());
  const Value record = MakeRecord(kObjectType, "numpy.ndarray", Base64Encode(*npy));
  const auto blobs = std::make_shared<FakeBlobs>();
  const absl::StatusOr<Value> sent = Encode(Value(List{record}), {.blobs = blobs});
  ASSERT_TRUE(sent.ok()) << sent.status();
  EXPECT_EQ(blobs->puts, 1);
  EXPECT_TRUE(HasRef(*(*sent->if_list())[0].if_object()));
  EXPECT_EQ(EncodeCbor(*sent).value(), EncodeCbor(Value(List{record})).value());  // the same job
  EXPECT_EQ(Encode(record).value(), record);
  EXPECT_EQ(Encode(record, {.blobs = blobs, .inline_limit = 6401}).value(), record);
}

// A file in the working folder, which goes with the test.
class WorkFile {
 public:
  explicit WorkFile(const std::string& name, std::string_view content)
      : path_(std::filesystem::path(::testing::TempDir()) / StrCat(::getpid(), "-", name)) {
    std::ofstream(path_, std::ios::binary) << content;
  }
  ~WorkFile() { std::filesystem::remove(path_); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

TEST(Records, UploadTheirArrayFilesOnRequest) {
  const std::string bytes(64, 'y');
  const WorkFile file("tiffin-array.npy", WriteNpy({"float64", {8}, bytes}).value());
  const Value record =
      Object{{"_noodles", "0.3.0"},       {"type", "<object>"}, {"class", "numpy.ndarray"},
             {"data", file.path()},       {"ref", true},        {"host", Value()},
             {"files", List{file.path()}}};
  const auto blobs = std::make_shared<FakeBlobs>();
  const absl::StatusOr<Value> sent = Encode(record, {.blobs = blobs, .upload_files = true});
  ASSERT_TRUE(sent.ok()) << sent.status();
  const BlobName name{BlobKey("float64", {8}, bytes), "float64", {8}};
  EXPECT_EQ(RefOf(*sent->if_object()).value(), RecordRef(name));
  EXPECT_FALSE(NamesFiles(*sent->if_object()));
  EXPECT_EQ(sent->if_object()->Find("host"), nullptr);
  // As the server writes refs: one after `data` would be the sender's own, and never come back
  // inline.
  EXPECT_EQ(*sent, Client::RefRecord(name));
  EXPECT_EQ(Encode(record, {.upload_files = true}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(NamesFiles(*Encode(record, {.blobs = blobs})->if_object()));
}

TEST(Records, UploadDatasetsOfTheirHdf5Files) {
  const Array array{"int64", {100}, std::string(800, 'z')};
  std::vector<std::string> read;
  const EncodeOptions options{
      .blobs = std::make_shared<FakeBlobs>(),
      .upload_files = true,
      .read_hdf5 = [&](const std::string& file, const std::string& dataset) {
        read.push_back(file + " " + dataset);
        return absl::StatusOr<Array>(array);
      }};
  for (const char* member : {"hdf5_path", "path"}) {  // the seed's name, and Noodles'
    const Value record = Object{{"_noodles", "0.3.0"},
                                {"type", "<object>"},
                                {"class", "numpy.ndarray"},
                                {"data", Object{{"filename", "cache.h5"}, {member, "a/b"}}},
                                {"ref", true},
                                {"host", Value()},
                                {"files", List{"cache.h5"}}};
    EXPECT_EQ(Encode(record, options).value(), Client::RefRecord(array.Name()));
    // Without a reader of HDF5 it keeps its file.
    EXPECT_TRUE(
        NamesFiles(*Encode(record, {.blobs = options.blobs, .upload_files = true})->if_object()));
  }
  EXPECT_EQ(read, (std::vector<std::string>{"cache.h5 a/b", "cache.h5 a/b"}));
}

TEST(Records, UploadTheFilesOfObjectsOnRequest) {
  const WorkFile file("tiffin-file.txt", "content");
  const Value record =
      Object{{"_noodles", "0.3.0"}, {"type", "<automagic>"}, {"class", "m.C"},
             {"data", "title"},     {"host", "node1"},       {"files", List{file.path()}}};
  const auto blobs = std::make_shared<FakeBlobs>();
  const EncodeOptions here{.host = "node1", .blobs = blobs, .upload_files = true};
  const absl::StatusOr<Value> sent = Encode(record, here);
  ASSERT_TRUE(sent.ok()) << sent.status();
  EXPECT_FALSE(NamesFiles(*sent->if_object()));
  const Value& files = *sent->if_object()->Find("data")->if_object()->Find("data");
  EXPECT_EQ(*files.if_object()->Find("value"), Value("title"));
  EXPECT_EQ(*files.if_object()->Find("files")->if_object()->Find(file.path()),
            Client::RefRecord({BlobKey(kBytesDType, {7}, "content"), std::string(kBytesDType), {7}},
                              kBytesClass));
  // Of another host's files nothing can be said.
  EXPECT_EQ(Encode(record, {.host = "node2", .blobs = blobs, .upload_files = true}).value(),
            record);
}

TEST(Records, WhoseFileIsGoneSaySo) {
  const Value record =
      Object{{"_noodles", "0.3.0"}, {"type", "<automagic>"}, {"class", "m.C"},
             {"data", "title"},     {"host", Value()},       {"files", List{"no-such-file"}}};
  const absl::Status status =
      Encode(record, {.blobs = std::make_shared<FakeBlobs>(), .upload_files = true}).status();
  EXPECT_EQ(status, absl::NotFoundError("file no-such-file cannot be read"));
}

}  // namespace
}  // namespace tiffin
