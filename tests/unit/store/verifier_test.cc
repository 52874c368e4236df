// Passes over all blobs, and the ones in the background on a clock that the test moves.
#include "server/store/verifier.h"

#include <gtest/gtest.h>

#include "common/base64.h"
#include "server/store/damaged.h"
#include "tests/unit/store/store_fixture.h"

namespace tiffin::server {
namespace {

class VerifierTest : public StoreFixture {
 protected:
  VerifierTest() : verifier_(database_.get(), bytes_.get(), &blobs_, &store_, &clock_) {}

  BlobName Put(char fill, size_t size = 5000) {
    const auto outcomes =
        blobs_.PutSmall("default", {{{{}, "uint8", {size}}, false, std::string(size, fill)}});
    EXPECT_TRUE(outcomes[0].ok()) << outcomes[0].status();
    return outcomes[0]->name;
  }
  static std::string Ref(const BlobName& name) {
    return StrCat(
        R"({"_noodles": "0.3.0", "type": "<object>", "class": "numpy.ndarray", "ref": true, )",
        R"("data": {"hdf5_path": ")", name.key.ToText(), R"(", "dtype": "uint8", "shape": [)",
        name.shape[0], "]}}");
  }
  BlobRow Row(const BlobName& name) {
    BlobRow row;
    EXPECT_TRUE(database_
                    ->Read([&](JobReader& reader) -> absl::Status {
                      row = **reader.FindBlob(name);
                      return absl::OkStatus();
                    })
                    .ok());
    return row;
  }
  // As if the bytes had changed since.
  void Damage(const BlobName& name) {
    const BlobRow row = Row(name);
    EXPECT_TRUE(database_
                    ->WriteAndWait([&](JobTransaction& tx) {
                      return tx.MoveBlob(row.id, row.location, std::string(16, 'x'));
                    })
                    .ok());
  }
  VerifyProgress Verify(const Verifier::Options& options = {}) {
    VerifyProgress last;
    EXPECT_TRUE(verifier_
                    .Run(options,
                         [&](VerifyProgress progress) {
                           auto found = std::move(last.found);
                           last = std::move(progress);
                           last.found.insert(last.found.begin(), found.begin(), found.end());
                           return true;
                         })
                    .ok());
    return last;
  }

  Verifier verifier_;
};

TEST_F(VerifierTest, WhatIsSoundIsCounted) {
  Put('a');
  Put('b', 6000);
  const VerifyProgress last = Verify({.keys = true});
  EXPECT_EQ(last.blobs, 2u);
  EXPECT_EQ(last.bytes, 11'000u);
  EXPECT_EQ(last.total_blobs, 2u);
  EXPECT_EQ(last.total_bytes, 11'000u);
  EXPECT_EQ(last.damaged, 0u);
  EXPECT_EQ(verifier_.counters().bytes, 11'000u);
  EXPECT_EQ(verifier_.counters().passes, 1u);
}

TEST_F(VerifierTest, DamageIsNamedSetAsideAndItsResultsMiss) {
  const BlobName sound = Put('a'), damaged = Put('b');
  const Digest key = Done(Job(1), StrCat("[", Ref(damaged), "]"));
  const Digest other = Done(Job(2), StrCat("[", Ref(sound), "]"));
  Damage(damaged);
  const VerifyProgress last = Verify();
  ASSERT_EQ(last.found.size(), 1u);
  EXPECT_EQ(last.found[0].name, damaged);
  EXPECT_EQ(last.found[0].what, "bytes [0, 5000) differ from their checksum");
  EXPECT_EQ(last.found[0].jobs, std::vector<Digest>{key});
  EXPECT_EQ(last.damaged, 1u);
  EXPECT_TRUE(IsDamaged(Row(damaged)));
  EXPECT_TRUE(absl::IsNotFound(store_.GetResult("default", key).status()));
  EXPECT_TRUE(store_.GetResult("default", other).ok());
  EXPECT_EQ(*blobs_.SetAsideBlobs(), 1u);
  EXPECT_EQ(blobs_.damage_found(), 1u);

  const VerifyProgress again = Verify();
  ASSERT_EQ(again.found.size(), 1u);
  EXPECT_TRUE(again.found[0].what.starts_with("set aside before: ")) << again.found[0].what;
  EXPECT_EQ(blobs_.damage_found(), 1u) << "counted once";

  Put('b');
  EXPECT_EQ(Verify().damaged, 0u) << "healed by the next store";
}

TEST_F(VerifierTest, AResultThatNeedsABlobThroughAValueMisses) {
  const BlobName inner = Put('i');
  const std::string marked =
      StrCat(R"({"_noodles": "0.3.0", "type": "<automagic>", "class": "m.C", )",
             R"("ref": true, "data": {"x": )", Ref(inner), "}}");
  const Digest maker = Done(Job(1), marked);
  const std::string record = (*store_.GetResult("default", maker))->result.row.record;
  const Digest user = Done(Job(2), record);  // knows the value only by its ref
  Damage(inner);
  const VerifyProgress last = Verify();
  ASSERT_EQ(last.found.size(), 1u);
  EXPECT_EQ(last.found[0].jobs, (std::vector<Digest>{maker, user}));
  EXPECT_TRUE(absl::IsNotFound(store_.GetResult("default", user).status()));
}

TEST_F(VerifierTest, AWrongKeyIsDamageIfKeysAreAskedFor) {
  const BlobRow row = Row(Put('a'));
  BlobRow wrong = row;
  wrong.name.key = Sha256::Of("another");
  EXPECT_TRUE(
      database_->WriteAndWait([&](JobTransaction& tx) { return tx.InsertBlob(wrong).status(); })
          .ok());
  EXPECT_EQ(Verify().damaged, 0u);
  const VerifyProgress last = Verify({.keys = true});
  ASSERT_EQ(last.found.size(), 1u);
  EXPECT_EQ(last.found[0].what, "its bytes have the key " + row.name.key.ToText());
}

TEST_F(VerifierTest, APassEndsWhenNobodyListens) {
  Put('a');
  EXPECT_TRUE(absl::IsCancelled(verifier_.Run({}, [](const VerifyProgress&) { return false; })));
}

TEST_F(VerifierTest, TheBackgroundReadsAtItsRateAgainAndAgain) {
  Put('a', 5000);
  Put('b', 5000);
  ManualClock clock;  // one thread waits on it
  Verifier background(database_.get(), bytes_.get(), &blobs_, &store_, &clock);
  background.Start({.bytes_per_second = 5000, .every = std::chrono::hours(1)});
  clock.Advance(std::chrono::seconds(59));
  EXPECT_EQ(background.counters().bytes, 0u) << "not at the start";
  clock.Advance(std::chrono::seconds(1));
  EXPECT_EQ(background.counters().bytes, 5000u) << "the rest has to wait";
  for (int i = 0; i < 10; ++i) clock.Advance(std::chrono::milliseconds(200));
  EXPECT_EQ(background.counters().bytes, 10'000u);
  EXPECT_EQ(background.counters().passes, 1u);
  clock.Advance(std::chrono::minutes(50));
  EXPECT_EQ(background.counters().bytes, 10'000u) << "a pass an hour";
  clock.Advance(std::chrono::minutes(10));
  EXPECT_EQ(background.counters().bytes, 15'000u);
  background.Stop();
}

}  // namespace
}  // namespace tiffin::server
