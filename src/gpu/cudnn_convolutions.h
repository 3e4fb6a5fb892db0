// Plain convolutions by cuDNN.
#pragma once

#include <map>

#include "src/gpu/cuda_device.h"
#include "src/gpu/cudnn_descriptor.h"
#include "wandistill/ops/conv2d.h"

namespace wandistill {

/// In the words of PlainConv2d (kernel_ops.h).
struct CudnnConvolution {
  Conv2dShape shape;
  cudnnDataType_t type;  // of all tensors; sums are float
  const void *x, *weight;
  void* y;
};

/// A device's. What is needed for a kind of convolution (shape, type, alignments) is made once: the first in
/// the order of cuDNN's heuristic that is deterministic and computes in the tensors' own precision. Nothing
/// is timed.
class CudnnConvolutions {
 public:
  CudnnConvolutions();
  ~CudnnConvolutions();
  CudnnConvolutions(const CudnnConvolutions&) = delete;
  CudnnConvolutions& operator=(const CudnnConvolutions&) = delete;

  /// Enqueues it. Scratch memory of the stream's: at most kUnaskedWorkspace bytes and as many as x, weight
  /// and y have. Error if cuDNN has none that does with it.
  void run(const CudnnConvolution& convolution, CudaStream& stream);
  static constexpr int64_t kUnaskedWorkspace = int64_t{32} << 20;

 private:
  struct Kind {
    int64_t height, width, c_in, c_out, kernel;
    cudnnDataType_t type;
    int64_t alignment_x, alignment_weight, alignment_y;
    auto operator<=>(const Kind&) const = default;
  };
  struct Plan {
    CudnnDescriptor engine, plan;
    int64_t workspace = 0;  // bytes
  };
  CudnnDescriptor make_graph(const Kind& kind) const;
  Plan make_plan(const Kind& kind) const;

  cudnnHandle_t handle_ = nullptr;
  std::map<Kind, Plan> plans_;
};

}  // namespace wandistill
