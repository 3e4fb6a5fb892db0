// The hand-written kernels as tables of ops (kernels/README.md). What they leave out, the matrix products,
// is a library's; device_ops.h has the whole tables.
#pragma once

#include "wandistill/ops.h"

namespace wandistill {

namespace cuda {
template <class T>
const OpsOf<T>& kernel_ops();  // T: float, bf16
}  // namespace cuda
namespace simt {
template <class T>
const OpsOf<T>& kernel_ops();
}  // namespace simt

}  // namespace wandistill
