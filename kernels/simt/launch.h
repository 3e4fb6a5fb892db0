// launch() of the SIMT layer: enqueues a grid on the queue's stream; runs when the stream gets there.
#pragma once

#include <cstddef>
#include <functional>
#include <tuple>
#include <type_traits>

#include "kernels/simt/vector_types.h"
#include "wandistill/queue.h"

namespace wandistill::simt {
namespace engine {

/// `kernel` is called once by every thread of the grid.
void enqueue(const Queue& queue, dim3 grid, dim3 block, size_t dynamic_bytes, std::function<void()> kernel);

}  // namespace engine

/// Of the GPU that the queue's device stands for: 80, 90.
int compute_capability(const Queue& queue);

/// Enqueues kernel(arguments...) on queue.stream. Nothing is launched for an empty grid.
template <class... Parameters>
void launch(const Queue& queue, dim3 grid, dim3 block, size_t dynamic_bytes, void (*kernel)(Parameters...),
            std::type_identity_t<Parameters>... arguments) {
  engine::enqueue(queue, grid, block, dynamic_bytes,
                  [kernel, values = std::tuple<std::decay_t<Parameters>...>(arguments...)] {
                    std::apply(kernel, values);
                  });
}

}  // namespace wandistill::simt
