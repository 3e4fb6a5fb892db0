// A command line or configuration file that does not say what to do.
#pragma once

#include "wandistill/error.h"

namespace wandistill::cli {

/// Every rank reads the same line, so every rank has it: rank 0 prints it and all end with exit code 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

template <class... Parts>
[[noreturn]] void usage_error(const Parts&... parts) {
  throw UsageError(cat(parts...));
}

}  // namespace wandistill::cli
