// Matrix products by cuBLASLt.
#pragma once

#include <cublasLt.h>

#include <map>

#include "src/gpu/cuda_device.h"
#include "wandistill/ops/matmul.h"

namespace wandistill {

/// A product in the words of Matmul, and what is done to C before it is written.
struct CudaProduct {
  MatmulShape shape;
  cudaDataType_t in, out;  // of A and B; of C, bias and raw
  const void *a, *b;
  void* c;
  const void* bias = nullptr;  // [N], added to every row
  /// Not null: C becomes GELU of the product, its tanh form, and raw [M, N] the product itself. N must be a
  /// multiple of 8.
  void* raw = nullptr;
};

/// A device's. What is needed for a kind of product (shape, types, alignments) is made once; the library's
/// heuristic chooses the algorithm from it alone, nothing is timed.
class CudaProducts {
 public:
  CudaProducts();
  ~CudaProducts();
  CudaProducts(const CudaProducts&) = delete;
  CudaProducts& operator=(const CudaProducts&) = delete;

  /// Enqueues it. False, with nothing enqueued, if the library has no algorithm for it.
  bool run(const CudaProduct& product, CudaStream& stream);

 private:
  struct Kind {
    int64_t m, n, k, lda, ldb, ldc;
    bool transpose_a, transpose_b, bias, gelu;
    cudaDataType_t in, out;
    uint32_t alignment_a, alignment_b, alignment_c, alignment_epilogue;
    auto operator<=>(const Kind&) const = default;
  };
  struct Plan {
    cublasLtMatmulDescOpaque_t operation;
    cublasLtMatrixLayoutOpaque_t a, b, c;
    cublasLtMatmulAlgo_t algorithm;
    bool found;
  };
  Plan make_plan(const CudaProduct& product, const Kind& kind) const;

  cublasLtHandle_t handle_ = nullptr;
  std::map<Kind, Plan> plans_;
};

}  // namespace wandistill
