// The ops that the models are made of, as one table per place where they run.
#pragma once

#include "wandistill/half.h"
#include "wandistill/ops/activation.h"
#include "wandistill/ops/attention.h"
#include "wandistill/ops/attention_biased.h"
#include "wandistill/ops/cast.h"
#include "wandistill/ops/conv2d.h"
#include "wandistill/ops/ddim_update.h"
#include "wandistill/ops/gaussian.h"
#include "wandistill/ops/gelu_gated.h"
#include "wandistill/ops/guidance.h"
#include "wandistill/ops/layer_norm.h"
#include "wandistill/ops/matmul.h"
#include "wandistill/ops/modulation.h"
#include "wandistill/ops/optimizer.h"
#include "wandistill/ops/patchify.h"
#include "wandistill/ops/qk_norm_rope.h"
#include "wandistill/ops/rgb8.h"
#include "wandistill/ops/rms_norm.h"
#include "wandistill/ops/rms_norm_silu.h"
#include "wandistill/ops/unipc_update.h"
#include "wandistill/ops/vae_image.h"

namespace wandistill {

/// T, float or bf16, is what activations and the weights that products read are kept in. Statistics, sums,
/// gradients of weights, and latents are float.
template <class T>
struct OpsOf {
  // The transformer
  LinearForward<T>* linear_forward;
  LinearGeluForward<T>* linear_gelu_forward;
  LinearBackward<T>* linear_backward;
  AddColumnSums<T>* add_column_sums;
  AttentionForward<T>* attention_forward;
  AttentionBackward<T>* attention_backward;
  LayerNormForward<T>* layer_norm_forward;
  LayerNormBackward<T>* layer_norm_backward;
  GatedResidualForward<T>* gated_residual_forward;
  GatedResidualBackward<T>* gated_residual_backward;
  QkNormRopeForward<T>* qk_norm_rope_forward;
  QkNormRopeBackward<T>* qk_norm_rope_backward;
  ActivationForward<T>* silu_forward;
  ActivationBackward<T>* silu_backward;
  ActivationForward<T>* gelu_forward;
  ActivationBackward<T>* gelu_backward;
  ModulationForward<T>* modulation_forward;
  ModulationBackward* modulation_backward;
  Patchify<T>* patchify;
  Unpatchify<T>* unpatchify;
  UnpatchifyBackward<T>* unpatchify_backward;
  TimestepEmbedding<T>* timestep_embedding;
  Narrow<T>* narrow;
  Widen<T>* widen;
  // Training
  WeightedMse* weighted_mse;
  SquaredNorm* squared_norm;
  PlanUpdate* plan_update;
  AdamW<T>* adamw;
  // Sampling
  Gaussian* gaussian;
  Guidance* guidance;
  DdimUpdate* ddim_update;
  UnipcUpdate* unipc_update;
  // The VAE decoder
  Conv2dForward<T>* conv2d_forward;
  RmsNormSiluForward<T>* rms_norm_silu_forward;
  VaeImage<T>* vae_image;
  Rgb8* rgb8;
  // The text encoder
  Matmul<T>* matmul;
  RmsNormForward<T>* rms_norm_forward;
  GeluGatedForward<T>* gelu_gated_forward;
  AttentionBiasedForward<T>* attention_biased_forward;
};
using Ops = OpsOf<float>;

/// The fast CPU kernels.
extern const Ops kCpuOps;
/// The same with products of bfloat16 in linear layers and attention, on CPUs with instructions for them
/// (matmul.h).
extern const Ops kCpuBf16Ops;
/// The plain twins: slow, accumulating in double.
extern const Ops kRefOps;

}  // namespace wandistill
