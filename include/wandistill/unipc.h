// The UniPC sampler (Zhao et al., "UniPC: a unified predictor-corrector framework", 2023), as diffusers runs
// it for Wan.
#pragma once

#include <cstdint>
#include <vector>

#include "wandistill/compute.h"
#include "wandistill/flow_schedule.h"
#include "wandistill/ops/unipc_update.h"

namespace wandistill {

/// One sampling: data-predicting multistep UniPC with B(h) = e^h - 1 ("bh2") on flow sigmas. Keeps the last
/// x0 predictions, so every sampling needs its own object and calls step(0), step(1), ..., step(steps() - 1).
class UniPC {
 public:
  UniPC(const SchedulerConfig& config, int64_t steps);

  int64_t steps() const { return static_cast<int64_t>(timesteps_.size()); }
  /// steps() + 1 values, the last one 0.
  const std::vector<float>& sigmas() const { return sigmas_; }
  /// What the network is told at step i: truncated to an integer (the first one is 999), unlike the sigma.
  float timestep(int64_t i) const { return static_cast<float>(timesteps_.at(static_cast<size_t>(i))); }

  /// Takes x [n] from sigmas()[i] to sigmas()[i + 1], given the guided velocity [n] that the network
  /// predicted for x, both where the ops work.
  void step(int64_t i, const float* velocity, float* x, int64_t n, const Compute& compute);

 private:
  /// The solver of this order from point `from` to the next, as a combination of x at `from` and the x0
  /// predictions at from, from - 1, ... and, when correcting, at the target.
  struct Solution {
    float state, target;
    float x0[UnipcStep::kMaxHistory];
  };
  Solution solve(int64_t from, int64_t order, bool correct) const;

  SchedulerConfig config_;
  std::vector<float> sigmas_;
  std::vector<int64_t> timesteps_;
  int64_t next_ = 0;                 ///< the step that comes next
  int64_t previous_order_ = 0;       ///< of the last predictor: the corrector takes the same
  std::vector<OpBuffer<float>> x0_;  ///< ring: step i's prediction lies in slot i % size
  OpBuffer<float> last_;             ///< the corrected x of the previous step
};

}  // namespace wandistill
