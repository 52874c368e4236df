// XXH3: guards bytes against damage. It is no name and no secret: see crypto.h for those.
#ifndef TIFFIN_COMMON_CHECKSUM_H_
#define TIFFIN_COMMON_CHECKSUM_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace tiffin {

// In xxHash's canonical order (big-endian), so that it may be stored.
std::array<uint8_t, 16> Xxh3_128(std::string_view bytes);

// XXH3-64 of numbers and texts, one after the other, for what is small.
class Checksum64 {
 public:
  Checksum64& Add(int64_t number);
  Checksum64& Add(std::string_view text);
  // Never 0, so that 0 can stand for none.
  int64_t Finish() const;

 private:
  std::string bytes_;
};

}  // namespace tiffin

#endif  // TIFFIN_COMMON_CHECKSUM_H_
