// Tensor maps for bulk copies. They are made by the driver, which is asked for the function when the first
// one is needed: the program is not linked to it.
#include <cuda.h>
#include <cudaTypedefs.h>

#include <initializer_list>

#include "kernels/simt/tile_dimension.h"
#include "src/gpu/cuda_device.h"
#include "wandistill/error.h"
#include "wandistill/half.h"

namespace wandistill::cuda {
namespace {

PFN_cuTensorMapEncodeTiled_v12000 find_encoder() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  WD_CHECK_CUDA(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                                 cudaEnableDefault, &found));
  if (found != cudaDriverEntryPointSuccess || function == nullptr)
    fail("CUDA: the driver has no cuTensorMapEncodeTiled; one for CUDA 12 or later is needed");
  return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function);
}

}  // namespace

// Declared in kernels/simt/ptx_hopper.h.
CUtensorMap make_tensor_map(const bf16* tensor, std::initializer_list<TileDimension> dimensions) {
  static const PFN_cuTensorMapEncodeTiled_v12000 encode = find_encoder();
  cuuint64_t sizes[5], strides[5];  // strides: in bytes, from the second dimension on
  cuuint32_t boxes[5], steps[5];
  cuuint32_t rank = 0;
  if (dimensions.size() > 5) fail("CUDA: a tensor map has at most 5 dimensions");
  for (const TileDimension& d : dimensions) {
    sizes[rank] = static_cast<cuuint64_t>(d.size);
    if (rank > 0) strides[rank - 1] = static_cast<cuuint64_t>(d.stride) * sizeof(bf16);
    boxes[rank] = static_cast<cuuint32_t>(d.box);
    steps[rank++] = 1;
  }
  CUtensorMap map{};
  const CUresult result =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, rank, const_cast<bf16*>(tensor), sizes, strides, boxes,
             steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS)
    fail("CUDA: cuTensorMapEncodeTiled refuses a tensor map (error ", static_cast<int>(result), ")");
  return map;
}

}  // namespace wandistill::cuda
