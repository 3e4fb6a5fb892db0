#include "src/doctor/sums.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <limits>

#include "src/doctor/fact_checks.h"
#include "wandistill/buffer.h"
#include "wandistill/error.h"
#include "wandistill/fault.h"

namespace wandistill {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Small integers, whose sums over up to 15,000 ranks are exact in float32 in any order. Primes, so that a
// shifted or swapped part shows.
constexpr int64_t kElementPeriod = 1021, kRankPeriod = 61;

void fill(int rank, float* values, int64_t count) {
  for (int64_t i = 0; i < count; ++i) values[i] = float(i % kElementPeriod + rank % kRankPeriod);
}

/// "" or what is wrong.
std::string differences(int world_size, const float* values, int64_t count) {
  int64_t ranks = 0, wrong = 0, first = 0;
  for (int rank = 0; rank < world_size; ++rank) ranks += rank % kRankPeriod;
  const auto exact = [&](int64_t i) { return float(world_size * (i % kElementPeriod) + ranks); };
  for (int64_t i = count - 1; i >= 0; --i) {
    if (values[i] == exact(i)) continue;
    ++wrong;
    first = i;
  }
  if (wrong == 0) return "";
  return cat(wrong, " of ", count, " values are wrong, the first is number ", first, ": ", values[first],
             " instead of ", exact(first));
}

std::string rate_line(const SumRate& rate, int world_size) {
  char text[100];
  const bool small = rate.seconds < 1e-3;
  std::snprintf(text, sizeof text, "%s in %.*f %s: %.2f GB/s, bus %.2f GB/s", rate.size.label, small ? 0 : 2,
                rate.seconds * (small ? 1e6 : 1e3), small ? "us" : "ms", rate.algorithm() / 1e9,
                rate.bus(world_size) / 1e9);
  return text;
}

}  // namespace

TimedSum mpi_sum(const Session& session) {
  return [&session](float* values, int64_t count) {
    session.barrier();
    const Clock::time_point start = Clock::now();
    MPI_Request request;
    WD_MPI(MPI_Iallreduce(MPI_IN_PLACE, values, static_cast<int>(count), MPI_FLOAT, MPI_SUM, session.comm(),
                          &request));
    // Session::wait sleeps between looks, which would be measured too; it has the time-out.
    constexpr double kBusySeconds = 1;
    int done = 0;
    while (!done && seconds_since(start) < kBusySeconds) {
      WD_MPI(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
      sched_yield();
    }
    session.wait(&request, "an all-reduce that is checked");
    return seconds_since(start);
  };
}

TimedSum device_sum(const Session& session, const Compute& compute) {
  return [&session, &compute](float* values, int64_t count) {
    Stream& stream = *compute.stream;
    DeviceBuffer<float> buffer(stream, count);
    stream.upload(buffer.data(), values, count * int64_t(sizeof(float)));
    stream.synchronize();
    const std::unique_ptr<Event> done = compute.device->make_event();
    session.barrier();
    const Clock::time_point start = Clock::now();
    compute.collectives->all_reduce_sum(buffer.data(), count, stream);
    stream.record(*done);
    compute.collectives->wait(*done, "an all-reduce that is checked");
    const double seconds = seconds_since(start);
    stream.download(values, buffer.data(), count * int64_t(sizeof(float)));
    return seconds;
  };
}

SumsOutcome check_sums(const Session& session, const std::string& name, const TimedSum& sum,
                       const std::vector<SumSize>& sizes) {
  const int W = session.world_size();
  std::vector<SumRate> rates;
  std::string own, lines;
  for (const SumSize& size : sizes) {
    session.board().post(cat(name, ", ", size.label), true);
    const int64_t count = size.bytes / int64_t(sizeof(float));
    Buffer<float> values(count);
    SumRate rate{size, std::numeric_limits<double>::infinity()};
    for (int64_t i = 0; i < size.repetitions; ++i) {
      fill(session.rank(), values.data(), count);
      rate.seconds = std::min(rate.seconds, session.max(sum(values.data(), count)));
      if (fault_strikes("sum", size.bytes)) ++values.data()[count / 2];
      const std::string wrong = differences(W, values.data(), count);
      if (own.empty() && !wrong.empty()) own = cat("a sum over ", size.label, ": ", wrong);
    }
    rates.push_back(rate);
    lines += (lines.empty() ? "" : "\n") + rate_line(rate, W);
  }
  const Lines problems = by_rank(session.gather(own), session.gather(session.host()));
  if (problems.empty()) return {{name, CheckResult::kGood, lines, ""}, rates};
  return {{name, CheckResult::kBad, problems.text(),
           "leave out the host that is named and look at its memory and network adapter; another transport "
           "(OMPI_MCA_btl, NCCL_P2P_DISABLE=1, NCCL_IB_DISABLE=1) tells which part it is"},
          rates};
}

}  // namespace wandistill
