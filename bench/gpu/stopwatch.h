// Time as a stream's device sees it.
#pragma once

#include <memory>

#include "wandistill/compute.h"

namespace wandistill::bench {

/// Between two points of a stream's work. By events on a GPU; on the SIMT device, where nothing goes on by
/// itself, by the host's clock.
class Stopwatch {
 public:
  virtual ~Stopwatch() = default;
  virtual void start() = 0;
  virtual void stop() = 0;
  /// Waits for the work.
  virtual double seconds() = 0;
};

std::unique_ptr<Stopwatch> make_stopwatch(const Compute& compute);

}  // namespace wandistill::bench
