// Texts and bytes that get far into the server.
#ifndef TIFFIN_TESTS_FUZZ_MESSAGE_VALUES_H_
#define TIFFIN_TESTS_FUZZ_MESSAGE_VALUES_H_

#include <string>
#include <string_view>
#include <vector>

namespace tiffin::fuzzing {

// For a field of this name; of all kinds for one that is not known.
const std::vector<std::string>& ValuesFor(std::string_view field);

}  // namespace tiffin::fuzzing

#endif  // TIFFIN_TESTS_FUZZ_MESSAGE_VALUES_H_
