// Where an op runs: the last argument of every op.
#pragma once

namespace wandistill {

class ConvertedWeights;
class Stream;

/// The execution resources an op may use. On the CPU that is a number of threads; results never depend on it,
/// because work is cut into blocks fixed by the shapes alone. The kernels of namespaces cuda and simt are
/// enqueued on `stream` (gpu.h); the SIMT layer runs them on `threads` threads.
struct Queue {
  int threads = 1;
  Stream* stream = nullptr;
  /// Of the weights that ops of namespace cpu_bf16 are given; null: they convert a weight for each product.
  ConvertedWeights* converted = nullptr;
};

}  // namespace wandistill
