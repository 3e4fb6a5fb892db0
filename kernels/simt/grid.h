// A grid of blocks on OS threads.
#pragma once

#include <memory>
#include <vector>

#include "kernels/simt/block.h"

namespace wandistill::simt::engine {

/// Blocks that wait to be used by the next launch; the i-th belongs to OS thread i.
using BlockPool = std::vector<std::unique_ptr<Block>>;

/// Runs the grid on up to `threads` OS threads (the caller is one of them); Error if a kernel broke a rule.
void run_grid(BlockPool& pool, int threads, Grid& grid);

}  // namespace wandistill::simt::engine
