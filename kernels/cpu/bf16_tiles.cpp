#include "kernels/cpu/bf16_tiles.h"

#include <algorithm>

#include "wandistill/error.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace wandistill::cpu {

#if defined(__x86_64__)
namespace {

// Compiled for these instructions whatever the program is compiled for: bf16_unit() says whether they are
// there.
#define WD_BF16 [[gnu::target("avx512f,avx512bw,avx512vl,avx512bf16")]]
#define WD_AMX [[gnu::target("avx512f,amx-tile,amx-bf16")]]

constexpr int64_t kTileRows = 16, kTile = kTileRows * kStripDepth;

WD_BF16 inline __mmask16 first(int64_t count) {
  return count >= 16 ? __mmask16(0xFFFF) : count <= 0 ? __mmask16(0) : __mmask16((1u << count) - 1);
}

/// 32 values of a row.
WD_BF16 inline __m512i round_row(const float* row, int64_t count) {
  const __m512 low = _mm512_maskz_loadu_ps(first(count), row);
  const __m512 high = _mm512_maskz_loadu_ps(first(count - 16), row + 16);
  return __m512i(_mm512_cvtne2ps_pbh(high, low));
}

/// 16 values of each of two rows, in pairs.
WD_BF16 inline __m512i round_pair(const float* row, const float* next, int64_t count, bool has_next) {
  const __m512 low = _mm512_maskz_loadu_ps(first(count), row);
  const __m512 high = _mm512_maskz_loadu_ps(has_next ? first(count) : __mmask16(0), next);
  const __m512i pairs = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7,
                                         22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(pairs, __m512i(_mm512_cvtne2ps_pbh(high, low)));
}

/// Of 16 x 16 pairs.
WD_BF16 inline void transpose(__m512i* r) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4)
    for (int j = 0; j < 2; ++j) {
      r[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]);
      r[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
    }
  for (int j = 0; j < 4; ++j) {
    const __m512i a = _mm512_shuffle_i32x4(r[j], r[j + 4], 0x88),
                  b = _mm512_shuffle_i32x4(r[j], r[j + 4], 0xDD);
    const __m512i c = _mm512_shuffle_i32x4(r[j + 8], r[j + 12], 0x88),
                  d = _mm512_shuffle_i32x4(r[j + 8], r[j + 12], 0xDD);
    t[j] = _mm512_shuffle_i32x4(a, c, 0x88);
    t[j + 8] = _mm512_shuffle_i32x4(a, c, 0xDD);
    t[j + 4] = _mm512_shuffle_i32x4(b, d, 0x88);
    t[j + 12] = _mm512_shuffle_i32x4(b, d, 0xDD);
  }
  for (int i = 0; i < 16; ++i) r[i] = t[i];
}

/// The tile of 16 of the width from i and 32 of the depth from k. A's tile has a row for each of the width,
/// B's for each pair of the depth.
WD_BF16 void pack_tile(const Bf16Operand& o, int64_t i, int64_t k, bool right, bf16* to) {
  __m512i rows[kTileRows];
  const int64_t width = std::min<int64_t>(kTileRows, o.width - i), depth = o.depth - k;
  for (int64_t r = 0; r < kTileRows; ++r) {
    if (o.depth_is_rows) {
      const float* row = o.from + (k + 2 * r) * o.stride + i;
      rows[r] =
          2 * r < depth ? round_pair(row, row + o.stride, width, 2 * r + 1 < depth) : _mm512_setzero_si512();
    } else {
      rows[r] = r < width ? round_row(o.from + (i + r) * o.stride + k, depth) : _mm512_setzero_si512();
    }
  }
  if (o.depth_is_rows != right) transpose(rows);
  for (int64_t r = 0; r < kTileRows; ++r) _mm512_store_si512(to + r * kStripDepth, rows[r]);
}

void pack(const Bf16Operand& o, int64_t begin, int64_t end, bool right, bf16* to) {
  const int64_t strip = strip_size(o.depth);
  const auto two_tiles = [&](int64_t index, int64_t k) {
    bf16* const at = to + index * strip + k * kStrip;
    pack_tile(o, index * kStrip, k, right, at);
    pack_tile(o, index * kStrip + kTileRows, k, right, at + kTile);
  };
  // Along the rows as they lie in memory: what is read next is near.
  if (o.depth_is_rows) {
    for (int64_t k = 0; k < o.depth; k += kStripDepth)
      for (int64_t index = begin; index < end; ++index) two_tiles(index, k);
  } else {
    for (int64_t index = begin; index < end; ++index)
      for (int64_t k = 0; k < o.depth; k += kStripDepth) two_tiles(index, k);
  }
}

/// Rows of A in tiles 4 and 5, columns of B in 6 and 7, sums in 0 to 3.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

