// Errors a user can act on, and the small helper that builds their text.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace wandistill {

/// Something the user can mend: says what was wrong, where (file, key, line, tensor) and what would be right.
/// The command line prints it with the rank and ends every rank with a non-zero exit code.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The parts one after the other, as operator<< prints them.
template <class... Parts>
std::string cat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

/// Throws Error with the concatenated parts.
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw Error(cat(parts...));
}

/// A broken promise inside the program (never bad user input): names the expression and the place.
#define WD_REQUIRE(condition)                                                                            \
  do {                                                                                                   \
    if (!(condition))                                                                                    \
      ::wandistill::fail("internal error: ", #condition, " does not hold at ", __FILE__, ":", __LINE__); \
  } while (0)

}  // namespace wandistill
