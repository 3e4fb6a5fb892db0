// Guided sampling with one or two experts: what a teacher does for the cache and what draws every picture.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "wandistill/compute.h"
#include "wandistill/flow_schedule.h"
#include "wandistill/ops/ddim_update.h"
#include "wandistill/picture_group.h"
#include "wandistill/unipc.h"
#include "wandistill/wan_transformer.h"

namespace wandistill {

/// One or two transformers and how they are guided. Wan 2.2: the high-noise expert works while the timestep
/// is at least boundary_ratio * 1000, the low-noise expert below.
struct GuidedModel {
  const WanTransformer* transformer = nullptr;
  WanWeights high_noise = {};
  WanWeights low_noise = {};         // null: the first expert does it all
  const Compute* compute = nullptr;  // where the transformer works; null: where its caller does
  double boundary_ratio = 0;
  double guidance = 1, guidance_2 = 1;      // of the high- and low-noise expert; on if `guidance` > 1
  const TextEmbedding* negative = nullptr;  // the encoded negative prompt; needed with guidance

  bool guided() const { return guidance > 1; }
};

/// What the network says of B pictures: v = uncond + guidance (cond - uncond), each [B, C, h, w] where the
/// ops work. Null uncond: v = cond.
struct GuidedOutput {
  const float* cond;
  const float* uncond;
  float guidance;
};

/// Runs the experts with guidance over batches of pictures; keeps its work space between calls. On a device
/// an expert's second call becomes a graph, together with what follows it, which the calls after it launch: a
/// small network's kernels take less time than enqueueing them one by one.
class GuidedVelocity {
 public:
  using Then = std::function<void(const GuidedOutput&)>;

  explicit GuidedVelocity(const GuidedModel& model);

  /// The calls of operator() that follow are for these B pictures of latents h x w. The texts and `compute`
  /// outlive them.
  void start(std::span<const TextEmbedding* const> texts, int64_t h, int64_t w, const Compute& compute);
  /// latents [B, C, h, w] where the ops work; timestep in [0, 1000] as the network is told; it chooses the
  /// expert too. The two forwards of one picture run as a batch; pictures do not influence each other. The
  /// output is valid until the next call. `then` enqueues what becomes of it, the same in every call since
  /// start().
  GuidedOutput operator()(float timestep, const float* latents, const Then& then = {});
  const GuidedModel& model() const { return model_; }
  /// Of the expert in charge at this timestep.
  float guidance(float timestep) const {
    return float(is_low(timestep) ? model_.guidance_2 : model_.guidance);
  }
  /// The low-noise expert is in charge at this timestep.
  bool is_low(float timestep) const {
    return model_.low_noise && double(timestep) < model_.boundary_ratio * 1000;
  }
  /// The pictures that follow are drawn over this group, one at a time (B is 1): every member makes the calls
  /// with the same arguments and gets the same velocity, the bits that a rank alone would get. The group is
  /// for this model's guidance and this picture's tokens, and outlives the calls. Null: alone again.
  void set_group(const PictureGroup* group);

 private:
  /// The passes that this rank computes, all or its half of the group's: [0, 1], [0, 2] or [1, 2].
  Range own_passes() const;
  /// The own passes, by the expert of these weights.
  void forward(const WanWeights& weights, const float* latents);
  /// Work for this expert from these latents, by a graph where there is one, or can be.
  void launch(const WanWeights& weights, const float* latents, const std::function<void()>& work);
  void exchange_passes();

  GuidedModel model_;
  const PictureGroup* group_ = nullptr;
  WanActivations activations_;
  // Of the pictures since start():
  const Compute* compute_ = nullptr;
  TextBatch text_;
  WanInput input_{};
  int64_t pictures_ = 0, picture_size_ = 0;        // B, and C h w
  OpBuffer<float> latents_, timesteps_, outputs_;  // [own passes, B, C, h, w], [own passes, B], [passes, ...]
  // By weights and latents; null: called once, so that the next call can be captured.
  std::map<std::pair<const void*, const float*>, std::unique_ptr<Graph>> graphs_;
};

enum class SamplerKind { kDdim, kUniPc };
/// "ddim" or "unipc"; else an error naming both.
SamplerKind parse_sampler(const std::string& name);

struct SamplingSettings {
  SamplerKind sampler = SamplerKind::kDdim;
  int64_t steps = 25;
  SchedulerConfig scheduler;  // shift, and UniPC's order and correctors
};

/// Who looks on. Both get what lies where the ops work.
struct SamplingObserver {
  /// Before step i: sigma and x [B, C, h, w] there. False ends the sampling early.
  std::function<bool(int64_t i, float sigma, const float* x)> before;
  /// After it: what the network said of that x.
  std::function<void(int64_t i, const GuidedOutput& output)> after;
};

/// A batch of pictures on its way from noise to x0. Between its parts other batches may use the same
/// velocity.
class SamplingRun {
 public:
  /// noise [B, C, h, w], in the host's memory. The texts and `compute` outlive this.
  SamplingRun(const SamplingSettings& settings, std::vector<const TextEmbedding*> texts, int64_t channels,
              int64_t h, int64_t w, const float* noise, const Compute& compute);
  int64_t steps() const { return settings_.steps; }
  /// What the network is told at step i.
  float timestep(int64_t i) const;
  /// The next steps, until `end` of them are done. False if the observer ended it.
  bool advance(GuidedVelocity& velocity, int64_t end, const SamplingObserver& observer = {});
  /// The latents as they are now, to the host's memory.
  void read(float* x) const;

 private:
  GuidedOutput ddim_step(GuidedVelocity& velocity);
  GuidedOutput unipc_step(GuidedVelocity& velocity);

  const SamplingSettings settings_;
  const std::vector<const TextEmbedding*> texts_;
  const int64_t h_, w_, n_;  // of the latents; floats of all
  const Compute& compute_;
  const std::vector<SchedulePoint> schedule_;
  int64_t done_ = 0;
  OpBuffer<float> x_, guided_;
  OpBuffer<DdimCoefficients> ddim_;  // [1], the current step's
  std::optional<UniPC> unipc_;
};

/// Takes x [B, C, h, w], in the host's memory, from noise to x0. False if the observer ended it. Over a
/// group, every member calls this with the same noise, and the observer says the same on each.
bool sample_latents(GuidedVelocity& velocity, const SamplingSettings& settings,
                    std::span<const TextEmbedding* const> texts, int64_t h, int64_t w, float* x,
                    const Compute& compute, const SamplingObserver& observer = {});

}  // namespace wandistill
