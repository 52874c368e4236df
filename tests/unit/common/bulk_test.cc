#include "common/bulk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "common/base64.h"
#include "common/cbor.h"
#include "common/json.h"
#include "tests/support/test_data.h"

namespace tiffin {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::tiffin::testing::At;
using ::tiffin::testing::MustParse;
using ::tiffin::testing::StringAt;
using ::tiffin::testing::TestJson;
using ::tiffin::testing::TestJsonLines;

constexpr size_t kNoLimit = size_t{1} << 30;

// Keeps what was taken, and brings it back.
class Store {
 public:
  void Keep(const TakenRecord& taken) {
    for (const TakenBulk& bulk : taken.taken) {
      if (bulk.value.has_value()) {
        values_[bulk.value->value.ToText()] = bulk.array.bytes;
      } else {
        blobs_[bulk.name] = bulk.array.bytes;
      }
    }
  }

  BulkFetcher fetcher() const {
    return [this](const RecordRef& ref) -> absl::StatusOr<std::string> {
      ++fetched_;
      if (const ValueRef* value = std::get_if<ValueRef>(&ref)) {
        const auto it = values_.find(value->value.ToText());
        if (it == values_.end()) return absl::NotFoundError("no such value");
        return it->second;
      }
      const auto it = blobs_.find(std::get<BlobName>(ref));
      if (it == blobs_.end()) return absl::NotFoundError("no such blob");
      return it->second;
    };
  }

  int fetched() const { return fetched_; }

 private:
  std::map<BlobName, std::string> blobs_;
  std::map<std::string, std::string> values_;
  mutable int fetched_ = 0;
};

TakenRecord MustTake(const Value& record, const BulkOptions& options = {}) {
  absl::StatusOr<TakenRecord> taken = TakeBulk(record, options);
  EXPECT_TRUE(taken.ok()) << taken.status();
  return taken.ok() ? *std::move(taken) : TakenRecord();
}

// What comes back after all bulk was taken.
Value RoundTrip(const Value& record, const BulkOptions& options = {}) {
  const TakenRecord taken = MustTake(record, options);
  Store store;
  store.Keep(taken);
  const absl::StatusOr<Value> back = PutBulkBack(taken.record, store.fetcher(), kNoLimit);
  EXPECT_TRUE(back.ok()) << back.status();
  return back.ok() ? *back : Value();
}

std::string TextOf(const Value& record) { return PrintJson(record, JsonStyle::Python()); }

std::string Taken(std::string_view record, const BulkOptions& options = {}) {
  return TextOf(MustTake(MustParse(record), options).record);
}

// Every record of the data files.
std::vector<Value> AllRecords() {
  std::vector<Value> records;
  for (const Value& line : TestJsonLines("noodles-types.jsonl")) {
    if (line.if_object()->Find("noodles_fails") == nullptr) records.push_back(At(line, "record"));
  }
  for (const Value& line : TestJsonLines("noodles-jobs.jsonl")) {
    for (const std::string_view member : {"job", "result"}) {
      const Value* record = line.if_object()->Find(member);
      if (record != nullptr && record->if_object() != nullptr) records.push_back(*record);
    }
  }
  const Value golden = TestJson("noodles-golden.json");
  for (const auto& [name, profile] : *At(golden, "profiles").if_object()) {
    for (const auto& [job_name, job] : *At(profile, "jobs").if_object()) {
      records.push_back(MustParse(StringAt(job, "text")));
    }
    for (const auto& [message_name, text] : *At(profile, "messages").if_object()) {
      records.push_back(MustParse(*text.if_string()));
    }
  }
  return records;
}

// True if an inline array is in Fortran order (`'fortran_order': True` in base64, at each of the
// three places it may start at): it comes back in C order, which is other text.
bool HasFortranOrder(const Value& record) {
  const std::string text = PrintJson(record);
  for (const char* part : {"ZvcnRyYW5fb3JkZXInOiBUcnVl", "mb3J0cmFuX29yZGVyJzogVHJ1ZS",
                           "Zm9ydHJhbl9vcmRlcic6IFRydW"}) {
    if (text.find(part) != std::string::npos) return true;
  }
  return false;
}

TEST(TakeBulk, KeepsTheEncodingOfEveryRecordNoodlesWrites) {
  const std::vector<Value> records = AllRecords();
  ASSERT_GT(records.size(), 560u);
  for (const size_t limit : {0u, 64u, 4096u}) {
    for (const Value& record : records) {
      const TakenRecord taken = MustTake(record, {.inline_limit = limit});
      EXPECT_EQ(EncodeCbor(taken.record).value(), EncodeCbor(record).value())
          << TextOf(record).substr(0, 300);
    }
  }
}

TEST(PutBulkBack, RestoresEveryRecordNoodlesWrites) {
  int fortran = 0;
  for (const size_t limit : {0u, 64u, 4096u}) {
    for (const Value& record : AllRecords()) {
      const Value back = RoundTrip(record, {.inline_limit = limit});
      EXPECT_EQ(EncodeCbor(back).value(), EncodeCbor(record).value());
      if (HasFortranOrder(record)) {
        ++fortran;
      } else {
        EXPECT_EQ(TextOf(back), TextOf(record));
        EXPECT_EQ(back, record);
      }
    }
  }
  EXPECT_EQ(fortran, 3) << "one array in noodles-types.jsonl, three limits";
}

TEST(TakeBulk, LeavesNothingThatReachesTheLimit) {
  for (const Value& line : TestJsonLines("noodles-types.jsonl")) {
    if (StringAt(line, "name") == "array inline 1 MiB" || StringAt(line, "name") == "bytes 8 KiB") {
      const TakenRecord taken = MustTake(At(line, "record"));
      EXPECT_LT(TextOf(taken.record).size(), 300u);
      EXPECT_THAT(taken.taken, SizeIs(1));
      EXPECT_THAT(taken.refs, IsEmpty());
    }
  }
}

std::string BytesRecord(const std::string& bytes, const std::string& more = "") {
  return R"({"_noodles": "0.3.0", "type": "<object>", "class": "builtins.bytes", "data": ")" +
         Base64Encode(bytes) + "\"" + more + "}";
}

