// What the attention kernels, forward and backward, have in common.
#pragma once

#include "kernels/cuda/ops.h"
#include "wandistill/error.h"

namespace wandistill::WD_KERNELS {

constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;

/// One head of one sample: rows of queries and of keys are `stride` elements apart.
struct HeadView {
  int64_t stride, queries, keys;
  int64_t at_query, at_key;  // elements in front of the first query and key
  int64_t at_statistics;     // of the first query, in [B, H, Lq]
  float bias;                // of the last key's score

  __device__ __forceinline__ HeadView(const AttentionShape& s, int64_t sample, int64_t head)
      : stride(s.heads * s.head_dim),
        queries(s.queries),
        keys(s.key_offsets[sample + 1] - s.key_offsets[sample]),
        at_query(sample * s.queries * stride + head * s.head_dim),
        at_key(s.key_offsets[sample] * stride + head * s.head_dim),
        at_statistics((sample * s.heads + head) * s.queries),
        bias(s.last_key_bias != nullptr ? s.last_key_bias[sample] : 0) {}
};

/// The forward pass by the kernel for Hopper (attention_forward_hopper.cu); false, and nothing is done, if
/// that is not for the queue's device or these sizes.
bool attention_forward_on_hopper(const AttentionShape& shape, const bf16* q, const bf16* k, const bf16* v,
                                 bf16* out, float* log_sum_exp, const Queue& queue);
/// The same for the backward pass (attention_backward_hopper.cu). delta: as attention_backward.h has it.
bool attention_backward_on_hopper(const AttentionShape& shape, const bf16* q, const bf16* k, const bf16* v,
                                  const float* log_sum_exp, const float* delta, const bf16* dout, bf16* dq,
                                  bf16* dk, bf16* dv, const Queue& queue);

template <class... T>
void require_aligned(const T*... tensors) {
  if (!((reinterpret_cast<uintptr_t>(tensors) % 16 == 0) && ...))
    fail("attention in bfloat16: the tensors have to be aligned to 16 bytes");
}

}  // namespace wandistill::WD_KERNELS
