// What the registries of tiffin take and refuse, type by type.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "common/base64.h"
#include "common/bulk.h"
#include "common/cbor.h"
#include "common/job.h"
#include "common/json.h"
#include "common/registries.h"
#include "tests/support/test_data.h"

namespace tiffin {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;
using ::tiffin::testing::At;
using ::tiffin::testing::MustParse;
using ::tiffin::testing::StringAt;
using ::tiffin::testing::TestJson;
using ::tiffin::testing::TestJsonLines;

std::shared_ptr<const Registry> Make(const std::string& spec, Unknown unknown = Unknown::kKeep,
                                     std::vector<std::string> bases = {}) {
  const auto registry = MakeRegistry({.spec = spec, .unknown = unknown, .bases = bases});
  EXPECT_TRUE(registry.ok()) << registry.status();
  return registry.ok() ? *registry : nullptr;
}

const Registry& Standard() {
  static const auto& registry = *new std::shared_ptr<const Registry>(Make("base+numpy+pickle"));
  return *registry;
}

absl::Status Check(const Registry& registry, const Value& value) {
  return TakeBulk(value, {.registry = &registry}).status();
}

Value Job(Value argument) {
  return Object{{"function", "m.f"}, {"arguments", List{1, List{std::move(argument)}}}};
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
      if (record != nullptr) records.push_back(*record);
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

Value BackInline(const TakenRecord& taken) {
  std::map<std::string, std::string> bytes;
  for (const TakenBulk& bulk : taken.taken) {
    bytes[bulk.value ? RefText(*bulk.value) : RefText(bulk.name)] = bulk.array.bytes;
  }
  const BulkFetcher fetch = [&](const RecordRef& ref) -> absl::StatusOr<std::string> {
    return bytes.at(RefText(ref));
  };
  const absl::StatusOr<Value> back = PutBulkBack(taken.record, fetch, size_t{1} << 30);
  EXPECT_TRUE(back.ok()) << back.status();
  return back.ok() ? *back : Value();
}

// Decodes the arrays, so that one sent in Fortran order equals itself in C order.
void NormaliseArrays(Value* value) {
  if (List* list = value->if_list()) {
    for (Value& item : *list) NormaliseArrays(&item);
  } else if (Object* object = value->if_object()) {
    const std::optional<Array> array = InlineArray(*object);
    if (array) *object->Find("data") = Base64Encode(WriteNpy(*array).value());
    for (auto& [name, member] : *object) NormaliseArrays(&member);
  }
}

TEST(StandardRegistry, TakesEveryRecordNoodlesWritesAndGivesItBack) {
  const std::vector<Value> records = AllRecords();
  ASSERT_GT(records.size(), 560u);
  for (const size_t limit : {0u, 64u, 4096u}) {
    for (const Value& record : records) {
      const absl::StatusOr<TakenRecord> taken =
          TakeBulk(record, {.inline_limit = limit, .registry = &Standard()});
      ASSERT_TRUE(taken.ok()) << taken.status() << "\n" << PrintJson(record).substr(0, 500);
      Value sent = record, back = BackInline(*taken);
      NormaliseArrays(&sent);
      NormaliseArrays(&back);
      EXPECT_EQ(sent, back);
    }
  }
}

TEST(StandardRegistry, GivesNoJobAnotherKey) {
  for (const Value& record : AllRecords()) {
    const Value job = Job(record);
    const absl::StatusOr<TakenRecord> taken =
        TakeBulk(job, {.inline_limit = 0, .registry = &Standard()});
    ASSERT_TRUE(taken.ok()) << taken.status();
    EXPECT_EQ(JobKey(taken->record).value(), JobKey(job).value());
  }
}

TEST(StandardRegistry, KnowsEveryTypeNoodlesWritesExceptUsersDicts) {
  const auto strict = Make("base+numpy+pickle", Unknown::kRefuse);
  std::set<std::string> refused;
  for (const Value& line : TestJsonLines("noodles-types.jsonl")) {
    if (line.if_object()->Find("noodles_fails") != nullptr) continue;
    if (!Check(*strict, At(line, "record")).ok()) refused.insert(StringAt(line, "name"));
  }
  EXPECT_THAT(refused, ::testing::ElementsAre("dict subclass"));
  const auto told = Make("base+numpy+pickle", Unknown::kRefuse, {"fixtures.MyDict=builtins.dict"});
  EXPECT_EQ(Check(*told, MustParse(R"([{"_noodles": "0.3.0", "type": "<object>",)"
                                   R"( "class": "fixtures.MyDict", "data": {"x": 1}}])")),
            absl::OkStatus());
}

// tests/data/malformed-records.jsonl: {"what", "record", "error"}; the error starts with the path.
TEST(StandardRegistry, RefusesMalformedRecordsWithTheirPath) {
  std::set<std::string> kinds;
  for (const Value& line : TestJsonLines("malformed-records.jsonl")) {
    const Value& record = At(line, "record");
    const absl::Status status = Check(Standard(), Job(record));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument)
        << StringAt(line, "what") << ": " << status;
    EXPECT_EQ(std::string(status.message()), "arguments[1][0]" + StringAt(line, "error"))
        << StringAt(line, "what");
    kinds.insert(std::string(RecordType(*record.if_object())) +
                 std::string(RecordClass(*record.if_object())));
  }
  // Each kind that is checked has malformed versions.
  for (const Registry::Entry& entry : Standard().Describe()) {
    // Known by their bases; the default; a pickle is one or it is none.
    if (entry.keeps.starts_with("as ") && entry.keeps != "as it is") continue;
    if (entry.record_type.empty() || entry.record_type == "<pickle>") continue;
    const auto of_kind = [&entry](const std::string& kind) {
      return entry.class_name.empty() ? kind.starts_with(entry.record_type)
                                      : kind == entry.record_type + entry.class_name;
    };
    EXPECT_TRUE(std::any_of(kinds.begin(), kinds.end(), of_kind))
        << entry.record_type << " " << entry.class_name;
  }
}

TEST(StandardRegistry, ChecksDataThatCameWithItsFiles) {
  const auto with = [](const std::string& value) {
    return Check(
        Standard(),
        MustParse(
            R"({"_noodles": "0.3.0", "type": "<dataclass>", "class": "m.C", "data": {"_noodles": "0.3.0",)"
            R"( "type": "<object>", "class": "tiffin.files", "data": )" +
            value + "}}"));
  };
  EXPECT_EQ(with(R"({"value": {"a": 1}, "files": {}})"), absl::OkStatus());
  EXPECT_EQ(with(R"({"value": [1], "files": {}})").message(),
            "data.data.value: expected an object, found list");
  EXPECT_EQ(with(R"({"files": {}})").message(), "data.data.value: is missing");
}

TEST(UnknownRecords, AreKeptWhenToldSo) {
  const Value record =
      MustParse(R"({"_noodles": "0.3.0", "type": "<odd>", "class": null, "data": {"any": [1]}})");
  EXPECT_EQ(Check(*Make("base+numpy+pickle", Unknown::kKeep), record), absl::OkStatus());
}

TEST(UnknownRecords, AreRefusedByTheirClassWhenToldSo) {
  const auto strict = Make("base+numpy+pickle", Unknown::kRefuse);
  const absl::Status status = Check(
      *strict,
      Job(MustParse(
          R"({"_noodles": "0.3.0", "type": "<object>", "class": "m.Odd", "data": {"any": [1]}})")));
  EXPECT_EQ(status, absl::InvalidArgumentError(
                        "arguments[1][0]: no serialiser knows the type \"<object>\", class "
                        "\"m.Odd\", and this server refuses what is unknown"));
}

TEST(UnknownRecords, OfWhichAPickleIsNone) {
  const auto strict = Make("base+numpy+pickle", Unknown::kRefuse);
  const std::string pickle = std::string("\x80\x04", 2) + "K\x01.";
  const Value record = Object{{"_noodles", "0.3.0"},
                              {"type", "<object>"},
                              {"class", "m.Odd"},
                              {"data", Base64Encode(pickle + std::string(1, 'x') + ".")}};
  EXPECT_EQ(Check(*strict, record), absl::OkStatus());
  EXPECT_FALSE(Check(*Make("base+numpy", Unknown::kRefuse), record).ok());
}

TEST(Pickles, OfAnyClassAreOpaque) {
  // A set that Noodles pickled is not the list that its own serialiser writes.
  for (const Value& line : TestJsonLines("noodles-types.jsonl")) {
    if (StringAt(line, "name") != "frozenset") continue;
    EXPECT_EQ(Check(*Make("base+pickle"), At(line, "record")), absl::OkStatus());
    EXPECT_THAT(std::string(Check(*Make("base"), At(line, "record")).message()),
                StartsWith("data: expected a list, found string"));
  }
}

TEST(Pickles, WrittenAsBytesAreBytes) {
  const std::string pickle = std::string("\x80\x04", 2) + std::string(4096, 'x') + ".";
  const Value record = Object{{"_noodles", "0.3.0"},
                              {"type", "<object>"},
                              {"class", "builtins.bytes"},
                              {"data", Base64Encode(pickle)}};
  const absl::StatusOr<TakenRecord> taken = TakeBulk(record, {.registry = &Standard()});
  ASSERT_TRUE(taken.ok()) << taken.status();
  ASSERT_THAT(taken->taken, SizeIs(1));
  EXPECT_FALSE(taken->taken[0].value.has_value());
}

// Says that the samples of a spectrum leave whatever their size.
class Spectrum : public RecordSerialiser {
 public:
  absl::Status Check(const Object&, const std::optional<RecordRef>&,
                     const PathLink&) const override {
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<const Object*>> LeavingAtAnySize(const Object& record) const override {
    return std::vector<const Object*>{record.Find("data")->if_list()->at(1).if_object()};
  }
  std::string Keeps() const override { return "samples as an array"; }
};

TEST(Serialisers, TellWhatLeavesWhateverItsSize) {
  Registry spectra;
  spectra.AddClass("m.Spectrum", std::make_shared<Spectrum>());
  const Registry registry = Standard() + spectra;
  const std::string array =
      R"({"_noodles": "0.3.0", "type": "<object>", "class": "numpy.ndarray", "data": ")" +
      Base64Encode(WriteNpy({"float32", {2}, std::string(8, 'x')}).value()) + "\"}";
  const Value record = MustParse(R"({"_noodles": "0.3.0", "type": "<object>", "class":)"
                                 R"( "m.Spectrum", "data": [)" +
                                 array + "," + array + "]}");
  const absl::StatusOr<TakenRecord> taken = TakeBulk(record, {.registry = &registry});
  ASSERT_TRUE(taken.ok()) << taken.status();
  EXPECT_THAT(taken->taken, SizeIs(1));
  const List& data = *taken->record.if_object()->Find("data")->if_list();
  EXPECT_EQ(data[0], MustParse(array));
  EXPECT_TRUE(HasRef(*data[1].if_object()));
  EXPECT_EQ(EncodeCbor(taken->record).value(), EncodeCbor(record).value());
  EXPECT_EQ(BackInline(*taken), record);
}

TEST(MakeRegistry, NamesWhatIsNoRegistry) {
  const auto error = [](const RegistryOptions& options) {
    return std::string(MakeRegistry(options).status().message());
  };
  EXPECT_THAT(error({.spec = "base+nump"}), HasSubstr("registry \"nump\": expected base, numpy"));
  EXPECT_THAT(error({.spec = ""}), HasSubstr("registry \"\""));
  EXPECT_THAT(error({.spec = "base+/nowhere/x.so"}),
              HasSubstr("plug-in /nowhere/x.so: there is no such file"));
  EXPECT_THAT(error({.bases = {"m.A"}}), HasSubstr("bases \"m.A\": expected CLASS=BASE"));
  EXPECT_THAT(error({.bases = {"m.A=m.B", "m.B=builtins.dcit"}}),
              HasSubstr("bases \"m.B=builtins.dcit\": no class builtins.dcit is known here"));
  EXPECT_THAT(error({.bases = {"builtins.tuple=builtins.dict"}}),
              HasSubstr("builtins.tuple has checks of its own"));
  EXPECT_TRUE(MakeRegistry({.bases = {"m.A=m.B", "m.B=enum.StrEnum"}}).ok());
}

}  // namespace
}  // namespace tiffin
