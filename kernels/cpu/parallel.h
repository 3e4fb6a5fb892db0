// The one parallel loop of the CPU backend.
#pragma once

#include <algorithm>
#include <cstdint>

#include "wandistill/queue.h"

namespace wandistill::cpu {

/// The one compiled form of a loop body: inlined into the serial and into the parallel loop it could be
/// vectorised in two ways, and its sums rounded in two ways.
template <class Body>
[[gnu::noinline]] void run_piece(Body& body, int64_t i) {
  body(i);
}

/// Calls body(i) for i in [0, count). Each i is done by one thread, start to end; what is computed must not
/// depend on which one. Nested calls run serially.
template <class Body>
void parallel_for(const Queue& queue, int64_t count, Body&& body) {
  if (queue.threads <= 1 || count <= 1) {
    for (int64_t i = 0; i < count; ++i) run_piece(body, i);
    return;
  }
#pragma omp parallel for schedule(dynamic, 1) num_threads(queue.threads)
  for (int64_t i = 0; i < count; ++i) run_piece(body, i);
}

/// Blocks of `step` items covering [0, count): body(begin, end).
template <class Body>
void parallel_blocks(const Queue& queue, int64_t count, int64_t step, Body&& body) {
  parallel_for(queue, (count + step - 1) / step, [&](int64_t block) {
    const int64_t begin = block * step;
    body(begin, begin + step < count ? begin + step : count);
  });
}

/// Rows of `width` values that are worth a task of their own where a value takes about a nanosecond: with
/// fewer, waking a thread takes longer than the work.
inline int64_t rows_per_task(int64_t width) {
  constexpr int64_t kValues = 32768;
  return std::max<int64_t>(1, kValues / std::max<int64_t>(1, width));
}

}  // namespace wandistill::cpu
