// Where an op runs: the last argument of every op.
#pragma once

namespace wandistill {

/// The execution resources an op may use. On the CPU that is a number of threads; results never depend on it,
/// because work is cut into blocks fixed by the shapes alone.
struct Queue {
  int threads = 1;
};

}  // namespace wandistill