/// Loads stand where they hide behind the products before, and those of A do not push B out of the
/// first-level cache: a third faster than all loads first.
WD_AMX void amx_strips(int64_t depth_tiles, const bf16* a, const bf16* b, float* c, int64_t ldc, bool lower,
                       bool accumulate) {
  const int64_t stride = ldc * int64_t(sizeof(float));
  float* const below = c + kTileRows * ldc;
  if (accumulate) {
    _tile_loadd(0, c, stride);
    _tile_loadd(1, c + kTileRows, stride);
  } else {
    _tile_zero(0);
    _tile_zero(1);
  }
  if (!lower) {
    for (int64_t k = 0; k < depth_tiles; ++k, a += 2 * kTile, b += 2 * kTile) {
      _tile_loadd(6, b, 64);
      _tile_stream_loadd(4, a, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, b + kTile, 64);
      _tile_dpbf16ps(1, 4, 7);
    }
    _tile_stored(0, c, stride);
    _tile_stored(1, c + kTileRows, stride);
    return;
  }
  if (accumulate) {
    _tile_loadd(2, below, stride);
    _tile_loadd(3, below + kTileRows, stride);
  } else {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t k = 0; k < depth_tiles; ++k, a += 2 * kTile, b += 2 * kTile) {
    _tile_loadd(6, b, 64);
    _tile_stream_loadd(4, a, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b + kTile, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_stream_loadd(5, a + kTile, 64);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, c, stride);
  _tile_stored(1, c + kTileRows, stride);
  _tile_stored(2, below, stride);
  _tile_stored(3, below + kTileRows, stride);
}

WD_BF16 void avx512_strips(int64_t depth_tiles, const bf16* a, const bf16* b, float* c, int64_t ldc,
                           bool lower, bool accumulate) {
  for (int64_t at = 0; at < (lower ? 4 : 2); ++at) {
    const bf16* rows = a + at / 2 * kTile;
    const bf16* columns = b + at % 2 * kTile;
    float* sums = c + at / 2 * kTileRows * ldc + at % 2 * kTileRows;
    __m512 sum[kTileRows];
    for (int64_t i = 0; i < kTileRows; ++i)
      sum[i] = accumulate ? _mm512_loadu_ps(sums + i * ldc) : _mm512_setzero_ps();
    for (int64_t k = 0; k < depth_tiles; ++k, rows += 2 * kTile, columns += 2 * kTile)
      for (int64_t pair = 0; pair < kStripDepth / 2; ++pair) {
        const __m512i column = _mm512_load_si512(columns + pair * kStripDepth);
        for (int64_t i = 0; i < kTileRows; ++i) {
          int32_t both;
          __builtin_memcpy(&both, rows + i * kStripDepth + 2 * pair, sizeof both);
          sum[i] = _mm512_dpbf16_ps(sum[i], __m512bh(_mm512_set1_epi32(both)), __m512bh(column));
        }
      }
    for (int64_t i = 0; i < kTileRows; ++i) _mm512_storeu_ps(sums + i * ldc, sum[i]);
  }
}

WD_AMX void load_config() {
  const TileConfig config;
  _tile_loadconfig(&config);
}
WD_AMX void release_config() {
  _tile_release();
}

Bf16Unit find_unit() {
  if (!__builtin_cpu_supports("avx512bf16") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512vl"))
    return Bf16Unit::kNone;
  unsigned a = 0, b = 0, c = 0, d = 0;
  __get_cpuid_count(7, 0, &a, &b, &c, &d);
  constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24;
  // Linux gives a process the tiles' registers when it asks for them.
  constexpr unsigned long kRequest = 0x1023, kTileData = 18;
  const bool amx = (d & kAmxBf16) && (d & kAmxTile) && syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
  return amx ? Bf16Unit::kAmx : Bf16Unit::kAvx512;
}

}  // namespace

Bf16Unit bf16_unit() {
  static const Bf16Unit unit = find_unit();
  return unit;
}

void pack_left(const Bf16Operand& a, int64_t begin, int64_t end, bf16* to) {
  pack(a, begin, end, false, to);
}

void pack_right(const Bf16Operand& b, int64_t begin, int64_t end, bf16* to) {
  pack(b, begin, end, true, to);
}

void multiply_packed(Bf16Unit unit, int64_t m, int64_t n, int64_t depth, const bf16* a, const bf16* b,
                     float* c, int64_t ldc, bool accumulate) {
  // A strip of B stays in the first-level cache while those of A pass by.
  constexpr int64_t kDepthTiles = 16;
  const int64_t strip = strip_size(depth), depth_tiles = strip / (2 * kTile);
  alignas(64) float edge[kStrip * kStrip];
  const auto kernel = unit == Bf16Unit::kAmx ? amx_strips : avx512_strips;
  if (unit == Bf16Unit::kAmx) load_config();
  for (int64_t k = 0; k < depth_tiles; k += kDepthTiles) {
    const int64_t tiles = std::min(kDepthTiles, depth_tiles - k);
    const bool add = accumulate || k > 0;
    for (int64_t j = 0; j < n; j += kStrip)
      for (int64_t i = 0; i < m; i += kStrip) {
        const int64_t rows = std::min(kStrip, m - i), columns = std::min(kStrip, n - j);
        const bf16* left = a + i / kStrip * strip + k * 2 * kTile;
        const bf16* right = b + j / kStrip * strip + k * 2 * kTile;
        float* to = c + i * ldc + j;
        if (columns == kStrip && (rows == kStrip || rows == kTileRows)) {
          kernel(tiles, left, right, to, ldc, rows == kStrip, add);
          continue;
        }
        if (add)
          for (int64_t r = 0; r < rows; ++r) std::copy_n(to + r * ldc, columns, edge + r * kStrip);
        kernel(tiles, left, right, edge, kStrip, rows > kTileRows, add);
        for (int64_t r = 0; r < rows; ++r) std::copy_n(edge + r * kStrip, columns, to + r * ldc);
      }
  }
  if (unit == Bf16Unit::kAmx) release_config();
}

#else

Bf16Unit bf16_unit() {
  return Bf16Unit::kNone;
}
void pack_left(const Bf16Operand&, int64_t, int64_t, bf16*) {
  fail("this CPU has no products of bfloat16");
}
void pack_right(const Bf16Operand&, int64_t, int64_t, bf16*) {
  fail("this CPU has no products of bfloat16");
}
void multiply_packed(Bf16Unit, int64_t, int64_t, int64_t, const bf16*, const bf16*, float*, int64_t, bool) {
  fail("this CPU has no products of bfloat16");
}

#endif

}  // namespace wandistill::cpu
