// Types of one's own: without registration, registered, by a base, by a hook, by default.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "client/objects.h"
#include "tests/unit/client_objects/fake_blobs.h"

namespace tiffin {
namespace {

using ::testing::HasSubstr;

template <typename T>
T Must(absl::StatusOr<T> value) {
  EXPECT_TRUE(value.ok()) << value.status();
  return *std::move(value);
}

// Needs no registration; has no default constructor.
struct Star {
  static constexpr std::string_view kClassName = "stars.Star";
  explicit Star(std::string t) : type(std::move(t)) {}
  absl::StatusOr<Value> serialise(const Pack& pack) const { return pack(type); }
  static absl::StatusOr<Star> construct(const Unpack& record) {
    TIFFIN_ASSIGN_OR_RETURN(std::string type, record.As<std::string>());
    if (type.empty()) return record.Error("a star without a type");
    return Star(std::move(type));
  }
  std::string type;
  friend auto operator<=>(const Star&, const Star&) = default;
};

constexpr std::string_view kSun =
    R"({"_noodles": "0.3.0", "type": "<automagic>", "class": "stars.Star", "data": "G2V"})";

TEST(SelfSerialising, NeedsNoRegistration) {
  EXPECT_EQ(Must(to_json(Star("G2V"))), kSun);
  EXPECT_EQ(Must(from_json<Star>(kSun)), Star("G2V"));
}

TEST(SelfSerialising, WithinStandardTypes) {
  const std::vector<std::optional<Star>> stars{Star("G2V"), std::nullopt};
  EXPECT_EQ(Must(to_json(stars)), "[" + std::string(kSun) + ", null]");
  EXPECT_EQ(Must(from_json<std::vector<std::optional<Star>>>(Must(to_json(stars)))), stars);
  const std::pair<Star, std::set<Star>> pair{Star("A"), {Star("B")}};
  EXPECT_EQ((Must(from_json<std::pair<Star, std::set<Star>>>(Must(to_json(pair))))), pair);
}

TEST(SelfSerialising, ErrorsNameThePathAndWhatWasFound) {
  const auto error = [](std::string_view text) {
    return std::string(from_json<std::vector<Star>>(text).status().message());
  };
  EXPECT_EQ(error(R"([{"_noodles": "0.3.0", "type": "<automagic>", "class": "stars.Star", )"
                  R"("data": ""}])"),
            "[0].data: a star without a type");
  EXPECT_EQ(error(R"([{"_noodles": "0.3.0", "type": "<automagic>", "class": "m.Moon", )"
                  R"("data": ""}])"),
            "[0]: expected a record of stars.Star (nothing is registered), found a record "
            "<automagic> m.Moon");
  EXPECT_EQ(error("[1]"),
            "[0]: expected a record of stars.Star (nothing is registered), found integer");
}

// An object that is to be elsewhere.
struct Heavy {
  static constexpr std::string_view kClassName = "m.Heavy";
  absl::StatusOr<Value> serialise(const Pack& pack) const { return pack(w, {.ref = true}); }
  static absl::StatusOr<Heavy> construct(const Unpack& record) {
    TIFFIN_ASSIGN_OR_RETURN(auto w, record.As<std::vector<int>>());
    return Heavy{w};
  }
  std::vector<int> w;
};

TEST(PackOptions, MarkRecordsToBeElsewhere) {
  const std::string text = Must(to_json(Heavy{{1, 2}}));
  EXPECT_EQ(text, R"({"_noodles": "0.3.0", "type": "<automagic>", "class": "m.Heavy", )"
                  R"("data": [1, 2], "ref": true})");
  EXPECT_EQ(from_json<Heavy>(text).status().code(), absl::StatusCode::kFailedPrecondition);
  const auto ref = Must(from_json<Ref<Heavy>>(text));
  EXPECT_EQ(Must(ref.Deref()).w, (std::vector<int>{1, 2}));

  // As it comes back from a server: the data is elsewhere.
  const auto blobs = std::make_shared<FakeBlobs>();
  const Value kept = blobs->PutValue(Must(ParseJson(text)));
  EXPECT_EQ(Must(Decode<Heavy>(kept, {.deref = true, .blobs = blobs})).w, (std::vector<int>{1, 2}));
  EXPECT_EQ(Decode<Heavy>(kept, {.deref = true}).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

// An object with a file.
struct Report {
  static constexpr std::string_view kClassName = "m.Report";
  absl::StatusOr<Value> serialise(const Pack& pack) const {
    return pack(title, {.files = {file}, .upload = upload});
  }
  static absl::StatusOr<Report> construct(const Unpack& record) {
    Report report;
    TIFFIN_ASSIGN_OR_RETURN(report.title, record.As<std::string>());
    TIFFIN_ASSIGN_OR_RETURN(report.content, record.File(PathOfTest()));
    return report;
  }
  static std::string PathOfTest() {
    return (std::filesystem::path(::testing::TempDir()) /
            StrCat("tiffin-report-", ::getpid(), ".txt"))
        .string();
  }
  std::string title, file = PathOfTest(), content;
  bool upload = false;
};

TEST(ValueRefs, ThatDoNotMatchAreRefused) {
  const auto blobs = std::make_shared<FakeBlobs>();
  const Value kept = blobs->PutValue(Must(Encode(Heavy{{1, 2}})));
  const Value other = blobs->PutValue(Must(Encode(Heavy{{1, 3}})));
  blobs->Swap(**RefOf(*kept.if_object()), **RefOf(*other.if_object()));
  EXPECT_EQ(Decode<Heavy>(kept, {.deref = true, .blobs = blobs}).status().code(),
            absl::StatusCode::kDataLoss);
}

TEST(ValueRefs, HaveTheSizeThatTheirSenderSaw) {
  const auto blobs = std::make_shared<FakeBlobs>();
  Value kept = blobs->PutValue(Must(Encode(Heavy{{1, 2}})));
  // Another text of that value was stored first.
  *kept.if_object()->Find("data")->if_object()->Find("size") = int64_t{100'000};
  EXPECT_EQ(Must(Decode<Heavy>(kept, {.deref = true, .blobs = blobs})).w, (std::vector<int>{1, 2}));
}

TEST(ValueRefs, OfNothingSaySo) {
  EXPECT_EQ(Ref<Heavy>().Deref().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(PackOptions, WhatIsNoFileIsNotUploaded) {
  Report report{.title = "t", .file = ::testing::TempDir(), .content = {}, .upload = true};
  EXPECT_EQ(Encode(report, {.blobs = std::make_shared<FakeBlobs>()}).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(PackOptions, NameFilesOnTheirHost) {
  std::ofstream(Report::PathOfTest()) << "on this host";
  Report report;
  report.title = "t";
  const Value here = Must(Encode(report));
  EXPECT_EQ(*here.if_object()->Find("files"), Value(List{Report::PathOfTest()}));
  EXPECT_EQ(Must(Decode<Report>(here)).content, "on this host");
  const Value there = Must(Encode(report, {.host = "node1"}));
  const absl::Status status = Decode<Report>(there).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("is on host node1"));
  std::filesystem::remove(Report::PathOfTest());
  EXPECT_EQ(Decode<Report>(here).status().code(), absl::StatusCode::kNotFound);
}

TEST(PackOptions, UploadFilesForEveryHost) {
  std::ofstream(Report::PathOfTest()) << "for everyone";
  Report report;
  report.title = "t";
  report.upload = true;
  EXPECT_EQ(Encode(report).status().code(), absl::StatusCode::kFailedPrecondition);
  const auto blobs = std::make_shared<FakeBlobs>();
  const Value record = Must(Encode(report, {.host = "node1", .blobs = blobs}));
  std::filesystem::remove(Report::PathOfTest());
  EXPECT_FALSE(NamesFiles(*record.if_object()));
  const Report back = Must(Decode<Report>(record, {.blobs = blobs}));
  EXPECT_EQ(back.title, "t");
  EXPECT_EQ(back.content, "for everyone");
  EXPECT_EQ(Decode<Report>(record).status().code(), absl::StatusCode::kFailedPrecondition);
}

// Types that know nothing of records.
struct Body {
  virtual ~Body() = default;
  double mass = 0;
};
struct Named {
  std::string name;
};
struct Planet : Named, Body {
  int moons = 0;
};
struct Dwarf : Planet {};

ObjectRegistry Bodies() {
  ObjectRegistry registry;
  registry.AddBase<Body>([](const Body& body, const Pack& pack) { return pack(body.mass); },
                         [](const Unpack& record, Body* body) -> absl::Status {
                           TIFFIN_ASSIGN_OR_RETURN(body->mass, record.As<double>());
                           return absl::OkStatus();
                         });
  registry.DeclareBases<Planet, Named, Body>("m.Planet");
  registry.DeclareBases<Dwarf, Planet>("m.Dwarf");
  return registry;
}

// A serialiser of one type that writes `tag` and the moons.
ObjectRegistry Planets(const std::string& tag) {
  ObjectRegistry registry;
  registry.AddType<Planet>(
      "m.Planet",
      [tag](const Planet& planet, const Pack& pack) {
        return pack(std::make_pair(tag, planet.moons));
      },
      [tag](const Unpack& record) -> absl::StatusOr<Planet> {
        TIFFIN_ASSIGN_OR_RETURN(const auto pair, (record.As<std::pair<std::string, int>>()));
        if (pair.first != tag) return record.Error("another tag");
        Planet planet;
        planet.moons = pair.second;
        return planet;
      });
  return registry;
}

ObjectRegistry Hooked(const std::string& tag) {
  ObjectRegistry registry;
  registry.AddHook("<giant>", {[tag](const ObjectView&, const Pack& pack) { return pack(tag); },
                               [](const Unpack&, const ObjectSlot& slot) -> absl::Status {
                                 slot.If<Planet>()->emplace().moons = 100;
                                 return absl::OkStatus();
                               }});
  registry.SetHookFunction([](const ObjectView& object) -> std::string {
    const Planet* planet = object.If<Planet>();
    return planet != nullptr && planet->moons > 50 ? "<giant>" : "";
  });
  return registry;
}

std::string DataOf(const Planet& planet, const ObjectRegistry& registry) {
  return PrintJson(*Must(registry.Encode(planet)).if_object()->Find("data"));
}

Planet PlanetWith(int moons, double mass = 0) {
  Planet planet;
  planet.moons = moons;
  planet.mass = mass;
  return planet;
}

TEST(ObjectLookUp, HookComesBeforeType) {
  const ObjectRegistry registry = Planets("type") + Hooked("hook");
  EXPECT_EQ(DataOf(PlanetWith(95), registry), "\"hook\"");
  const std::string small = DataOf(PlanetWith(2), registry);
  EXPECT_THAT(small, HasSubstr("\"type\",2"));
  const Value record = Must(registry.Encode(PlanetWith(95)));
  EXPECT_EQ(RecordType(*record.if_object()), "<giant>");
  EXPECT_EQ(Must(registry.Decode<Planet>(record)).moons, 100);
}

TEST(ObjectLookUp, HooksFindWhatIsInAnOptionalOrVariant) {
  const ObjectRegistry registry = Planets("type") + Hooked("hook");
  const Value giant = Must(registry.Encode(std::optional<Planet>(PlanetWith(95))));
  EXPECT_EQ(RecordType(*giant.if_object()), "<giant>");
  EXPECT_EQ(Must(registry.Decode<std::optional<Planet>>(giant))->moons, 100);
  EXPECT_FALSE(Must(registry.Decode<std::optional<Planet>>(Value())).has_value());
  using Either = std::variant<int64_t, Planet>;
  EXPECT_EQ(std::get<Planet>(Must(registry.Decode<Either>(giant))).moons, 100);
  EXPECT_EQ(std::get<int64_t>(Must(registry.Decode<Either>(Value(int64_t{7})))), 7);
}

TEST(ObjectLookUp, TypeComesBeforeBases) {
  const ObjectRegistry registry = Bodies() + Planets("type");
  EXPECT_THAT(DataOf(PlanetWith(2, 5.5), registry), HasSubstr("type"));
}

TEST(ObjectLookUp, BasesAreFoundWhereTheyAreInTheObject) {
  const Value record = Must(Bodies().Encode(PlanetWith(2, 5.5)));
  EXPECT_EQ(*record.if_object()->Find("data"), Value(5.5));
  EXPECT_EQ(Must(Bodies().Decode<Planet>(record)).mass, 5.5);
  Dwarf pluto;
  pluto.mass = 0.01;
  const Value dwarf = Must(Bodies().Encode(pluto));
  EXPECT_EQ(RecordClass(*dwarf.if_object()), "m.Dwarf");
  EXPECT_EQ(Must(Bodies().Decode<Dwarf>(dwarf)).mass, 0.01);
}

TEST(ObjectLookUp, BasesAreSearchedBreadthFirst) {
  ObjectRegistry registry = Bodies();
  registry.AddBase<Named>([](const Named&, const Pack& pack) { return pack("first base"); },
                          [](const Unpack&, Named*) { return absl::OkStatus(); });
  EXPECT_EQ(DataOf(PlanetWith(1), registry), "\"first base\"");
}

TEST(ObjectLookUp, DefaultComesLast) {
  AnySerialiser fallback{[](const ObjectView&, const Pack& pack) { return pack("default"); },
                         [](const Unpack&, const ObjectSlot&) { return absl::OkStatus(); }};
  ObjectRegistry registry;
  registry.SetDefault(fallback);
  EXPECT_EQ(DataOf(PlanetWith(1), registry), "\"default\"");
  EXPECT_EQ(DataOf(PlanetWith(1), Bodies() + registry), "0.0");
  // One that makes nothing is found out.
  EXPECT_FALSE(registry.Decode<Planet>(Must(registry.Encode(PlanetWith(1)))).ok());
}

TEST(ObjectLookUp, ErrorsTellWhatIsRegistered) {
  struct Comet {};
  const absl::Status status = (Bodies() + Hooked("h")).Encode(Comet()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("Comet: registered are "));
  for (const char* name : {"m.Planet", "m.Dwarf", "<giant>",
                           "what derives from tiffin::(anonymous namespace)::Body"}) {
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
  }
  const absl::Status other = Planets("x").Decode<Planet>(Must(Encode(Star("G2V")))).status();
  EXPECT_EQ(other, absl::InvalidArgumentError(
                       "expected a record of m.Planet (registered are m.Planet), found a record "
                       "<automagic> stars.Star"));
  EXPECT_THAT(std::string(Encode(Comet()).status().message()), HasSubstr("nothing is registered"));
}

TEST(ObjectSum, RightOverridesLeft) {
  EXPECT_THAT(DataOf(PlanetWith(1), Planets("a") + Planets("b")), HasSubstr("\"b\""));
}

// A registry whose serialiser of bodies writes `tag`.
ObjectRegistry BodiesAs(const std::string& tag) {
  ObjectRegistry registry;
  registry.AddBase<Body>([tag](const Body&, const Pack& pack) { return pack(tag); },
                         [](const Unpack&, Body*) { return absl::OkStatus(); });
  return registry;
}

TEST(ObjectSum, RightsBasesOverrideLefts) {
  EXPECT_EQ(DataOf(PlanetWith(1), Bodies() + BodiesAs("right")), "\"right\"");
  EXPECT_EQ(DataOf(PlanetWith(1, 5.5), BodiesAs("left") + Bodies()), "5.5");
  // What one side knows of a base serves what the other declares.
  ObjectRegistry declared;
  declared.DeclareBases<Planet, Body>("m.Planet");
  EXPECT_EQ(DataOf(PlanetWith(1), BodiesAs("left") + declared), "\"left\"");
  EXPECT_EQ(DataOf(PlanetWith(1), declared + BodiesAs("right")), "\"right\"");
}

TEST(ObjectSum, RightsDeclarationsReplaceLefts) {
  ObjectRegistry unrelated;
  unrelated.DeclareBases<Planet, Named>("m.World");
  const absl::Status status = (Bodies() + unrelated).Encode(PlanetWith(1)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);  // no Body among its bases any more
  EXPECT_EQ(RecordClass(*Must((unrelated + Bodies()).Encode(PlanetWith(1))).if_object()),
            "m.Planet");
}

TEST(ObjectSum, RightsHooksOverrideLefts) {
  EXPECT_EQ(DataOf(PlanetWith(95), Hooked("left") + Hooked("right")), "\"right\"");
}

TEST(ObjectSum, RightsHookFunctionIsAskedFirst) {
  ObjectRegistry left;
  left.AddHook("<left>", {[](const ObjectView&, const Pack& pack) { return pack("left"); }, {}});
  left.SetHookFunction([](const ObjectView&) { return std::string("<left>"); });
  EXPECT_EQ(DataOf(PlanetWith(95), left + Hooked("right")), "\"right\"");
  EXPECT_EQ(DataOf(PlanetWith(1), left + Hooked("right")), "\"left\"");
}

TEST(ObjectSum, DefaultStaysTheLefts) {
  const auto with_default = [](const std::string& text) {
    ObjectRegistry registry;
    registry.SetDefault({[text](const ObjectView&, const Pack& pack) { return pack(text); }, {}});
    return registry;
  };
  EXPECT_EQ(DataOf(PlanetWith(1), with_default("a") + with_default("b")), "\"a\"");
  EXPECT_EQ(DataOf(PlanetWith(1), ObjectRegistry() + with_default("b")), "\"b\"");
}

TEST(OpaqueObjects, KeepTheBytesOfWhatIsNothingElse) {
  struct Point {
    int32_t x, y;
    bool operator==(const Point&) const = default;
  };
  const ObjectRegistry registry = ObjectRegistry() + OpaqueObjects();
  const Value record = Must(registry.Encode(Point{1, -1}));
  EXPECT_EQ(*record.if_object()->Find("data"), Value("AQAAAP////8="));
  EXPECT_EQ(Must(registry.Decode<Point>(record)), (Point{1, -1}));
  EXPECT_THAT(std::string(registry.Encode(Planet()).status().message()),
              HasSubstr("is more than its bytes: it needs a serialiser"));
  // The bytes of these are an address, another one each run.
  const Point point{1, 2};
  EXPECT_FALSE(registry.Encode(&point).ok());
  EXPECT_FALSE(registry.Encode(std::ref(point)).ok());
  EXPECT_FALSE(registry.Encode(std::span<const Point>(&point, 1)).ok());
}

}  // namespace
}  // namespace tiffin
