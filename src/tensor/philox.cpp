#include "wandistill/philox.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "wandistill/error.h"

namespace wandistill {
namespace {

using Block = std::array<uint32_t, 4>;

// Bits of the stream number that keep apart what would otherwise share counters.
constexpr uint64_t kRngStreams = uint64_t{1} << 63;
constexpr uint64_t kPermutationStreams = uint64_t{1} << 62;

Block block_of(uint64_t seed, uint64_t stream, uint64_t index) {
  return philox4x32({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                     static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)},
                    {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
}

/// -log((r + 1/2) / 2^32), to about 1 ulp. The complement is used next to 1, where its bits are the ones that
/// count.
float minus_log_uniform(uint32_t r) {
  constexpr float kScale = 0x1p-32f, kHalf = 0x1p-33f, kSqrtHalf = 0.70710678f;
  const float below_one = std::fma(static_cast<float>(~r), kScale, kHalf);  // 1 - u
  float f = -below_one;
  float exponent = 0;
  if (below_one > 1 - kSqrtHalf) {
    const float u = std::fma(static_cast<float>(r), kScale, kHalf);
    uint32_t bits;
    std::memcpy(&bits, &u, sizeof(bits));
    // u = 2^e * m with m in [sqrt(1/2), sqrt(2)): 0x3f3504f3 are the bits of sqrt(1/2).
    const uint32_t shifted = bits - 0x3f3504f3u;
    const int32_t e = static_cast<int32_t>(shifted) >> 23;
    bits = (shifted & 0x007fffffu) + 0x3f3504f3u;
    float m;
    std::memcpy(&m, &bits, sizeof(m));
    f = m - 1;
    exponent = static_cast<float>(e);
  }
  // log1p(f) = f - f^2/2 + f^3 Q(f), |relative error| < 6e-9 on [sqrt(1/2) - 1, sqrt(2) - 1] (own minimax
  // fit).
  float q = -0.0763442963f;
  q = std::fma(q, f, 0.127615497f);
  q = std::fma(q, f, -0.131601945f);
  q = std::fma(q, f, 0.142017618f);
  q = std::fma(q, f, -0.166233569f);
  q = std::fma(q, f, 0.200012267f);
  q = std::fma(q, f, -0.250008225f);
  q = std::fma(q, f, 0.333333313f);
  const float f2 = f * f;
  const float tail = std::fma(f * f2, q, -0.5f * f2);
  constexpr float kLn2High = 0.693145752f,
                  kLn2Low = 1.42860677e-6f;  // the high part has 16 bits: e * high is exact
  return -std::fma(exponent, kLn2High, f + std::fma(exponent, kLn2Low, tail));
}

/// cos and sin of 2 pi (r + 1/2) / 2^32.
void cos_sin_uniform(uint32_t r, float* cosine, float* sine) {
  const uint32_t quadrant = (r + 0x20000000u) >> 30;  // nearest quarter turn; the sum may wrap, as turns do
  const int32_t rest = static_cast<int32_t>(r - (quadrant << 30));            // [-2^29, 2^29)
  constexpr float kScale = 1.46291808e-9f;                                    // 2 pi / 2^32
  const float t = std::fma(static_cast<float>(rest), kScale, 0.5f * kScale);  // [-pi/4, pi/4]
  const float z = t * t;
  // sin t = t + t^3 S(t^2), cos t = 1 - t^2/2 + t^4 C(t^2), absolute error < 4e-9 (own minimax fits).
  const float s_poly = std::fma(std::fma(-0.000195172979f, z, 0.008332178f), z, -0.166666552f);
  const float s = std::fma(t * z, s_poly, t);
  const float c_poly = std::fma(std::fma(2.44384501e-5f, z, -0.00138873677f), z, 0.0416666456f);
  const float c = std::fma(z * z, c_poly, std::fma(z, -0.5f, 1.0f));
  const bool odd = (quadrant & 1u) != 0;
  const float swapped_c = odd ? s : c, swapped_s = odd ? c : s;
  *cosine = ((quadrant + 1u) & 2u) != 0 ? -swapped_c : swapped_c;  // quadrants 1 and 2
  *sine = (quadrant & 2u) != 0 ? -swapped_s : swapped_s;           // quadrants 2 and 3
}

std::array<float, 4> gaussian_block(uint64_t seed, uint64_t stream, uint64_t index) {
  const Block r = block_of(seed, stream, index);
  std::array<float, 4> z;
  for (int pair = 0; pair < 2; ++pair) {
    const float radius = std::sqrt(2 * minus_log_uniform(r[2 * pair]));
    float c, s;
    cos_sin_uniform(r[2 * pair + 1], &c, &s);
    z[2 * pair] = radius * c;
    z[2 * pair + 1] = radius * s;
  }
  return z;
}

std::array<float, 4> uniform_block(uint64_t seed, uint64_t stream, uint64_t index) {
  const Block r = block_of(seed, stream, index);
  std::array<float, 4> u;
  // Odd multiples of 2^-24, which float32 holds exactly.
  for (int lane = 0; lane < 4; ++lane) {
    u[lane] = std::fma(static_cast<float>(r[lane] >> 9), 0x1p-23f, 0x1p-24f);
  }
  return u;
}

/// Element e is lane e % 4 of block e / 4.
template <class BlockFunction>
void fill(uint64_t seed, uint64_t stream, int64_t first, int64_t count, float* out,
          BlockFunction&& function) {
  WD_REQUIRE(first >= 0 && count >= 0 && stream < kRngStreams);
  int64_t i = 0;
  while (i < count) {
    const auto block = function(seed, stream, static_cast<uint64_t>(first + i) / 4);
    const int64_t lane = (first + i) % 4, take = std::min<int64_t>(4 - lane, count - i);
    for (int64_t k = 0; k < take; ++k) out[i + k] = block[lane + k];
    i += take;
  }
}

}  // namespace

Block philox4x32(Block counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * counter[0], b = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

void fill_gaussian(uint64_t seed, uint64_t stream, int64_t first_element, int64_t count, float* out) {
  fill(seed, stream, first_element, count, out, gaussian_block);
}

void fill_uniform(uint64_t seed, uint64_t stream, int64_t first_element, int64_t count, float* out) {
  fill(seed, stream, first_element, count, out, uniform_block);
}

uint64_t Rng::next() {
  const Block r = block_of(seed_, stream_ | kRngStreams, position_++);
  return uint64_t{r[0]} | uint64_t{r[1]} << 32;
}

double Rng::uniform() {
  return (static_cast<double>(next() >> 12) + 0.5) * 0x1p-52;
}

int64_t Rng::below(int64_t n) {
  WD_REQUIRE(n >= 1);
  const uint64_t bound = static_cast<uint64_t>(n);
  const uint64_t rejected = (0 - bound) % bound;  // 2^64 mod n: what remains divides evenly
  uint64_t value;
  do {
    value = next();
  } while (value < rejected);
  return static_cast<int64_t>(value % bound);
}

std::vector<int64_t> permutation(uint64_t seed, uint64_t epoch, int64_t n) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  Rng rng(seed, epoch | kPermutationStreams);
  for (int64_t i = n - 1; i > 0; --i) std::swap(order[i], order[rng.below(i + 1)]);  // Fisher-Yates
  return order;
}

}  // namespace wandistill
