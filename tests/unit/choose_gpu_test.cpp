#include "wandistill/choose_gpu.h"

#include <doctest/doctest.h>

namespace wandistill {
namespace {

using Visible = std::vector<std::vector<std::string>>;

std::string refusal(const Visible& visible) {
  try {
    assign_gpus("node7", visible);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("GPUs: one for every local rank") {
  CHECK(assign_gpus("node7", {{"a"}}) == std::vector<int>{0});
  // All ranks see all GPUs, of which there may be more.
  CHECK(assign_gpus("node7", {{"a", "b", "c"}, {"a", "b", "c"}}) == std::vector<int>{0, 1});
  // A scheduler gives each rank its own, or two ranks two.
  CHECK(assign_gpus("node7", {{"a"}, {"b"}}) == std::vector<int>{0, 0});
  CHECK(assign_gpus("node7", {{"a", "b"}, {"c", "d"}, {"a", "b"}, {"c", "d"}}) ==
        std::vector<int>{0, 0, 1, 1});
}

TEST_CASE("GPUs: too few are an error that says how many there are, and for whom") {
  CHECK(
      refusal({{"a", "b"}, {"a", "b"}, {"a", "b"}})
          .find(
              "node7: 3 ranks, and 2 GPUs for them: local rank 2 (counted from 0), which may use 2 of them, "
              "is left without one") == 0);
  CHECK(refusal({{}}).find("node7: 1 rank, and 0 GPUs") == 0);
  // Overlapping lists do not give one GPU to two ranks.
  CHECK(refusal({{"a", "b"}, {"a"}}).find("node7: 2 ranks, and 2 GPUs") == 0);
}

}  // namespace
}  // namespace wandistill
