// Guided sampling with one or two experts: what a teacher does for the cache and what draws every picture.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "wandistill/flow_schedule.h"
#include "wandistill/picture_group.h"
#include "wandistill/wan_transformer.h"

namespace wandistill {

/// One or two transformers and how they are guided. Wan 2.2: the high-noise expert works while the timestep
/// is at least boundary_ratio * 1000, the low-noise expert below.
struct GuidedModel {
  const WanTransformer* transformer = nullptr;
  const float* high_noise = nullptr;  // weights
  const float* low_noise = nullptr;   // weights; null: the first expert does it all
  double boundary_ratio = 0;
  double guidance = 1, guidance_2 = 1;      // of the high- and low-noise expert; on if `guidance` > 1
  const TextEmbedding* negative = nullptr;  // the encoded negative prompt; needed with guidance

  bool guided() const { return guidance > 1; }
};

/// v = v_u + g (v_c - v_u) for a batch of pictures at one noise level; keeps its work space between calls.
class GuidedVelocity {
 public:
  explicit GuidedVelocity(const GuidedModel& model);

  /// latents and velocity [B, C, h, w], texts B embeddings, timestep in [0, 1000] as the network is told; it
  /// chooses the expert too. The two forwards of one picture run as a batch; pictures do not influence each
  /// other.
  void operator()(std::span<const TextEmbedding* const> texts, int64_t h, int64_t w, float timestep,
                  const float* latents, float* velocity, const Queue& queue);
  const GuidedModel& model() const { return model_; }
  /// The calls that follow draw one picture (B is 1) over this group: every member makes them with the same
  /// arguments and gets the same velocity, the bits that a rank alone would get. The group is for this
  /// model's guidance and this picture's tokens, and outlives the calls. Null: alone again.
  void set_group(const PictureGroup* group);

 private:
  GuidedModel model_;
  const PictureGroup* group_ = nullptr;
  WanActivations activations_;
  Buffer<float> inputs_, outputs_;
};

enum class SamplerKind { kDdim, kUniPc };
/// "ddim" or "unipc"; else an error naming both.
SamplerKind parse_sampler(const std::string& name);

struct SamplingSettings {
  SamplerKind sampler = SamplerKind::kDdim;
  int64_t steps = 25;
  SchedulerConfig scheduler;  // shift, and UniPC's order and correctors
};

/// Called before step i leaves x: sigma, x and velocity [B, C, h, w] at that point. False ends the sampling
/// early.
using SamplingStep = std::function<bool(int64_t i, float sigma, const float* x, const float* velocity)>;

/// Takes x [B, C, h, w] from noise to x0. False if `on_step` ended it. Over a group, every member calls this
/// with the same noise, and `on_step` says the same on each.
bool sample_latents(GuidedVelocity& velocity, const SamplingSettings& settings,
                    std::span<const TextEmbedding* const> texts, int64_t h, int64_t w, float* x,
                    const Queue& queue, const SamplingStep& on_step = {});

}  // namespace wandistill
