// The loss and the optimizer over flat buffers.
#pragma once

#include <cstdint>

#include "wandistill/queue.h"

namespace wandistill {

/// prediction, target [B, n]; weight [B]. squared_error [B] = sum over n of (prediction - target)^2 and
/// dprediction = 2 weight (prediction - target) (null: not wanted).
using WeightedMse = void(int64_t batch, int64_t n, const float* prediction, const float* target,
                         const float* weight, double* squared_error, float* dprediction, const Queue& queue);

/// result [1] = the sum of squares in double; NaN or infinity if an element is not finite.
using SquaredNorm = void(int64_t n, const float* x, double* result, const Queue& queue);

/// AdamW (Loshchilov & Hutter 2019) with clipping, and the moving average of the weights.
struct AdamWStep {
  float lr, beta1, beta2, eps, weight_decay;
  float clip;       // the gradient's largest norm; 0: any
  float ema_decay;  // ema = decay * ema + (1 - decay) * weight, decay at most this
};

/// What the steps have in common, and what one takes from its gradient. It lies where the gradient does, so
/// that nobody has to wait for it.
struct UpdateState {
  int64_t updates = 0;                      // steps that changed the weights: AdamW's and the average's count
  int64_t skipped = 0, skipped_in_row = 0;  // steps whose gradient was not finite
  // Of the present step:
  double correction1 = 1, correction2 = 1;  // 1 - beta1^updates, 1 - beta2^updates
  float gradient_scale = 1;                 // clips
  float ema_decay = 0;
  int32_t skip = 0;  // not 0: nothing is updated
};

/// Counts the step, and decides on it: skipped if the gradient's squared_norm [1] is not finite, as it is
/// where the loss is not.
/// The average forgets its start sooner while it is young: its decay is at most (1 + updates) / (10 +
/// updates).
using PlanUpdate = void(const AdamWStep& step, const double* squared_norm, UpdateState* state,
                        const Queue& queue);
/// weight, m, v, ema [n] updated in place from gradient [n]; null ema: none is kept. rounded [n] (null: not
/// wanted) becomes what T keeps of the weights.
template <class T>
using AdamW = void(const AdamWStep& step, const UpdateState* state, int64_t n, const float* gradient,
                   float* weight, float* m, float* v, float* ema, T* rounded, const Queue& queue);

namespace ref {
WeightedMse weighted_mse;
SquaredNorm squared_norm;
PlanUpdate plan_update;
AdamW<float> adamw;
}  // namespace ref
namespace cpu {
WeightedMse weighted_mse;
SquaredNorm squared_norm;
AdamW<float> adamw;
}  // namespace cpu

}  // namespace wandistill
