// The CUDA device in a build without CUDA.
#include "wandistill/device_ops.h"
#include "wandistill/error.h"
#include "wandistill/gpu.h"

namespace wandistill {

int cuda_device_count() {
  return 0;
}

std::unique_ptr<Device> make_cuda_device(int) {
  fail("this program was built without CUDA: 'make found' says whether nvcc is found");
}

template <class T>
const OpsOf<T>& cuda_ops() {
  fail("this program was built without CUDA");
}
template const OpsOf<float>& cuda_ops();
template const OpsOf<bf16>& cuda_ops();

}  // namespace wandistill
