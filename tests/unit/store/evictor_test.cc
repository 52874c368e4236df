// Which results go, in which order, and what of them stays.
#include "server/store/evictor.h"

#include <gtest/gtest.h>

#include "tests/unit/store/store_fixture.h"

namespace tiffin::server {
namespace {

class EvictorTest : public StoreFixture {
 protected:
  static constexpr uint64_t kSize = 100'000;

  EvictorTest() : evictor_(database_.get(), &blobs_, &store_) {}

  static std::string Ref(const BlobName& name) {
    return StrCat(
        R"({"_noodles": "0.3.0", "type": "<object>", "class": "numpy.ndarray", "ref": true, )",
        R"("data": {"hdf5_path": ")", name.key.ToText(), R"(", "dtype": "uint8", "shape": [)",
        name.shape[0], "]}}");
  }
  BlobName Put(char fill) {
    const auto outcomes =
        blobs_.PutSmall("default", {{{{}, "uint8", {kSize}}, false, std::string(kSize, fill)}});
    EXPECT_TRUE(outcomes[0].ok()) << outcomes[0].status();
    return outcomes[0]->name;
  }
  // A job whose result is an array of its own; a minute passes.
  Digest Made(int n) {
    const BlobName name = Put(static_cast<char>('a' + n));
    const Digest key = Done(Job(n), Ref(name));
    clock_.Advance(std::chrono::minutes(1));
    return key;
  }
  bool Has(const Digest& key) {
    bool has = false;
    EXPECT_TRUE(database_
                    ->Read([&](JobReader& reader) -> absl::Status {
                      has = (*reader.FindResult(RowOf(key))).has_value();
                      return absl::OkStatus();
                    })
                    .ok());
    return has;
  }
  std::vector<bool> Have(const std::vector<Digest>& keys) {
    std::vector<bool> has;
    for (const Digest& key : keys) has.push_back(Has(key));
    return has;
  }
  // Nothing is pinned any more, and what was told before the start is forgotten.
  void AnHourLater() { clock_.Advance(std::chrono::minutes(61)); }
  // Room for so many of the arrays.
  EvictCounts Keep(int arrays, bool dry_run = false) {
    auto counts = evictor_.Run(static_cast<uint64_t>(arrays) * kSize + kSize / 2, dry_run);
    EXPECT_TRUE(counts.ok()) << counts.status();
    return counts.ok() ? *counts : EvictCounts();
  }

