// The CUDA device's ops with cuDNN's convolution.
#include "src/gpu/cudnn_convolutions.h"
#include "wandistill/device_ops.h"
#include "wandistill/kernel_ops.h"

namespace wandistill {
namespace {

CudnnConvolutions& convolutions(CudaDevice& device) {
  std::shared_ptr<CudnnConvolutions>& made = device.cudnn();
  if (!made) made = std::make_shared<CudnnConvolutions>();
  return *made;
}

template <class T>
void conv2d_forward(const Conv2dShape& shape, const T* x, const T* gamma, const T* weight, const T* bias,
                    const T* residual, T* y, const Queue& queue) {
  constexpr cudnnDataType_t kType = std::is_same_v<T, bf16> ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
  CudaStream& stream = cuda_stream(queue);
  cuda::conv2d_in_steps<T>(shape, x, gamma, weight, bias, residual, y, queue,
                           [&](const Conv2dShape& plain, const T* in, const T* turned, T* out) {
                             convolutions(stream.device()).run({plain, kType, in, turned, out}, stream);
                           });
}

}  // namespace

template <class T>
const OpsOf<T>& cudnn_ops() {
  static const OpsOf<T> table = [] {
    OpsOf<T> ops = cuda_ops<T>();
    ops.conv2d_forward = conv2d_forward<T>;
    return ops;
  }();
  return table;
}
template const OpsOf<float>& cudnn_ops();
template const OpsOf<bf16>& cudnn_ops();

std::string cudnn_version() {
  const size_t version = cudnnGetVersion();  // 10000 * major + 100 * minor + patch
  return cat(version / 10000, ".", version / 100 % 100, ".", version % 100);
}

}  // namespace wandistill
