// A block's modulation (AdaLN, Peebles & Xie 2022) from its own table and what all blocks share.
#pragma once

#include <cstdint>

#include "wandistill/queue.h"

namespace wandistill {

/// out [B, n] = table [n] + shared [B, period], the latter repeated n / period times.
template <class T>
using ModulationForward = void(int64_t batch, int64_t n, int64_t period, const T* table, const T* shared,
                               T* out, const Queue& queue);
/// dtable [n] += sums of dout [B, n] over the batch; dshared [B, period] += those over the repetitions.
using ModulationBackward = void(int64_t batch, int64_t n, int64_t period, const float* dout, float* dtable,
                                float* dshared, const Queue& queue);

namespace ref {
ModulationForward<float> modulation_forward;
ModulationBackward modulation_backward;
}  // namespace ref

}  // namespace wandistill
