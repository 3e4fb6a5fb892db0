// Softmax attention with a bias that depends on the distance between query and key (T5), forward only.
#pragma once

#include <cstdint>

#include "wandistill/queue.h"

namespace wandistill {

/// q, out [Lq, H, D]; k, v [Lk, H, D]; all contiguous.
struct AttentionBiasedShape {
  int64_t queries, keys, heads, head_dim;
  float scale;  // of q k^T: 1 in T5
};

/// out = softmax(scale q k^T + bias) v, where the bias of query i and key j in head n is
/// relative_bias[n, j - i + Lq - 1]; relative_bias [H, Lq + Lk - 1]. No Lq x Lk matrix is formed.
template <class T>
using AttentionBiasedForward = void(const AttentionBiasedShape& shape, const T* q, const T* k, const T* v,
                                    const float* relative_bias, T* out, const Queue& queue);

namespace ref {
AttentionBiasedForward<float> attention_biased_forward;
}  // namespace ref
namespace cpu {
AttentionBiasedForward<float> attention_biased_forward;
}  // namespace cpu

}  // namespace wandistill
