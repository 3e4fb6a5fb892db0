// Normally distributed numbers by counter (philox.h), where the latents are.
#pragma once

#include <cstdint>

#include "wandistill/queue.h"

namespace wandistill {

/// out [count] = the standard normal numbers of elements first_element and on, the bits of
/// philox.h's fill_gaussian.
using Gaussian = void(uint64_t seed, uint64_t stream, int64_t first_element, int64_t count, float* out,
                      const Queue& queue);

namespace ref {
Gaussian gaussian;
}  // namespace ref

}  // namespace wandistill
