#include "src/gpu/cuda_products.h"

#include <algorithm>

#include "wandistill/error.h"

namespace wandistill {
namespace {

void check(cublasStatus_t status, const char* call, const char* file, int line) {
  if (status != CUBLAS_STATUS_SUCCESS)
    fail("cuBLASLt: ", call, ": ", cublasLtGetStatusString(status), " at ", file, ":", line);
}
#define WD_CHECK_CUBLAS(call) check(call, #call, __FILE__, __LINE__)

/// The power of two that the address is a multiple of, at most 256.
uint32_t alignment(const void* address) {
  const auto bits = reinterpret_cast<uintptr_t>(address) | 256;
  return static_cast<uint32_t>(bits & -bits);
}

template <class Value>
void set(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute, const Value& value) {
  WD_CHECK_CUBLAS(cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof(value)));
}

template <class Value>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute,
         const Value& value) {
  WD_CHECK_CUBLAS(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value)));
}

/// Row-major memory of a matrix with `columns` columns, as it lies there.
void set_layout(cublasLtMatrixLayout_t layout, cudaDataType_t type, int64_t rows, int64_t columns,
                int64_t stride) {
  WD_CHECK_CUBLAS(cublasLtMatrixLayoutInit(layout, type, static_cast<uint64_t>(columns),
                                           static_cast<uint64_t>(rows), stride));
}

void set_epilogue_addresses(cublasLtMatmulDesc_t operation, const CudaProduct& p) {
  if (p.bias) set(operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
  if (p.raw) set(operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, p.raw);
}

}  // namespace

CudaProducts::CudaProducts() {
  WD_CHECK_CUBLAS(cublasLtCreate(&handle_));
}

CudaProducts::~CudaProducts() {
  cublasLtDestroy(handle_);
}

// cuBLASLt is told of column-major matrices, and a row-major matrix is its transpose in column-major order.
// So it computes C^T [N, M] = op(B)^T op(A)^T: the operands change places, m is N and n is M, the strides are
// as they are, and what is transposed for us is transposed for it. C^T's rows are C's columns, which is what
// its bias runs along.
CudaProducts::Plan CudaProducts::make_plan(const CudaProduct& p, const Kind& kind) const {
  const MatmulShape& s = p.shape;
  Plan plan;
  WD_CHECK_CUBLAS(cublasLtMatmulDescInit(&plan.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));  // float: no TF32
  const auto operation_of = [](bool transpose) { return transpose ? CUBLAS_OP_T : CUBLAS_OP_N; };
  set(&plan.operation, CUBLASLT_MATMUL_DESC_TRANSA, operation_of(s.transpose_b));
  set(&plan.operation, CUBLASLT_MATMUL_DESC_TRANSB, operation_of(s.transpose_a));
  const cublasLtEpilogue_t epilogue =
      p.raw    ? p.bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX
      : p.bias ? CUBLASLT_EPILOGUE_BIAS
               : CUBLASLT_EPILOGUE_DEFAULT;
  set(&plan.operation, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
  if (p.raw) set(&plan.operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, s.n);
  set_epilogue_addresses(&plan.operation, p);
  set_layout(&plan.a, p.in, s.transpose_b ? s.n : s.k, s.transpose_b ? s.k : s.n, s.ldb);
  set_layout(&plan.b, p.in, s.transpose_a ? s.k : s.m, s.transpose_a ? s.m : s.k, s.lda);
  set_layout(&plan.c, p.out, s.m, s.n, s.ldc);

  cublasLtMatmulPreferenceOpaque_t preference;
  WD_CHECK_CUBLAS(cublasLtMatmulPreferenceInit(&preference));
  set(&preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, CudaStream::kWorkspaceBytes);
  set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, kind.alignment_b);
  set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, kind.alignment_a);
  set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, kind.alignment_c);
  // The library asks for nothing about bias and raw, but reads and writes them as wide as D.
  set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
      std::min(kind.alignment_c, kind.alignment_epilogue));
  // Where K is split, the parts are summed in float: the library may else sum them in the output's type.
  set(&preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  cublasLtMatmulHeuristicResult_t best{};
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle_, &plan.operation, &plan.a, &plan.b, &plan.c, &plan.c, &preference, 1, &best, &count);
  if (status != CUBLAS_STATUS_NOT_SUPPORTED) WD_CHECK_CUBLAS(status);
  plan.found = status == CUBLAS_STATUS_SUCCESS && count == 1 && best.state == CUBLAS_STATUS_SUCCESS;
  plan.algorithm = best.algo;
  return plan;
}

bool CudaProducts::run(const CudaProduct& p, CudaStream& stream) {
  const MatmulShape& s = p.shape;
  if (s.m == 0 || s.n == 0) return true;
  WD_REQUIRE(s.k > 0);
  const Kind kind = {s.m,
                     s.n,
                     s.k,
                     s.lda,
                     s.ldb,
                     s.ldc,
                     s.transpose_a,
                     s.transpose_b,
                     p.bias != nullptr,
                     p.raw != nullptr,
                     p.in,
                     p.out,
                     alignment(p.a),
                     alignment(p.b),
                     alignment(p.c),
                     std::min(alignment(p.bias), alignment(p.raw))};
  auto known = plans_.find(kind);
  if (known == plans_.end()) known = plans_.emplace(kind, make_plan(p, kind)).first;
  Plan plan = known->second;  // of its own for this call's addresses
  if (!plan.found) return false;
  set_epilogue_addresses(&plan.operation, p);
  const float one = 1;
  WD_CHECK_CUBLAS(cublasLtMatmul(handle_, &plan.operation, &one, p.b, &plan.a, p.a, &plan.b, &s.beta, p.c,
                                 &plan.c, p.c, &plan.c, &plan.algorithm, stream.workspace(),
                                 CudaStream::kWorkspaceBytes, stream.get()));
  return true;
}

}  // namespace wandistill
