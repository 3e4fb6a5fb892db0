// Noise schedules: which (alpha, sigma) a sampling visits, and what the teacher folder says about it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace wandistill {

/// One point of a trajectory: x = alpha * x0 + sigma * noise. `timestep` in [0, 1000] is what the network is
/// told.
struct SchedulePoint {
  float alpha = 1;
  float sigma = 0;
  float timestep = 0;
};

/// The steps + 1 sigmas of a flow sampling, falling to a final 0: linspace(1, 1/1000, steps + 1) without its
/// last, shifted by shift * s / (1 + (shift - 1) * s), a first value of 1 lowered by 1e-6; float64 rounded to
/// float32 at the end, as diffusers' UniPCMultistepScheduler keeps them. steps >= 1, shift > 0.
std::vector<float> flow_sigmas(int64_t steps, double shift);

/// The integer timesteps that UniPC tells the network: 1000 * sigma truncated, from the float64 sigmas (steps
/// values).
std::vector<int64_t> flow_integer_timesteps(int64_t steps, double shift);

/// The same sigmas as points: alpha = 1 - sigma (float32), timestep = 1000 * sigma, not truncated.
std::vector<SchedulePoint> flow_schedule(int64_t steps, double shift);

/// alpha = sqrt(abar), sigma = sqrt(1 - abar), abar = 1 - timestep / 1000 for evenly spaced timesteps, kept
/// inside [1e-3, 1 - 1e-3] except for the last point, which is x0 itself (alpha 1, sigma 0). steps + 1
/// points.
std::vector<SchedulePoint> linear_schedule(int64_t steps);

/// The flow shift of one sigma: shift * s / (1 + (shift - 1) * s), for drawing training sigmas as the sampler
/// sees them.
double shift_sigma(double sigma, double shift);

/// What scheduler/scheduler_config.json says, for a UniPCMultistepScheduler on flow sigmas.
struct SchedulerConfig {
  double flow_shift = 1;
  int64_t solver_order = 2;                ///< 1, 2 or 3
  std::vector<int64_t> disable_corrector;  ///< step indices after which no correction is made
  bool lower_order_final = true;

  /// Reads model_folder/scheduler/scheduler_config.json. A missing file or key, or a setting that we do not
  /// compute (another scheduler class, prediction type, sigma spacing, ...) is an Error that names file and
  /// key.
  static SchedulerConfig load(const std::string& model_folder);
};

}  // namespace wandistill
