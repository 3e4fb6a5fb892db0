// Root-mean-square norm (Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467) as T5 has it.
#pragma once

#include <cstdint>

#include "wandistill/queue.h"

namespace wandistill {

/// x, y [rows, C]: y = x / sqrt(mean(x^2) + eps) * weight. y may be x itself.
template <class T>
using RmsNormForward = void(int64_t rows, int64_t channels, float eps, const T* x, const T* weight, T* y,
                            const Queue& queue);

namespace ref {
RmsNormForward<float> rms_norm_forward;
}  // namespace ref
namespace cpu {
RmsNormForward<float> rms_norm_forward;
}  // namespace cpu

}  // namespace wandistill
