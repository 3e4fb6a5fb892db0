#include "wandistill/distribution.h"

#include <doctest/doctest.h>

#include <vector>

namespace wandistill {
namespace {

using Slices = std::vector<std::vector<int64_t>>;

Slices slices(int64_t prompts, int ranks) {
  Slices all;
  for (int rank = 0; rank < ranks; ++rank) all.push_back(strided_slice(prompts, rank, ranks));
  return all;
}

TEST_CASE("strided slices of prompts over ranks") {
  CHECK(slices(4, 4) == Slices{{0}, {1}, {2}, {3}});
  CHECK(slices(6, 4) == Slices{{0, 4}, {1, 5}, {2}, {3}});
  CHECK(slices(5, 4) == Slices{{0, 4}, {1}, {2}, {3}});
  CHECK(slices(2, 4) == Slices{{0}, {1}, {}, {}});
  CHECK(slices(0, 4) == Slices{{}, {}, {}, {}});
  CHECK(slices(3, 1) == Slices{{0, 1, 2}});
}

TEST_CASE("sample file names") {
  CHECK(sample_file_name(10, 1, 0) == "epoch_0010_rank_1_sample_00.png");
  CHECK(sample_file_name(0, 0, 7) == "epoch_0000_rank_0_sample_07.png");
  CHECK(sample_file_name(12345, 128, 100) == "epoch_12345_rank_128_sample_100.png");
}

}  // namespace
}  // namespace wandistill
