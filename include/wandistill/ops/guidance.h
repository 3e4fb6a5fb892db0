// Classifier-free guidance (Ho & Salimans 2022, https://arxiv.org/abs/2207.12598).
#pragma once

#include <cstdint>

#include "wandistill/queue.h"

namespace wandistill {

/// out [n] = uncond + g (cond - uncond).
using Guidance = void(int64_t n, float g, const float* cond, const float* uncond, float* out,
                      const Queue& queue);

namespace ref {
Guidance guidance;
}  // namespace ref

}  // namespace wandistill
