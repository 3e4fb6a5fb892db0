// The hand-written kernels as tables of ops (kernels/README.md). What they leave out, the matrix products,
// is a library's; device_ops.h has the whole tables.
#pragma once

#include <functional>

#include "wandistill/ops.h"

namespace wandistill {

/// Enqueues y [h, w, c_out] = the convolution of x [h, w, c_in], without bias, of a shape that is not
/// doubled. weight [c_out, kernel, kernel, c_in]: the order of libraries.
template <class T>
using PlainConv2d = std::function<void(const Conv2dShape& shape, const T* x, const T* weight, T* y)>;

namespace cuda {
template <class T>
const OpsOf<T>& kernel_ops();  // T: float, bf16
/// Conv2dForward by a convolution that is not ours: kernels do the rest in front of it and behind. Scratch
/// memory: of x's normed and doubled copies, where it is these, and of y's product if y is the residual.
template <class T>
void conv2d_in_steps(const Conv2dShape& shape, const T* x, const T* gamma, const T* weight, const T* bias,
                     const T* residual, T* y, const Queue& queue, const PlainConv2d<T>& convolve);
}  // namespace cuda
namespace simt {
template <class T>
const OpsOf<T>& kernel_ops();
template <class T>
void conv2d_in_steps(const Conv2dShape& shape, const T* x, const T* gamma, const T* weight, const T* bias,
                     const T* residual, T* y, const Queue& queue, const PlainConv2d<T>& convolve);
}  // namespace simt

}  // namespace wandistill
