#include "wandistill/token_split.h"

#include <algorithm>

namespace wandistill {

Range token_range(int64_t tokens, int64_t part, int64_t parts) {
  constexpr int64_t kUnit = 16;  // products of fewer rows cost as much as those of 16
  const int64_t units = std::max<int64_t>(1, tokens / kUnit);
  // The first parts take one more unit than the others; the last unit takes the tokens that fill none.
  const auto begin = [&](int64_t p) {
    const int64_t unit = p * (units / parts) + std::min(p, units % parts);
    return unit == units ? tokens : unit * kUnit;
  };
  return {begin(part), begin(part + 1)};
}

}  // namespace wandistill
