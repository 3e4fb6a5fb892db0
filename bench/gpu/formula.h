// Inputs that another program makes to the same bits (bench/gpu_peers.py): no library's random numbers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "wandistill/hash.h"

namespace wandistill::bench {

/// Number i of the sequence `seed`, about uniform in [-1, 1), a multiple of 2^-23 (the finaliser of
/// MurmurHash3, Appleby 2011).
inline double formula_number(uint32_t seed, int64_t i) {
  uint32_t h = static_cast<uint32_t>(i) + seed * 0x9E3779B9u;
  h = (h ^ h >> 16) * 0x85EBCA6Bu;
  h = (h ^ h >> 13) * 0xC2B2AE35u;
  h ^= h >> 16;
  return (static_cast<double>(h >> 8) - 0x1p23) * 0x1p-23;
}

/// A model's parameter by its name in the state dict: weights with a variance of 1 / (inputs), norms' around
/// 1, all else small.
void fill_parameter(const std::string& name, const std::vector<int64_t>& shape, float* out);

}  // namespace wandistill::bench
