#include "kernels/simt/grid.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "kernels/simt/sanitizers.h"
#include "wandistill/error.h"

namespace wandistill::simt::engine {
namespace {

/// Runs blocks until there are no more; order: numbers go up, but down if reverse.
void run_blocks(std::unique_ptr<Block>& block, Grid& grid, int64_t count, std::atomic<int64_t>& next) {
  {
    const int size = static_cast<int>(grid.block_shape.x * grid.block_shape.y * grid.block_shape.z);
    int ignore_depth = 0;
    IgnoreAccesses ignore(ignore_depth);
    if (!block || block->capacity() != size) block = std::make_unique<Block>(size);
    block->start_of_launch();
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) {
      if (block->run(grid, grid.options.order == SimtOrder::kReverse ? count - 1 - i : i)) continue;
      next = count;
      block->end_of_launch();
      block.reset();
      return;
    }
  }
  block->end_of_launch();
}

}  // namespace

void run_grid(BlockPool& pool, int threads, Grid& grid) {
  const int64_t count = int64_t{grid.shape.x} * grid.shape.y * grid.shape.z;
  threads = static_cast<int>(std::clamp<int64_t>(threads, 1, count));
  if (pool.size() < static_cast<size_t>(threads)) pool.resize(static_cast<size_t>(threads));
  std::atomic<int64_t> next = 0;
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i)
    others.emplace_back([&, i] { run_blocks(pool[static_cast<size_t>(i)], grid, count, next); });
  run_blocks(pool[0], grid, count, next);
  for (std::thread& other : others) other.join();
  if (!grid.error.empty()) throw Error(grid.error);
}

}  // namespace wandistill::simt::engine
