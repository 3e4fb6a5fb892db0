// Launches with dynamic shared memory.
#pragma once

#include "kernels/simt/device.h"

namespace wandistill::WD_KERNELS {

/// Enqueues kernel(arguments...) with so many bytes of dynamic shared memory. Both are in this function's own
/// name, which stays in the object: there scripts/kernel_table.sh finds them.
template <auto kernel, size_t kBytes, class... Arguments>
[[gnu::noinline]] void launch_shared(const Queue& queue, dim3 grid, dim3 block,
                                     const Arguments&... arguments) {
  launch(queue, grid, block, kBytes, kernel, arguments...);
}

}  // namespace wandistill::WD_KERNELS
