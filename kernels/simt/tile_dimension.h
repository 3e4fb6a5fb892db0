// How a tensor is cut into boxes that a bulk copy moves: for CUDA's tensor maps and the SIMT layer's.
#pragma once

#include <cstdint>

namespace wandistill {

/// One dimension of a tensor, in elements: its size, the distance of neighbours, and its size in a box.
struct TileDimension {
  int64_t size;
  int64_t stride;
  int box;
};

}  // namespace wandistill
