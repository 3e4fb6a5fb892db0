#include "wandistill/buffer.h"

#include <sys/mman.h>

#include <bit>

namespace wandistill {

void prefer_huge_pages(void* from, int64_t bytes) {
  constexpr uintptr_t kPage = uintptr_t{2} << 20;
  if (bytes < int64_t{4 * kPage}) return;
  const uintptr_t address = std::bit_cast<uintptr_t>(from);
  const uintptr_t first = (address + kPage - 1) / kPage * kPage;
  const uintptr_t last = (address + static_cast<uintptr_t>(bytes)) / kPage * kPage;
  madvise(std::bit_cast<void*>(first), last - first, MADV_HUGEPAGE);
}

}  // namespace wandistill
