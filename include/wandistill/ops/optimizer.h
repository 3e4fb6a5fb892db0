// The loss and the optimizer over flat buffers.
#pragma once

#include <cstdint>

#include "wandistill/queue.h"

namespace wandistill {

/// prediction, target [B, n]; weight [B]. squared_error [B] = sum over n of (prediction - target)^2 and
/// dprediction = 2 weight (prediction - target) (null: not wanted).
using WeightedMse = void(int64_t batch, int64_t n, const float* prediction, const float* target,
                         const float* weight, double* squared_error, float* dprediction, const Queue& queue);

/// Sum of squares in double; NaN or infinity if an element is not finite.
using SquaredNorm = double(int64_t n, const float* x, const Queue& queue);

/// One AdamW step (Loshchilov & Hutter 2019) and the moving average of the weights.
struct AdamWStep {
  float lr, beta1, beta2, eps, weight_decay;
  int64_t step;          // counted from 1, for the bias correction
  float gradient_scale;  // the gradient is multiplied by it first (clipping)
  float ema_decay;       // ema = ema_decay * ema + (1 - ema_decay) * weight
};
/// weight, m, v, ema [n] updated in place from gradient [n]; null ema: none is kept.
using AdamW = void(const AdamWStep& step, int64_t n, const float* gradient, float* weight, float* m, float* v,
                   float* ema, const Queue& queue);

namespace ref {
WeightedMse weighted_mse;
SquaredNorm squared_norm;
AdamW adamw;
}  // namespace ref
namespace cpu {
WeightedMse weighted_mse;
SquaredNorm squared_norm;
AdamW adamw;
}  // namespace cpu

}  // namespace wandistill