TEST(TakeBulk, CountsDecodedBytesAgainstTheLimit) {
  EXPECT_THAT(MustTake(MustParse(BytesRecord(std::string(4095, 'x')))).taken, IsEmpty());
  EXPECT_THAT(MustTake(MustParse(BytesRecord(std::string(4096, 'x')))).taken, SizeIs(1));
}

TEST(TakeBulk, MakesBytesARefOfTheFirstForm) {
  EXPECT_EQ(Taken(BytesRecord("hello", R"(, "host": null, "files": [])"), {.inline_limit = 5}),
            R"({"_noodles": "0.3.0", "type": "<object>", "class": "builtins.bytes", "ref": true, )"
            R"("data": {"hdf5_path": "qjEZlgyf-twL8RyEcwvO78SqG3D7xV1E72v5aFau9FA=", )"
            R"("dtype": "|V1", "shape": [5]}})");
}

TEST(TakeBulk, LeavesASendersRefInItsPlace) {
  const std::string record = BytesRecord("hello", R"(, "ref": 1)");
  EXPECT_EQ(Taken(record),
            R"({"_noodles": "0.3.0", "type": "<object>", "class": "builtins.bytes", )"
            R"("data": {"hdf5_path": "qjEZlgyf-twL8RyEcwvO78SqG3D7xV1E72v5aFau9FA=", )"
            R"("dtype": "|V1", "shape": [5]}, "ref": true})");
  EXPECT_EQ(TextOf(RoundTrip(MustParse(record))), BytesRecord("hello", R"(, "ref": true)"));
}

