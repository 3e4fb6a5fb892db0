// Softmax attention, softmax(scale q k^T + bias) v, forward and backward; no L x L matrix in memory.
// Flash attention: Dao et al. 2022, https://arxiv.org/abs/2205.14135.
#pragma once

#include <cstdint>

#include "wandistill/queue.h"

namespace wandistill {

/// q, out [B, Lq, H, D]; k, v [rows, H, D], all contiguous. Sample b attends to the rows key_offsets[b] ...
/// key_offsets[b + 1] - 1 of k and v, at most max_keys. last_key_bias [B] (or null) is added to the score of
/// each sample's last key: log(count) makes one key stand for `count` equal ones. Every sample has at least
/// one key. Both arrays lie where the tensors do.
struct AttentionShape {
  int64_t batch, queries, heads, head_dim;
  int64_t max_keys;
  const int64_t* key_offsets;            // [B + 1]
  const float* last_key_bias = nullptr;  // [B]
  float scale;                           // positive; usually 1 / sqrt(D)
};

/// The bits of a query's row depend on that query and its sample's keys alone.
/// Writes out, and log_sum_exp [B, H, Lq] of the biased scores (for the backward pass; null: not wanted).
template <class T>
using AttentionForward = void(const AttentionShape& shape, const T* q, const T* k, const T* v, T* out,
                              float* log_sum_exp, const Queue& queue);
/// Overwrites dq, dk, dv (shapes of q, k, v) from dout and what the forward pass read and wrote.
template <class T>
using AttentionBackward = void(const AttentionShape& shape, const T* q, const T* k, const T* v, const T* out,
                               const float* log_sum_exp, const T* dout, T* dq, T* dk, T* dv,
                               const Queue& queue);

namespace ref {
AttentionForward<float> attention_forward;
AttentionBackward<float> attention_backward;
}  // namespace ref
namespace cpu {
AttentionForward<float> attention_forward;
AttentionBackward<float> attention_backward;
/// Bytes that attention_forward allocates while it runs, for samples of up to `keys` keys.
int64_t attention_scratch_bytes(int64_t queries, int64_t keys, int threads);
}  // namespace cpu
/// With products of bfloat16 (matmul.h); the softmax is computed in float32.
namespace cpu_bf16 {
AttentionForward<float> attention_forward;
AttentionBackward<float> attention_backward;
}  // namespace cpu_bf16

}  // namespace wandistill
