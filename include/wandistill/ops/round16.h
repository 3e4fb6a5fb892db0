// What a 16-bit tensor would have kept of float32 values.
#pragma once

#include <cstdint>

#include "wandistill/queue.h"

namespace wandistill {

/// x [n], each replaced by the nearest number of the 16-bit type, ties to even; beyond that type's largest
/// number (65504 for float16) it becomes infinite. NaN stays NaN.
using Round16 = void(int64_t n, float* x, const Queue& queue);

namespace ref {
Round16 round_bfloat16, round_float16;
}  // namespace ref
namespace cpu {
Round16 round_bfloat16, round_float16;
}  // namespace cpu

}  // namespace wandistill