  Evictor evictor_;
};

using Bools = std::vector<bool>;

TEST_F(EvictorTest, TheLeastRecentlyReadGoFirstAndExplainSaysSo) {
  std::vector<Digest> keys;
  for (int i = 0; i < 4; ++i) keys.push_back(Made(i));
  EXPECT_TRUE(store_.GetResult("default", keys[0]).ok());  // read last
  AnHourLater();
  const EvictCounts would = Keep(2, true);
  EXPECT_EQ(would.results, 2u);
  EXPECT_EQ(would.blob_bytes, 2 * kSize);
  EXPECT_EQ(Have(keys), (Bools{true, true, true, true})) << "a dry run only counts";
  const EvictCounts counts = Keep(2);
  EXPECT_EQ(counts.results, 2u);
  EXPECT_EQ(counts.blobs, 2u);
  EXPECT_EQ(counts.blob_bytes, 2 * kSize);
  EXPECT_LE(counts.kept_bytes, 2 * kSize + kSize / 2);
  EXPECT_EQ(Have(keys), (Bools{true, false, false, true}));
  const auto why = history_.Explain("default", keys[1], "", 0);
  EXPECT_EQ(why->cause, MissCause::kEvicted);
  EXPECT_TRUE(absl::IsNotFound(store_.GetResult("default", keys[1]).status()));
  EXPECT_EQ(Keep(2).results, 0u) << "enough";
  // It is computed again like any other.
  EXPECT_EQ(Submit("b", Job(1)).outcome, SubmitAnswer::Outcome::kGranted);
}

TEST_F(EvictorTest, WhatNothingRefersToGoesBeforeAnyResult) {
  const Digest key = Made(0);
  Put('x');
  AnHourLater();
  EXPECT_EQ(Keep(1, true).results, 0u);
  const EvictCounts counts = Keep(1);
  EXPECT_EQ(counts.results, 0u);
  EXPECT_EQ(counts.blobs, 1u);
  EXPECT_TRUE(Has(key));
}

TEST_F(EvictorTest, PinnedFollowedAndNamedResultsStay) {
  std::vector<Digest> keys;
  for (int i = 0; i < 4; ++i) keys.push_back(Made(i));
  AnHourLater();
  // 0 is named by a user, 1 by Noodles, 2 is followed by a job that unfolded a workflow.
  ASSERT_TRUE(store_.SetAlias(Caller("a"), {"mine", "best"}, keys[0], false).ok());
  ASSERT_TRUE(store_.SetAlias(Caller("a"), {"noodles/json", "5d41"}, keys[1], false).ok());
  const SubmitAnswer flow = Submit("a", Job(9));
  ASSERT_TRUE(Store(flow, R"({"_noodles": "0.3.0", "type": "<object>", "class": )"
                          R"("noodles.workflow.model.Workflow", "data": )"
                          R"({"root": 1, "nodes": [], "links": []}})")
                  .ok());
  ASSERT_TRUE(store_.Link(Caller("a"), flow.key, flow.lease->lease_id, keys[2]).ok());
  Put('d');  // somebody was told of the array of 3: it is pinned
  EXPECT_EQ(Keep(3).results, 1u);
  EXPECT_EQ(Have(keys), (Bools{true, false, true, true}));
  const EvictCounts would = Keep(0, true);
  const EvictCounts counts = Keep(0);
  EXPECT_EQ(would.results, counts.results);
  EXPECT_EQ(Have(keys), (Bools{true, false, true, true})) << "the link goes after its target";
  EXPECT_FALSE(Has(flow.key));
  EXPECT_EQ(history_.Explain("default", flow.key, "", 0)->cause, MissCause::kEvicted);
  Keep(0);
  EXPECT_EQ(Have(keys), (Bools{true, false, false, true}));
  AnHourLater();
  Keep(0);
  EXPECT_EQ(Have(keys), (Bools{true, false, false, false}));
}

TEST_F(EvictorTest, WhatAnotherJobUsesStaysAndArgumentsOfTheEvictedGo) {
  const BlobName argument = Put('p'), shared = Put('q');
  const Digest maker = Done(Job(1), Ref(shared));
  clock_.Advance(std::chrono::minutes(1));
  const Digest user = Done(StrCat(R"({"function": "g", "arguments": [)", Ref(argument), "]}"));
  AnHourLater();
  const SubmitAnswer leased =
      Submit("a", StrCat(R"({"function": "h", "arguments": [)", Ref(shared), "]}"));
  ASSERT_TRUE(leased.missing.empty());
  const EvictCounts would = Keep(0, true);
  EXPECT_EQ(would.results, 2u);
  EXPECT_EQ(would.blobs, 1u);
  const EvictCounts counts = Keep(0);
  EXPECT_EQ(counts.results, 2u);
  EXPECT_EQ(counts.blobs, 1u) << "the argument; the other one is used by the leased job";
  EXPECT_EQ(Have({maker, user}), (Bools{false, false}));
  EXPECT_TRUE(blobs_.Find("default", shared).ok());
  EXPECT_TRUE(absl::IsNotFound(blobs_.Find("default", argument).status()));
  // Whoever submits it again is told what is missing.
  const SubmitAnswer again =
      Submit("b", StrCat(R"({"function": "g", "arguments": [)", Ref(argument), "]}"));
  EXPECT_EQ(again.outcome, SubmitAnswer::Outcome::kGranted);
  EXPECT_EQ(again.missing.blobs, std::vector<BlobName>{argument});
}

TEST_F(EvictorTest, ManyResultsGoInPartsUntilItIsEnough) {
  std::vector<Digest> keys;
  const std::string record = "\"" + std::string(1000, 'r') + "\"";
  for (int i = 0; i < 300; ++i) keys.push_back(Done(Job(i), record));
  AnHourLater();
  const uint64_t before = *evictor_.KeptBytes();
  const auto counts = evictor_.Run(before - 150'300, false);
  ASSERT_TRUE(counts.ok()) << counts.status();
  EXPECT_EQ(counts->results, 150u);
  for (int i = 0; i < 300; ++i) EXPECT_EQ(Has(keys[static_cast<size_t>(i)]), i >= 150) << i;
}

TEST_F(EvictorTest, NothingGoesTooEarlyAfterTheStart) {
  Made(0);
  EXPECT_TRUE(absl::IsFailedPrecondition(evictor_.Run(0, false).status()));
  EXPECT_TRUE(evictor_.Run(0, true).ok());
}

}  // namespace
}  // namespace tiffin::server
