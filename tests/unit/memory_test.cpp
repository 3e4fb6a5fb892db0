#include "wandistill/memory.h"

#include <doctest/doctest.h>

namespace wandistill {
namespace {

TEST_CASE("free memory is between a megabyte and a petabyte") {
  const int64_t bytes = available_memory();
  CHECK(bytes > int64_t{1} << 20);
  CHECK(bytes < int64_t{1} << 50);
}

}  // namespace
}  // namespace wandistill
