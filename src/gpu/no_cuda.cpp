// The CUDA device in a build without CUDA.
#include "wandistill/error.h"
#include "wandistill/gpu.h"

namespace wandistill {

int cuda_device_count() {
  return 0;
}

std::unique_ptr<Device> make_cuda_device(int) {
  fail("this program was built without CUDA: 'make found' says whether nvcc is found");
}

}  // namespace wandistill
