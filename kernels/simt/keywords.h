// CUDA's keywords and built-in variables for the SIMT layer. Included by kernels only, through device.h.
#pragma once

#include "kernels/simt/block.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__

#define threadIdx (::wandistill::simt::engine::current->index)
#define blockIdx (::wandistill::simt::engine::current->block->index)
#define blockDim (::wandistill::simt::engine::current->block->shape)
#define gridDim (::wandistill::simt::engine::current->block->grid_shape)

namespace wandistill::simt {

constexpr int warpSize = 32;
constexpr bool kHopper = true;  // Hopper's instructions are there
inline void trap() {}

inline void __syncthreads(engine::Where where = engine::Where::current()) {
  engine::current->block->arrive_at_barrier(where);
}

}  // namespace wandistill::simt