TEST(TakeBulk, KeepsTheSendersRefWhereOursWouldBe) {
  const std::string record =
      R"({"_noodles": "0.3.0", "type": "<object>", "class": "builtins.bytes", "ref": true, "data": "aGVsbG8="})";
  const std::string back = TextOf(RoundTrip(MustParse(record)));
  EXPECT_EQ(back, BytesRecord("hello", R"(, "ref": true)"));
  EXPECT_EQ(TextOf(RoundTrip(MustParse(back))), back);
}

TEST(TakeBulk, DropsAFalsyRef) {
  const std::string record = BytesRecord(std::string(4096, 'x'), R"(, "ref": false)");
  EXPECT_THAT(Taken(record), HasSubstr(R"("ref": true, "data")"));
  EXPECT_EQ(TextOf(RoundTrip(MustParse(record))), BytesRecord(std::string(4096, 'x')));
}

TEST(TakeBulk, KeepsMarkedValuesAsTheirText) {
  const TakenRecord taken =
      MustTake(MustParse(R"({"_noodles": "0.3.0", "type": "<automagic>", "class": "m.Model",)"
                         R"( "data": {"w": [1, 2.5]}, "ref": true})"));
  EXPECT_EQ(TextOf(taken.record),
            R"({"_noodles": "0.3.0", "type": "<automagic>", "class": "m.Model", )"
            R"("data": {"value": "I7-QmC5XB2n159TrhPn6xVLq3InFEpe-4nz4cyRNRJs=", "size": 13}, )"
            R"("ref": true})");
  ASSERT_THAT(taken.taken, SizeIs(1));
  EXPECT_EQ(taken.taken[0].array.bytes, R"({"w":[1,2.5]})");
  EXPECT_EQ(taken.taken[0].name, BytesBlobName(R"({"w":[1,2.5]})"));
}

TEST(TakeBulk, KeepsPicklesAsTheirTextWithQuotes) {
  const std::string data = Base64Encode(std::string(4096, '\x80'));
  const std::string record =
      R"({"_noodles": "0.3.0", "type": "<object>", "class": "m.Star", "data": ")" + data + "\"}";
  const TakenRecord taken = MustTake(MustParse(record));
  ASSERT_THAT(taken.taken, SizeIs(1));
  EXPECT_EQ(taken.taken[0].array.bytes, "\"" + data + "\"");
  EXPECT_EQ(taken.taken[0].value->size, data.size() + 2);
  EXPECT_EQ(TextOf(RoundTrip(MustParse(record))), record);
}

TEST(TakeBulk, TakesInnerBulkBeforeWhatHoldsIt) {
  const std::string inner = BytesRecord(std::string(4096, 'x'));
  const std::string record = R"({"_noodles": "0.3.0", "type": "<automagic>", "class": "m.A", )"
                             R"("data": [)" +
                             inner + R"(, 1], "ref": true})";
  const TakenRecord taken = MustTake(MustParse(record));
  ASSERT_THAT(taken.taken, SizeIs(2));
  EXPECT_FALSE(taken.taken[0].value.has_value());
  EXPECT_TRUE(taken.taken[1].value.has_value());
  EXPECT_THAT(taken.taken[1].array.bytes, HasSubstr("hdf5_path"));
  EXPECT_EQ(EncodeCbor(taken.record).value(), EncodeCbor(MustParse(record)).value());
  EXPECT_EQ(TextOf(RoundTrip(MustParse(record))), record);
}

TEST(TakeBulk, TakesTheSameBulkOnce) {
  const std::string bytes = BytesRecord(std::string(4096, 'x'));
  const TakenRecord taken = MustTake(MustParse("[" + bytes + ", {\"a\": " + bytes + "}]"));
  EXPECT_THAT(taken.taken, SizeIs(1));
}

