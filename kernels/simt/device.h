// What a kernel file includes, and all it includes of CUDA: kernels/README.md has the rules. The file is
// compiled twice, by nvcc into namespace cuda and by the host compiler, on top of the SIMT layer, into
// namespace simt.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define WD_KERNELS cuda
#include "kernels/simt/ptx.h"
#include "kernels/simt/ptx_hopper.h"
#else
#define WD_KERNELS simt
#include "kernels/simt/async_copy.h"
#include "kernels/simt/atomics.h"
#include "kernels/simt/intrinsics.h"
#include "kernels/simt/launch.h"
#include "kernels/simt/mbarrier.h"
#include "kernels/simt/shared_memory.h"
#include "kernels/simt/tensor_core.h"
#include "kernels/simt/tma.h"
#include "kernels/simt/vector_types.h"
#include "kernels/simt/warp.h"
#include "kernels/simt/warpgroup.h"
// Behind the others, as it defines macros.
#include "kernels/simt/keywords.h"
#endif

#include "wandistill/half.h"
