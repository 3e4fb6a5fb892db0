// All-reduces whose result is known.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "src/plan/checks.h"
#include "wandistill/compute.h"
#include "wandistill/session.h"

namespace wandistill {

/// values [count] become their sums over the ranks; the seconds that this rank took. All ranks begin
/// together.
using TimedSum = std::function<double(float* values, int64_t count)>;

/// MPI's non-blocking one, which adds up gradients on the CPU.
TimedSum mpi_sum(const Session& session);
/// The device's (NCCL, or its stand-in on the SIMT device), from and to its memory; the copies between host
/// and device are not timed.
TimedSum device_sum(const Session& session, const Compute& compute);

struct SumSize {
  const char* label;
  int64_t bytes;
  int64_t repetitions;
};
inline constexpr SumSize kSmallSum{"4 KiB", int64_t{4} << 10, 1};
inline constexpr SumSize kSumSizes[] = {
    {"4 KiB", int64_t{4} << 10, 20}, {"1 MiB", int64_t{1} << 20, 10}, {"64 MiB", int64_t{64} << 20, 3}};

struct SumRate {
  SumSize size;
  double seconds;  // of the slowest rank, in the fastest repetition
  /// Bytes of a rank's values per second; and those that a link carries in a ring, which does not depend on
  /// the number of ranks: 2 (W - 1) / W of them.
  double algorithm() const { return double(size.bytes) / seconds; }
  double bus(int world_size) const { return algorithm() * 2 * (world_size - 1) / world_size; }
};

struct SumsOutcome {
  Check check;
  std::vector<SumRate> rates;
};

/// Every repetition of every size is compared with the exact sum, on every rank; ranks with another one are
/// named. Takes as much memory as the largest size; MPI or the device may take as much again. Collective.
SumsOutcome check_sums(const Session& session, const std::string& name, const TimedSum& sum,
                       const std::vector<SumSize>& sizes);

}  // namespace wandistill
