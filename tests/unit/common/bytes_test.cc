// base64, crypto, checksums, UTF-8 and paths.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>

#include "absl/strings/escaping.h"
#include "common/base64.h"
#include "common/checksum.h"
#include "common/crypto.h"
#include "common/path.h"
#include "common/strings.h"
#include "common/utf8.h"

namespace tiffin {
namespace {

using ::testing::HasSubstr;

std::string Hex(std::string_view bytes) { return absl::BytesToHexString(ToAbsl(bytes)); }

TEST(Base64, GivesTheVectorsOfRfc4648) {
  const std::pair<std::string, std::string> vectors[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"},
                                                         {"\xFB\xFF", "+/8="}};
  for (const auto& [bytes, text] : vectors) {
    EXPECT_EQ(Base64Encode(bytes), text);
    EXPECT_EQ(Base64Decode(text), bytes);
    EXPECT_EQ(Base64DecodedSize(text), bytes.size());
  }
  EXPECT_EQ(Base64UrlEncode("\xFB\xFF"), "-_8=");
  EXPECT_EQ(Base64UrlDecode("-_8="), "\xFB\xFF");
}

TEST(Base64, RefusesWhatTheEncoderWouldNotWrite) {
  for (const std::string_view text :
       {"Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "Z===", "====", "=Zg=", "Zg==Zg==", "Zm9v\n", " Zm9v",
        "Zm 9", "Zm9-", "Zm9_", "Zm9\xFF", "A", "AA=A"}) {
    EXPECT_EQ(Base64Decode(text), std::nullopt) << text;
  }
  EXPECT_EQ(Base64Decode(std::string(4, '\0')), std::nullopt);
  EXPECT_EQ(Base64UrlDecode("+/8="), std::nullopt);
}

TEST(Base64, DecodesOnlyCanonicalTexts) {
  std::mt19937 random(3);
  constexpr std::string_view kCharacters = "AQgwZz09+/=";
  for (int i = 0; i < 50'000; ++i) {
    std::string text;
    for (size_t n = random() % 9; n > 0; --n) text += kCharacters[random() % kCharacters.size()];
    if (const std::optional<std::string> bytes = Base64Decode(text)) {
      ASSERT_EQ(Base64Encode(*bytes), text);
    }
  }
}

TEST(Base64, BringsEveryByteBack) {
  std::mt19937 random(4);
  for (size_t size = 0; size < 300; ++size) {
    std::string bytes(size, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    EXPECT_EQ(Base64Decode(Base64Encode(bytes)), bytes);
    EXPECT_EQ(Base64UrlDecode(Base64UrlEncode(bytes)), bytes);
  }
}

TEST(Sha256, GivesTheVectorsOfFips180) {
  EXPECT_EQ(Hex(Sha256::Of("").view()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Hex(Sha256::Of("abc").view()),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, MayBeCopiedMidway) {
  Sha256 hash;
  hash.Update("ab");
  Sha256 copy = hash;
  Sha256 assigned;
  assigned = hash;
  hash.Update("c");
  copy.Update("d");
  assigned.Update("c");
  EXPECT_EQ(hash.Finish(), Sha256::Of("abc"));
  EXPECT_EQ(copy.Finish(), Sha256::Of("abd"));
  EXPECT_EQ(assigned.Finish(), Sha256::Of("abc"));
}

TEST(Sha256, DoesNotDependOnHowTheBytesCome) {
  std::string bytes(9000, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 7 + i / 251);
  for (const size_t size : {0, 1, 63, 64, 65, 511, 512, 513, 2047, 2560, 2561, 9000}) {
    const std::string_view all = std::string_view(bytes).substr(0, size);
    for (const size_t piece : {1, 13, 64, 500, 512, 2100, 9000}) {
      Sha256 hash;
      for (size_t at = 0; at < size; at += piece) hash.Update(all.substr(at, piece));
      EXPECT_EQ(hash.Finish(), Sha256::Of(all)) << size << " in pieces of " << piece;
    }
  }
}

TEST(Digest, ReadsBackItsText) {
  const Digest digest = Sha256::Of("abc");
  EXPECT_EQ(digest.ToText(), "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0=");
  EXPECT_EQ(*Digest::FromText(digest.ToText()), digest);
  EXPECT_EQ(*Digest::FromBytes(digest.view()), digest);
}

TEST(Digest, RefusesOtherTextsAndSizes) {
  const std::string text = Sha256::Of("abc").ToText();
  std::string standard = text, stray = text;
  standard[standard.find('-')] = '+';
  stray[42] = '1';
  for (const std::string& bad :
       {std::string(), text.substr(0, 43), text + "=", standard, stray, std::string(44, 'A')}) {
    EXPECT_EQ(Digest::FromText(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_EQ(Digest::FromBytes(std::string(31, 'x')).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(Md5Hex, GivesTheVectorsOfRfc1321) {
  EXPECT_EQ(Md5Hex(""), "d41d8cd98f00b204e9800998ecf8427e");
  EXPECT_EQ(Md5Hex("abc"), "900150983cd24fb0d6963f7d28e17f72");
}

TEST(RandomBytes, AreNeverTheSame) {
  EXPECT_EQ(RandomBytes(16).size(), 16u);
  EXPECT_NE(RandomBytes(16), RandomBytes(16));
  EXPECT_EQ(RandomBytes(0), "");
}

TEST(EqualInConstantTime, ComparesBytesAndSizes) {
  EXPECT_TRUE(EqualInConstantTime("", ""));
  EXPECT_TRUE(EqualInConstantTime("token", "token"));
  EXPECT_FALSE(EqualInConstantTime("token", "tokem"));
  EXPECT_FALSE(EqualInConstantTime("token", "tokens"));
}

TEST(DecimalToMagnitude, HoldsIntegersOfAnySize) {
  const BigMagnitude big = DecimalToMagnitude("-18446744073709551616");
  EXPECT_TRUE(big.negative);
  EXPECT_EQ(Hex(big.bytes), "010000000000000000");
  EXPECT_EQ(Hex(MagnitudeMinusOne(big.bytes)), "ffffffffffffffff");
  EXPECT_EQ(DecimalToMagnitude("0").bytes, "");
  EXPECT_FALSE(DecimalToMagnitude("255").negative);
  EXPECT_EQ(Hex(DecimalToMagnitude("255").bytes), "ff");
  EXPECT_EQ(MagnitudeMinusOne("\x01"), "");
}

TEST(Xxh3, GivesXxHashsOwnVectors) {
  const auto hex = [](std::string_view bytes) {
    const std::array<uint8_t, 16> sum = Xxh3_128(bytes);
    return Hex({reinterpret_cast<const char*>(sum.data()), sum.size()});
  };
  EXPECT_EQ(hex(""), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(hex("abc"), "06b05ab6733a618578af5f94892f3950");
}

TEST(Utf8, DecodesOnlyWhatIsWellFormed) {
  EXPECT_EQ(DecodeUtf8("\U0001F600").value, 0x1F600u);
  EXPECT_EQ(DecodeUtf8("\xED\xA0\x80").value, 0xD800u);
  EXPECT_TRUE(DecodeUtf8("\xED\xA0\x80").surrogate());
  for (const std::string_view bad : {"\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xF0\x8F\xBF\xBF",
                                     "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xE2\x82"}) {
    EXPECT_EQ(DecodeUtf8(bad).length, 0u) << Hex(bad);
  }
}

TEST(Utf8, EncodesEveryCodePoint) {
  for (uint32_t cp = 0; cp <= 0x10FFFF; ++cp) {
    std::string out;
    AppendWtf8(cp, &out);
    const CodePoint back = DecodeUtf8(out);
    ASSERT_EQ(back.value, cp);
    ASSERT_EQ(back.length, out.size());
    ASSERT_EQ(HasSurrogate(out), back.surrogate());
  }
}

TEST(Utf8, ReplacesWhatIsNotUtf8) {
  EXPECT_EQ(ToValidUtf8("a\xFF\u00e9\xED\xA0\x80"), "a\uFFFD\u00e9\uFFFD");
}

TEST(Utf8, CutsBetweenCodePoints) {
  EXPECT_EQ(CutUtf8("short", 5), "short");
  EXPECT_EQ(CutUtf8("longer", 5), "lo...");
  EXPECT_EQ(CutUtf8("a\u20ac\u20ac\u20ac", 8), "a\u20ac...");
}

TEST(Path, ReadsLikePython) {
  EXPECT_EQ(Path().text(), "");
  EXPECT_EQ(Path().Member("arguments").Item(3).Member("data").text(), "arguments[3].data");
  EXPECT_EQ(Path().Item(0).Member("a b").Member("x").text(), "[0][\"a b\"].x");
  EXPECT_EQ(Path().Member("").Member("1").Member("\"").text(), R"([""]["1"]["\""])");
  EXPECT_EQ(Path().Member("\xED\xA0\x80").text(), R"(["\ud800"])");
}

TEST(Path, StaysShort) {
  Path path;
  for (int i = 0; i < 1000; ++i) path = path.Member(std::string(1000, 'k'));
  EXPECT_LT(path.text().size(), 1200u);
  EXPECT_TRUE(path.text().ends_with("..."));
}

TEST(PathLink, WritesTheSameAsPath) {
  const PathLink root;
  const PathLink arguments(root, "arguments");
  const PathLink third(arguments, size_t{3});
  EXPECT_EQ(PathLink(third, "data").text(), "arguments[3].data");
  EXPECT_EQ(root.text(), "");
}

}  // namespace
}  // namespace tiffin
