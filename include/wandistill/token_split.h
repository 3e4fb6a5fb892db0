// One picture's tokens split over several ranks (sequence parallelism).
#pragma once

#include <cstdint>
#include <functional>

#include "wandistill/range.h"

namespace wandistill {

/// The part of a forward pass's tokens that this rank computes, and how it gets what the others computed.
struct TokenSplit {
  Range own;  // may be empty: then this rank only takes part in the gathers
  /// rows [L, row_bytes] in the host's memory, with this rank's at own.begin .. own.end: fills in those of
  /// the other ranks. Collective: every rank of the picture makes the same calls.
  std::function<void(void* rows, int64_t row_bytes)> gather;
};

/// The tokens of part `part` of `parts`: contiguous, in order, cut at multiples of 16, and as even as that
/// allows. Fewer than 16 tokens are not worth a rank, so trailing parts are empty if tokens < 16 parts.
Range token_range(int64_t tokens, int64_t part, int64_t parts);

}  // namespace wandistill
