#include "wandistill/choose_gpu.h"

#include "mpi_test.h"
#include "wandistill/gpu.h"

namespace wandistill {
namespace {

TEST_CASE("GPUs: one for every rank, or an error on all of them [any ranks]") {
  Session& s = test_session();
  if (cuda_device_count() >= s.local_size()) {
    CHECK(choose_gpu(s) < cuda_device_count());
  } else {
    CHECK_THROWS_WITH_AS(choose_gpu(s), doctest::Contains("start at most one rank per GPU"), CollectiveError);
  }
}

}  // namespace
}  // namespace wandistill