TEST(TakeBulk, LeavesRecordsThatNameFiles) {
  const std::string inner = BytesRecord(std::string(4096, 'x'));
  for (const std::string& record :
       {std::string(R"({"_noodles": "0.3.0", "type": "<object>", "class": "numpy.ndarray", )"
                    R"("data": {"filename": "c.h5", "path": "x"}, "ref": true, "host": "n", )"
                    R"("files": ["c.h5"]})"),
        std::string(R"({"_noodles": "0.3.0", "type": "<object>", "class": "pathlib.PosixPath", )"
                    R"("data": "out.dat", "host": null, "files": ["out.dat"]})"),
        BytesRecord(std::string(4096, 'x'), R"(, "host": "n", "files": ["f"])")}) {
    EXPECT_EQ(Taken(record), record);
  }
  // What is inside them leaves all the same.
  const std::string outer = R"({"_noodles": "0.3.0", "type": "<automagic>", "class": "m.A", )"
                            R"("data": [)" +
                            inner + R"(], "ref": true, "files": ["f"]})";
  const TakenRecord taken = MustTake(MustParse(outer));
  EXPECT_THAT(taken.taken, SizeIs(1));
  EXPECT_EQ(EncodeCbor(taken.record).value(), EncodeCbor(MustParse(outer)).value());
  EXPECT_EQ(TextOf(RoundTrip(MustParse(outer))), outer);
}

TEST(TakeBulk, LeavesTextThatIsNotCanonicalBase64) {
  const std::string data(8192, 'A');
  for (const std::string& bad : {data + "=", data + "AAB=", data + "AA ==", data + "A-AA"}) {
    const std::string record =
        R"({"_noodles": "0.3.0", "type": "<object>", "class": "m.A", "data": ")" + bad + "\"}";
    EXPECT_EQ(Taken(record), record);
  }
  // And base64 outside of an <object>.
  const std::string automagic =
      R"({"_noodles": "0.3.0", "type": "<automagic>", "class": "m.A", "data": ")" + data + "\"}";
  EXPECT_EQ(Taken(automagic), automagic);
  EXPECT_EQ(Taken("[\"" + data + "\"]"), "[\"" + data + "\"]");
}

TEST(TakeBulk, KeepsAnArrayOfPythonObjectsOpaque) {
  std::string dict = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n";
  std::string npy = "\x93NUMPY";
  npy += std::string("\x01\x00", 2) + static_cast<char>(dict.size()) + '\0' + dict;
  const std::string record =
      R"({"_noodles": "0.3.0", "type": "<object>", "class": "numpy.ndarray", "data": ")" +
      Base64Encode(npy + std::string(4096, 'p')) + "\"}";
  const TakenRecord taken = MustTake(MustParse(record));
  ASSERT_THAT(taken.taken, SizeIs(1));
  EXPECT_TRUE(taken.taken[0].value.has_value());
  EXPECT_EQ(TextOf(RoundTrip(MustParse(record))), record);
}

constexpr std::string_view kSentRef =
    R"({"_noodles": "0.3.0", "type": "<object>", "class": "numpy.ndarray", "ref": true, )"
    R"("data": {"hdf5_path": "4Z8kdMg-CbjgTKKYlz6b-_-Tsda5VAJL44OheRB10mU=", "dtype": "int64", )"
    R"("shape": [10]}, "host": "n", "files": ["f"]})";

TEST(TakeBulk, ReportsRefsThatWereSentAndDropsTheirFiles) {
  const TakenRecord taken = MustTake(
      MustParse("[" + std::string(kSentRef) + ", {\"a\": " + std::string(kSentRef) + "}]"));
  EXPECT_THAT(taken.taken, IsEmpty());
  ASSERT_THAT(taken.refs, SizeIs(1));
  EXPECT_EQ(RefText(taken.refs[0]), "4Z8kdMg-CbjgTKKYlz6b-_-Tsda5VAJL44OheRB10mU= int64 [10]");
  EXPECT_EQ(TextOf(taken.record).find("files"), std::string::npos);
  EXPECT_EQ(TextOf(taken.record).find("host"), std::string::npos);
}

