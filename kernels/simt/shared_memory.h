// Shared memory of the SIMT layer: filled with 0xFF (NaN in every floating-point type, -1) for every block,
// of exactly the size that was asked for. Arrays keep their C array type, so that UBSan checks their indices.
#pragma once

#include "kernels/simt/block.h"

/// WD_SHARED(float, tile, [16][65]): an array in shared memory.
#define WD_SHARED(type, name, dimensions)           \
  using name##_array = type dimensions;             \
  static char name##_key;                           \
  name##_array& name = *static_cast<name##_array*>( \
      ::wandistill::simt::engine::current->block->shared(&name##_key, sizeof(name##_array)))

/// WD_DYNAMIC_SHARED(float, row): the launch's dynamic shared memory, as T*.
#define WD_DYNAMIC_SHARED(type, name) \
  type* name = static_cast<type*>(::wandistill::simt::engine::current->block->dynamic_shared())
