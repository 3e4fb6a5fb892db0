#include "wandistill/machine.h"

#include "wandistill/error.h"

namespace wandistill {

// Memory as CUDA reports it (cudaMemGetInfo); rates from NVIDIA's data sheets (SXM where there are several);
// links at about what PCIe 4 and 5 with 16 lanes carry.
const std::vector<Card>& cards() {
  static const std::vector<Card> all = {
      {"h200", "H200", 150.1e9, 989e12, 67e12, 50e9},     {"h100", "H100", 84.9e9, 989e12, 67e12, 50e9},
      {"a100", "A100", 85.0e9, 312e12, 19.5e12, 25e9},    {"l40s", "L40S", 47.7e9, 362e12, 91.6e12, 25e9},
      {"rtx4090", "4090", 25.4e9, 165e12, 82.6e12, 25e9},
  };
  return all;
}

Machine Machine::of(const std::string& name, int threads) {
  Machine machine;
  machine.card = name;
  machine.threads = threads;
  machine.cpu = kCoreFlops * threads;
  if (name == "cpu") {
    machine.bf16 = machine.float32 = machine.cpu;
    return machine;
  }
  std::string names = "cpu";
  for (const Card& card : cards()) {
    names += cat(", ", card.name);
    if (name != card.name) continue;
    machine.gpu_bytes = int64_t(card.memory);
    machine.bf16 = kAchieved * card.bf16;
    machine.float32 = kAchieved * card.float32;
    machine.link = card.link;
    return machine;
  }
  fail("unknown card '", name, "'; known are ", names, ", others by --gpu_memory and --matmul_tflops");
}

}  // namespace wandistill
