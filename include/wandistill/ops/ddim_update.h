// One DDIM step: guidance, conversion of the model output and update, x read and written once.
#pragma once

#include <cstdint>

#include "wandistill/flow_schedule.h"
#include "wandistill/queue.h"

namespace wandistill {

/// What the network predicts for x = alpha * x0 + sigma * eps.
enum class Prediction { kFlowVelocity /* eps - x0 */, kEpsilon, kSample /* x0 */ };

/// From schedule point `from` (t) to `to` (s): 0 < from.sigma, to.sigma < from.sigma; epsilon prediction
/// needs from.alpha > 0.
struct DdimStep {
  SchedulePoint from;
  SchedulePoint to;
  Prediction prediction = Prediction::kFlowVelocity;
  float guidance = 1;  ///< g in m = m_u + g * (m_c - m_u); not used without the unconditional output
  float eta = 0;       ///< 0: deterministic, 1: as much fresh noise as ancestral sampling
  uint64_t noise_seed = 0, noise_stream = 0;  ///< of the fresh noise (philox.h); not used without eta
};

/// The step is linear: x := keep * x + move * m + fresh * noise.
struct DdimCoefficients {
  float keep, move, fresh, guidance;
  uint64_t noise_seed, noise_stream;
};
/// Those of x := alpha_s * x0 + sqrt(sigma_s^2 - sigma_eta^2) * eps + sigma_eta * noise, where x0 and eps
/// follow from x and the guided output m, and sigma_eta = eta * (sigma_s / sigma_t) * sqrt(sigma_t^2 -
/// (alpha_t / alpha_s)^2 * sigma_s^2) (Song et al., "Denoising diffusion implicit models", 2021, eq. 12 and
/// 16, for any alpha and sigma).
DdimCoefficients ddim_coefficients(const DdimStep& step);

/// x [n] := keep * x + move * m + fresh * noise. step [1] lies where the op works, so that a graph of it can
/// do any step. cond [n]: the model output; uncond [n] or null: the unconditional one (null: m = cond). The
/// noise of x[i] is number i of (noise_seed, noise_stream), as fill_gaussian gives it; without `noise` there
/// is none.
using DdimUpdate = void(int64_t n, const DdimCoefficients* step, bool noise, const float* cond,
                        const float* uncond, float* x, const Queue& queue);

namespace ref {
DdimUpdate ddim_update;
}
namespace cpu {
DdimUpdate ddim_update;
}

}  // namespace wandistill
