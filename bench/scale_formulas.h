// How long all-reduces, steps and rounds of pictures take on many ranks, by formula; times in seconds.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace wandistill::bench {

/// A message of x bytes takes latency + x * per_byte (Hockney's alpha and beta).
struct Link {
  double latency, per_byte;
};

enum class Algorithm { kRing, kTree };

/// All-reduce over ranks that each have one link both ways at once. Ring: reduce-scatter and all-gather in 2
/// (n - 1) messages. Tree: recursive halving and doubling, 2 log2 n messages of as many bytes in all. Thakur,
/// Rabenseifner, Gropp 2005, https://doi.org/10.1177/1094342005051521; adding up is part of per_byte.
inline double all_reduce_seconds(Algorithm algorithm, int64_t ranks, double bytes, const Link& link) {
  if (ranks <= 1) return 0;
  const double n = double(ranks);
  const double messages = algorithm == Algorithm::kRing ? 2 * (n - 1) : 2 * std::ceil(std::log2(n));
  return messages * link.latency + 2 * (n - 1) / n * bytes * link.per_byte;
}

struct Fabric {
  Algorithm algorithm;
  int64_t ranks_per_node;
  Link intra, inter;  // of one rank within a node; of one rank to other nodes, all ranks of a node sending
};

/// Within the nodes first, then each rank of a node its part of the sum with its like in the other nodes, at
/// the same time, and back: as NCCL does it. The last node may have fewer ranks, and is taken as full.
inline double all_reduce_seconds(const Fabric& fabric, int64_t ranks, double bytes) {
  const int64_t local = std::min(ranks, fabric.ranks_per_node);
  const int64_t nodes = (ranks + fabric.ranks_per_node - 1) / fabric.ranks_per_node;
  return all_reduce_seconds(fabric.algorithm, local, bytes, fabric.intra) +
         all_reduce_seconds(fabric.algorithm, nodes, bytes / double(local), fabric.inter);
}

/// Of one rank, alone, on its share of the batch.
struct StepParts {
  double forward, backward, optimizer;
};

/// Gradients that are summed together once `ready` of the backward pass (0 to 1) is done.
struct Bucket {
  double bytes, ready;
};

struct StepTime {
  double seconds, exposed;  // of `seconds`: what the all-reduces add to a rank's own work
};

/// A step whose buckets are summed one after the other, each from when it is complete. hidden: the part of an
/// all-reduce that leaves the backward pass undisturbed (1: a GPU's copy engines; 0: the cores that compute
/// also send and add, and all of it is added to the step).
inline StepTime step_time(const StepParts& parts, const std::vector<Bucket>& buckets, const Fabric& fabric,
                          int64_t ranks, double hidden) {
  double disturbed = 0;
  for (const Bucket& bucket : buckets)
    disturbed += (1 - hidden) * all_reduce_seconds(fabric, ranks, bucket.bytes);
  const double end_of_backward = parts.forward + parts.backward;
  double free = 0;  // when the link is
  for (const Bucket& bucket : buckets)
    free = std::max(free, parts.forward + bucket.ready * parts.backward) +
           hidden * all_reduce_seconds(fabric, ranks, bucket.bytes);
  const double seconds = std::max(free, end_of_backward) + disturbed + parts.optimizer;
  return {seconds, seconds - end_of_backward - parts.optimizer};
}

struct RoundTime {
  double seconds, efficiency;  // of the ranks' time, the share in which they draw
};

/// n pictures dealt over the ranks, each drawn by one, and the fence at the end.
inline RoundTime round_time(int64_t pictures, int64_t ranks, double picture_seconds, const Link& link) {
  const double turns = std::ceil(double(pictures) / double(ranks));
  const double fence = ranks > 1 ? std::ceil(std::log2(double(ranks))) * link.latency : 0;
  const double seconds = turns * picture_seconds + fence;
  return {seconds, double(pictures) * picture_seconds / (double(ranks) * seconds)};
}

/// Measured: an all-reduce of so many bytes.
struct Measured {
  double bytes, seconds;
};

/// The link between two ranks whose all-reduces (2 latency + bytes * per_byte) are nearest to these in
/// relative squares, latency not below 0. Needs two sizes.
inline Link fit_link(const std::vector<Measured>& all) {
  double s00 = 0, s01 = 0, s11 = 0, t0 = 0, t1 = 0;
  for (const Measured& m : all) {
    const double u = 1 / m.seconds, v = m.bytes / m.seconds;
    s00 += u * u;
    s01 += u * v;
    s11 += v * v;
    t0 += u;
    t1 += v;
  }
  const double determinant = s00 * s11 - s01 * s01;
  const double constant = (t0 * s11 - t1 * s01) / determinant;
  if (constant < 0) return {0, t1 / s11};
  return {constant / 2, (s00 * t1 - s01 * t0) / determinant};
}

}  // namespace wandistill::bench
