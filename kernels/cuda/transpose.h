// A matrix turned round, for products that want the other side contiguous.
#pragma once

#include "kernels/simt/device.h"

namespace wandistill::WD_KERNELS {

/// y [columns, rows] = x [rows, columns] transposed.
template <class T>
void transpose(int64_t rows, int64_t columns, const T* x, T* y, const Queue& queue);

}  // namespace wandistill::WD_KERNELS
