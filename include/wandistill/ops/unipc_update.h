// One UniPC step over the latents: conversion, corrector and predictor, every array passed once through
// memory.
#pragma once

#include <cstdint>

#include "wandistill/queue.h"

namespace wandistill {

/// The step as linear combinations (unipc.h knows the coefficients).
struct UnipcStep {
  static constexpr int kMaxHistory = 3;
  struct Combination {
    float state = 0;                  ///< of the latents
    float x0 = 0;                     ///< of this step's x0 prediction
    float history[kMaxHistory] = {};  ///< of the x0 predictions of earlier steps, the latest first
  };
  float sigma = 0;
  int history = 0;  ///< how many earlier predictions are given
  bool correct = false;
  Combination corrector;  ///< read with `correct`
  Combination predictor;
};

/// x0 := x - sigma * velocity;
/// y  := correct ? corrector of (last, x0, history) : x;
/// x  := predictor of (y, x0, history);  last := y.
/// velocity [n], history[k] [n] in; x0 [n] out; last [n], x [n] in and out. `last` may be unset without
/// `correct`.
using UnipcUpdate = void(int64_t n, const UnipcStep& step, const float* velocity, const float* const* history,
                         float* x0, float* last, float* x, const Queue& queue);

namespace ref {
UnipcUpdate unipc_update;
}
namespace cpu {
UnipcUpdate unipc_update;
}

}  // namespace wandistill
