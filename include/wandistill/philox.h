// Counter-based random numbers: what comes out depends on (seed, stream, element) alone.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace wandistill {

/// Philox 4x32 with 10 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

/// out[i] = the standard normal number of element first_element + i, i in [0, count). Keyed by (seed, stream,
/// element), so any slicing into calls gives the same numbers. Box-Muller on 32-bit uniforms in float32,
/// built from
/// + - * / sqrt and explicit fma only, so that every IEEE device gives the same bits. Each number is within
/// 4e-7 (relative to max(1, |z|)) of the exact transform; |z| reaches 6.76. Streams are below 2^63 (Rng has
/// the others).
void fill_gaussian(uint64_t seed, uint64_t stream, int64_t first_element, int64_t count, float* out);

/// As fill_gaussian: uniform numbers, odd multiples of 2^-24, so strictly inside (0, 1).
void fill_uniform(uint64_t seed, uint64_t stream, int64_t first_element, int64_t count, float* out);

/// A sequence of random integers for shuffles and draws. Its whole state is (seed, stream, position): store
/// these three to continue later. Independent of the fill_ functions under the same seed.
class Rng {
 public:
  explicit Rng(uint64_t seed, uint64_t stream = 0, uint64_t position = 0)
      : seed_(seed), stream_(stream), position_(position) {}
  uint64_t seed() const { return seed_; }
  uint64_t stream() const { return stream_; }
  uint64_t position() const { return position_; }

  uint64_t next();
  /// In (0, 1), odd multiples of 2^-53.
  double uniform();
  /// In [0, n), without bias; n >= 1.
  int64_t below(int64_t n);

 private:
  uint64_t seed_, stream_, position_;
};

/// The shuffled order of n items in this epoch: a permutation of 0..n-1, the same on every rank.
std::vector<int64_t> permutation(uint64_t seed, uint64_t epoch, int64_t n);

}  // namespace wandistill
