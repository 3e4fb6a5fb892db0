#include "wandistill/distribution.h"

#include <cstdio>

#include "wandistill/error.h"

namespace wandistill {

std::vector<int64_t> strided_slice(int64_t n, int rank, int world) {
  WD_REQUIRE(world >= 1 && rank >= 0 && rank < world);
  std::vector<int64_t> slice;
  for (int64_t i = rank; i < n; i += world) slice.push_back(i);
  return slice;
}

std::string sample_file_name(int64_t epoch, int rank, int64_t index_within_rank) {
  char name[96];
  std::snprintf(name, sizeof(name), "epoch_%04lld_rank_%d_sample_%02lld.png", static_cast<long long>(epoch),
                rank, static_cast<long long>(index_within_rank));
  return name;
}

}  // namespace wandistill
