// A contiguous piece of a flat buffer.
#pragma once

#include <cstdint>

namespace wandistill {

/// Elements [begin, end).
struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

}  // namespace wandistill
