// The Wan 2.2 diffusion transformer on single frames, forward and backward: teacher's experts and student
// alike. Reference: diffusers' models/transformers/transformer_wan.py (WanTransformer3DModel).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <variant>

#include "wandistill/buffer.h"
#include "wandistill/dtype.h"
#include "wandistill/ops.h"
#include "wandistill/text_batch.h"
#include "wandistill/token_split.h"
#include "wandistill/wan_config.h"
#include "wandistill/wan_weights.h"

namespace wandistill {

/// What is kept of a forward pass.
enum class Keep {
  kNothing,      // one block's activations, overwritten by the next block: inference
  kBlockInputs,  // each block's input; backward computes the rest again (gradient checkpointing)
  kAll           // everything that backward reads, but for what it computes again without a product
};

/// Inputs of a forward pass; the pointers must stay valid until the backward pass is done. The text is in the
/// host's memory, all other tensors are where the ops work (op_memory.h).
struct WanInput {
  int64_t height, width;   // of the latents
  const float* latents;    // [B, in_channels, h, w]
  const float* timesteps;  // [B], 1000 * sigma
  const TextBatch* text;   // B prompts
  /// Null: all tokens are computed here. Else B is 1, and the forward pass (of Keep::kNothing) computes a
  /// part of the tokens and gathers the others' keys, values and velocity. The prompt's keys and values, of
  /// few rows, are computed by every rank. Same bits as alone.
  const TokenSplit* split = nullptr;
};

/// The activations of one forward pass. Grows to the largest pass it was used for; one pass at a time.
class WanActivations {
 public:
  explicit WanActivations(Keep keep);
  ~WanActivations();
  WanActivations(WanActivations&&) noexcept;
  WanActivations& operator=(WanActivations&&) noexcept;

  /// Bytes that a pass of B samples, L tokens each and T text rows in all needs (without a split).
  static int64_t bytes(const WanConfig& config, Keep keep, int64_t batch, int64_t tokens, int64_t text_rows,
                       Dtype dtype = Dtype::kFloat32);

 private:
  friend class WanTransformer;
  struct State;
  template <class T>
  struct StateOf;
  template <class T>
  StateOf<T>& state();

  Keep keep_;
  std::unique_ptr<State> state_;
};

/// Called when a group of gradients (an index into ParameterLayout::gradient_order()) is complete.
using GradientsReady = std::function<void(size_t group)>;

/// The computation. Weights are of the ops' element type, for backward in a flat buffer laid out by layout(),
/// and gradients in one of floats; both are where the ops work.
class WanTransformer {
 public:
  explicit WanTransformer(const WanConfig& config, const Ops& ops = kCpuOps);
  WanTransformer(const WanConfig& config, const OpsOf<bf16>& ops);

  const WanConfig& config() const { return config_; }
  const ParameterLayout& layout() const { return layout_; }
  /// The element type of weights.
  Dtype dtype() const { return ops_.index() == 0 ? Dtype::kFloat32 : Dtype::kBfloat16; }

  /// velocity [B, out_channels, h, w].
  void forward(const WanWeights& weights, const WanInput& input, WanActivations& activations, float* velocity,
               const Queue& queue) const;
  /// forward() in two: what needs memory and the host, once for all passes on pictures of this size with this
  /// text and split, and the ops, after the weights' begin_pass().
  void prepare(const WanInput& input, WanActivations& activations, const Queue& queue) const;
  void forward_prepared(const WanWeights& weights, const WanInput& input, WanActivations& activations,
                        float* velocity, const Queue& queue) const;
  /// gradients = (or +=, if `accumulate`) d loss / d weights, from dvelocity = d loss / d velocity of the
  /// last forward pass with these weights, input and activations (which must keep more than nothing).
  /// dlatents [B, in_channels, h, w] is not formed: no caller needs it.
  void backward(const WanWeights& weights, const WanInput& input, WanActivations& activations,
                const float* dvelocity, float* gradients, bool accumulate, const Queue& queue,
                const GradientsReady& ready = {}) const;

 private:
  template <class T>
  struct Pass;

  WanConfig config_;
  ParameterLayout layout_;
  std::variant<const OpsOf<float>*, const OpsOf<bf16>*> ops_;
};

/// Reads all weights of the transformer in `folder` (sharded safetensors) as float32 into a flat buffer. A
/// tensor that is missing, unknown or of another shape is an error naming file, tensor, expected and found.
Buffer<float> load_wan_weights(const std::filesystem::path& folder, const ParameterLayout& layout);

/// cos and sin [L, D / 2] of the three-axis rotary embedding of a single frame's tokens: of the D channels,
/// D - 2 (2 floor(D / 6)) turn by time (here 0), then 2 floor(D / 6) by row, 2 floor(D / 6) by column.
struct RotaryTable {
  Buffer<float> cos, sin;
};
RotaryTable rotary_table(int64_t rows, int64_t columns, int64_t head_dim);

}  // namespace wandistill
