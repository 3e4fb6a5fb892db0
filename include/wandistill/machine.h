// What a job runs on, as far as its plan depends on it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace wandistill {

/// A GPU as its maker describes it.
struct Card {
  const char* name;       // as --card takes it
  const char* in_device;  // part of what the driver calls it
  double memory;          // bytes
  double bf16, float32;   // FLOP/s of matrix products at best: dense, with float32 sums; float32 without TF32
  double link;            // bytes/s from the host
};
const std::vector<Card>& cards();

/// The part of a card's best rate that a plan counts on: an assumption until measured there.
inline constexpr double kAchieved = 0.4;
/// FLOP/s in float32 of one core with AVX-512: about what the demo's training rate in README.md comes to (its
/// trajectories come to 98e9). Another CPU or other sizes will differ.
inline constexpr double kCoreFlops = 65e9;

struct Machine {
  std::string card = "cpu";
  int64_t gpu_bytes = 0;         // of a rank's GPU; 0: ranks compute on the CPU
  int64_t host_bytes = 0;        // of a node; 0: not known
  double bf16 = 0, float32 = 0;  // FLOP/s that a rank achieves
  double cpu = 0;                // those of its threads, in float32
  double link = 0;               // bytes/s from the host to a GPU
  int64_t world_size = 1, ranks_per_node = 1;
  int threads = 1;  // of a rank

  bool on_gpu() const { return gpu_bytes > 0; }

  /// A rank on this card ("cpu": on its threads alone), at kAchieved of its best rates. Error naming the
  /// cards if there is no such.
  static Machine of(const std::string& card, int threads);
};

}  // namespace wandistill
