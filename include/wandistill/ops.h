// The ops that the transformer is made of, as one table, so that the same model runs on the fast CPU kernels
// or on their plain twins.
#pragma once

#include "wandistill/ops/activation.h"
#include "wandistill/ops/attention.h"
#include "wandistill/ops/layer_norm.h"
#include "wandistill/ops/matmul.h"
#include "wandistill/ops/optimizer.h"
#include "wandistill/ops/patchify.h"
#include "wandistill/ops/qk_norm_rope.h"

namespace wandistill {

struct Ops {
  LinearForward* linear_forward;
  LinearBackward* linear_backward;
  AttentionForward* attention_forward;
  AttentionBackward* attention_backward;
  LayerNormForward* layer_norm_forward;
  LayerNormBackward* layer_norm_backward;
  GatedResidualForward* gated_residual_forward;
  GatedResidualBackward* gated_residual_backward;
  QkNormRopeForward* qk_norm_rope_forward;
  QkNormRopeBackward* qk_norm_rope_backward;
  ActivationForward* silu_forward;
  ActivationBackward* silu_backward;
  ActivationForward* gelu_forward;
  ActivationBackward* gelu_backward;
  Patchify* patchify;
  Unpatchify* unpatchify;
  UnpatchifyBackward* unpatchify_backward;
  TimestepEmbedding* timestep_embedding;
  WeightedMse* weighted_mse;
  SquaredNorm* squared_norm;
  AdamW* adamw;
};

/// The fast CPU kernels.
extern const Ops kCpuOps;
/// The plain twins: slow, accumulating in double.
extern const Ops kRefOps;

}  // namespace wandistill
