#include "wandistill/ops/gaussian.h"

#include "wandistill/philox.h"

namespace wandistill::ref {

void gaussian(uint64_t seed, uint64_t stream, int64_t first_element, int64_t count, float* out,
              const Queue&) {
  fill_gaussian(seed, stream, first_element, count, out);
}

}  // namespace wandistill::ref