TEST(TakeBulk, NamesThePathOfAMalformedRef) {
  const absl::StatusOr<TakenRecord> taken = TakeBulk(
      MustParse(R"({"a b": [0, {"_noodles": "", "type": "<object>", "class": "x", "ref": true,)"
                R"( "data": {"hdf5_path": "4Z8kdMg-CbjgTKKYlz6b-_-Tsda5VAJL44OheRB10mU=",)"
                R"( "dtype": "int64", "shape": [1, -1]}}]})"));
  EXPECT_EQ(taken.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(taken.status().message()),
              HasSubstr("[\"a b\"][1].data.shape[1]: expected an integer"));
}

TEST(RefsIn, FindsEachRefOnce) {
  const std::string value =
      R"({"_noodles": "0.3.0", "type": "<automagic>", "class": "m.A", "ref": true, "data": )"
      R"({"value": "I7-QmC5XB2n159TrhPn6xVLq3InFEpe-4nz4cyRNRJs=", "size": 13}})";
  const absl::StatusOr<std::vector<RecordRef>> refs =
      RefsIn(MustParse("[" + value + ", " + std::string(kSentRef) + ", {\"x\": [" + value + "]}]"));
  ASSERT_TRUE(refs.ok()) << refs.status();
  ASSERT_THAT(*refs, SizeIs(2));
  EXPECT_EQ(RefSize((*refs)[0]), 13u);
  EXPECT_EQ(RefSize((*refs)[1]), 80u);
}

TEST(PutBulkBack, StopsAtTheLimitBeforeItFetches) {
  const Value record = List{MustParse(BytesRecord(std::string(6000, 'x')))};
  const TakenRecord taken = MustTake(record);
  Store store;
  store.Keep(taken);
  const size_t size = PrintJson(record).size();
  EXPECT_EQ(PrintJson(*PutBulkBack(taken.record, store.fetcher(), size)), PrintJson(record));
  EXPECT_EQ(store.fetched(), 1);
  const absl::Status status = PutBulkBack(taken.record, store.fetcher(), size - 500).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("[0]: "));
  EXPECT_EQ(store.fetched(), 1);
  EXPECT_EQ(PutBulkBack(taken.record, store.fetcher(), size - 1).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(PutBulkBack, PassesOnTheFetchersErrorWithThePath) {
  const absl::Status status =
      PutBulkBack(List{MustParse(kSentRef)}, Store().fetcher(), kNoLimit).status();
  EXPECT_EQ(status, absl::NotFoundError("[0]: no such blob"));
}

TEST(PutBulkBack, ReportsBytesOfTheWrongSize) {
  const auto fetch = [](const RecordRef&) -> absl::StatusOr<std::string> {
    return std::string(79, 'x');
  };
  EXPECT_EQ(PutBulkBack(MustParse(kSentRef), fetch, kNoLimit).status().code(),
            absl::StatusCode::kDataLoss);
}

TEST(PutBulkBack, ReportsAStoredValueThatIsNotJson) {
  const auto fetch = [](const RecordRef&) -> absl::StatusOr<std::string> {
    return std::string("{");
  };
  const Value record = MustParse(
      R"({"_noodles": "0.3.0", "type": "<automagic>", "class": "m.A", "ref": true, "data": )"
      R"({"value": "I7-QmC5XB2n159TrhPn6xVLq3InFEpe-4nz4cyRNRJs=", "size": 1}})");
  EXPECT_EQ(PutBulkBack(record, fetch, kNoLimit).status().code(), absl::StatusCode::kDataLoss);
}

TEST(PutBulkBack, EndsWhenAValueHoldsARefToItself) {
  const std::string record =
      R"({"_noodles":"","type":"<a>","class":"m.A","ref":true,"data":)"
      R"({"value":"I7-QmC5XB2n159TrhPn6xVLq3InFEpe-4nz4cyRNRJs=","size":140}})";
  std::string text = "[" + record;
  text += std::string(140 - text.size() - 1, ' ') + "]";
  const auto fetch = [&text](const RecordRef&) -> absl::StatusOr<std::string> { return text; };
  EXPECT_EQ(PutBulkBack(MustParse(record), fetch, kNoLimit).status().code(),
            absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace tiffin
