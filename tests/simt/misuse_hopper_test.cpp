// Kernels that break the rules of Hopper's units, on the SIMT layer alone: each is refused, with the place,
// or finds NaN.
#include <doctest/doctest.h>

#include "kernels/cuda/swizzled_tile.h"
#include "tests/simt/refused.h"

namespace wandistill::simt {
namespace {

using simt_test::DeviceSession;
using simt_test::kSimtCases;
using simt_test::refused;
using simt_test::said_by;

#ifdef __SANITIZE_THREAD__
constexpr bool kRaceChecker = true;
#else
constexpr bool kRaceChecker = false;
#endif

std::string at(int line) {
  return "tests/simt/misuse_hopper_test.cpp:" + std::to_string(line);
}

constexpr int kNoInit = __LINE__ + 3;
__global__ void no_init() {
  WD_SHARED(uint64_t, barrier, [1]);
  mbarrier_arrive(barrier);
}
TEST_CASE("Hopper: an mbarrier that was not initialised") {
  refused({"an mbarrier that was not initialised", at(kNoInit)}, 1, no_init);
}

constexpr int kOverwritten = __LINE__ + 5;
__global__ void overwritten() {
  WD_SHARED(uint64_t, barrier, [1]);
  mbarrier_init(barrier, 2);
  barrier[0] = 0;
  mbarrier_arrive(barrier);
}
TEST_CASE("Hopper: an mbarrier that was overwritten") {
  refused({"an mbarrier was overwritten", at(kOverwritten)}, 1, overwritten);
}

constexpr int kNoArrival = __LINE__ + 5;
__global__ void no_arrival() {
  WD_SHARED(uint64_t, barrier, [1]);
  if (threadIdx.x == 0) mbarrier_init(barrier, 1);
  __syncthreads();
  mbarrier_wait(barrier, 0);
}
TEST_CASE("Hopper: nobody arrives at an mbarrier") {
  refused({"deadlock", "threads 0 to 63 wait for an mbarrier", at(kNoArrival)}, 64, no_arrival);
}

constexpr int kTwoCounts = __LINE__ + 2;
__global__ void two_counts() {
  barrier_sync(1, threadIdx.x < 32 ? 64 : 96);
}
TEST_CASE("Hopper: a named barrier for two numbers of threads") {
  refused({"two numbers of threads", at(kTwoCounts)}, 64, two_counts);
}

constexpr int kLoneNamed = __LINE__ + 2;
__global__ void lone_named() {
  if (threadIdx.x < 32) barrier_sync(3, 64);
}
TEST_CASE("Hopper: a named barrier that too few come to") {
  refused({"deadlock", "wait at a named barrier", at(kLoneNamed)}, 64, lone_named);
}

// ---- Bulk copies: of a [8, 64] box
enum class CopyFault { kNone, kReadEarly, kNoBytes, kNoArrival, kNoInitFence, kMisaligned, kNeverAwaited };

__global__ void copy_a_box(CopyFault fault, TensorMap map, float* out) {
  WD_DYNAMIC_SHARED(bf16, tile);
  WD_SHARED(uint64_t, barrier, [1]);
  if (threadIdx.x == 0) {
    mbarrier_init(barrier, 1);
    if (fault != CopyFault::kNoInitFence) mbarrier_init_fence();
    if (fault == CopyFault::kNoBytes)
      mbarrier_arrive(barrier);
    else if (fault != CopyFault::kNoArrival)
      mbarrier_arrive_expect(barrier, 1024);
    tma_load(tile + (fault == CopyFault::kMisaligned ? 64 : 0), map, barrier, 0, 0);
  }
  __syncthreads();
  if (fault == CopyFault::kNeverAwaited) return;
  if (fault != CopyFault::kReadEarly) mbarrier_wait(barrier, 0);
  if (threadIdx.x == 0) out[0] = widen(tile[0]);
  if (fault == CopyFault::kReadEarly) mbarrier_wait(barrier, 0);
  if (fault == CopyFault::kNoBytes) mbarrier_wait(barrier, 1);
}

float copied(CopyFault fault, bool early) {
  DeviceSession session(make_simt_device({SimtOrder::kForward, 1, early}));
  const auto tensor = session.upload(std::vector<bf16>(512, to_bf16(3)));
  auto out = session.buffer<float>(1);
  launch(session.queue, 1, 32, 16384, copy_a_box, fault,
         make_tensor_map(tensor.data(), {{64, 1, 64}, {8, 64, 8}}), out.data());
  return session.download(out)[0];
}
TEST_CASE("Hopper: a bulk copy lands behind its barrier's wait, or at once; before there is NaN") {
  CHECK(copied(CopyFault::kNone, false) == 3);
  CHECK(copied(CopyFault::kNone, true) == 3);
  if (kRaceChecker) return;  // who reads early makes a race
  CHECK(std::isnan(copied(CopyFault::kReadEarly, false)));
  CHECK(copied(CopyFault::kReadEarly, true) == 3);
}
void copy_refused(const std::vector<std::string>& texts, CopyFault fault) {
  const std::vector<bf16> tensor(512, to_bf16(3));
  refused(texts, 32, copy_a_box, fault, make_tensor_map(tensor.data(), {{64, 1, 64}, {8, 64, 8}}), nullptr);
}
TEST_CASE("Hopper: bulk copies that are not announced, not awaited, or go nowhere") {
  copy_refused({"deadlock", "wait for an mbarrier"}, CopyFault::kNoArrival);
  copy_refused({"no mbarrier_init_fence()"}, CopyFault::kNoInitFence);
  copy_refused({"not aligned to 1024 bytes"}, CopyFault::kMisaligned);
  DeviceSession session(make_simt_device({}));
  const std::vector<bf16> tensor(512, to_bf16(3));
  launch(session.queue, 1, 32, 16384, copy_a_box, CopyFault::kNeverAwaited,
         make_tensor_map(tensor.data(), {{64, 1, 64}, {8, 64, 8}}), nullptr);
  CHECK(said_by(session).find("ends with a tma_load in flight") != std::string::npos);
}
TEST_CASE("Hopper: a phase whose bytes are not expected ends too early") {
  if (kRaceChecker) return;  // as here
  DeviceSession session(make_simt_device({}));
  const auto tensor = session.upload(std::vector<bf16>(512, to_bf16(3)));
  auto out = session.buffer<float>(1);
  // The wait for the second phase never ends: the bytes count as less than none there.
  launch(session.queue, 1, 32, 16384, copy_a_box, CopyFault::kNoBytes,
         make_tensor_map(tensor.data(), {{64, 1, 64}, {8, 64, 8}}), out.data());
  CHECK(said_by(session).find("deadlock") != std::string::npos);
}
TEST_CASE("Hopper: tensor maps that no GPU takes") {
  alignas(16) bf16 tensor[64] = {};
  CHECK_THROWS_AS(make_tensor_map(tensor + 1, {{64, 1, 64}, {8, 64, 8}}), Error);
  CHECK_THROWS_AS(make_tensor_map(tensor, {{64, 1, 128}, {8, 64, 8}}), Error);
  CHECK_THROWS_AS(make_tensor_map(tensor, {{64, 1, 64}, {8, 60, 8}}), Error);
  CHECK_THROWS_AS(make_tensor_map(tensor, {{64, 1, 64}, {8, 64, 257}}), Error);
  CHECK_THROWS_AS(make_tensor_map(tensor, {{64, 1, 64}, {0, 64, 8}}), Error);
}

// ---- Products: 64 x 64 x 16, of ones: 16
enum class ProductFault {
  kNone,
  kReadEarly,
  kNoFence,
  kNoProxyFence,
  kNotNamed,
  kOneWarpLess,
  kOtherSwizzle,
  kOutside,
  kNamedEarly
};

__global__ void product_of_ones(ProductFault fault, float* out) {
  WD_DYNAMIC_SHARED(bf16, tile);
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = thread; i < 64 * 64; i += 128) tile[i] = narrow<bf16>(1);
  if (fault != ProductFault::kNoProxyFence) fence_proxy_async();
  __syncthreads();
  uint64_t matrix = matrix_descriptor<64>(tile);
  if (fault == ProductFault::kOtherSwizzle) matrix ^= uint64_t{3} << 62;
  if (fault == ProductFault::kOutside) matrix += 1024;
  float sums[8][4] = {};
  if (fault == ProductFault::kOneWarpLess && thread >= 96) return;
  if (fault != ProductFault::kNoFence) wgmma_fence(sums);
  wgmma<Major::kK, Major::kK>(sums, matrix, matrix, fault != ProductFault::kNoFence);
  wgmma_commit();
  if (fault == ProductFault::kNotNamed) return wgmma_wait<0>();
  if (fault == ProductFault::kNamedEarly) wgmma_wait<1>(sums);
  if (fault == ProductFault::kReadEarly) out[thread] = sums[0][0];
  wgmma_wait<0>(sums);
  if (fault != ProductFault::kReadEarly) out[thread] = sums[7][3];
}

TEST_CASE("Hopper: a product's registers hold NaN before the wait, or where a fence is missing") {
  for (const auto& c : kSimtCases)
    for (const auto fault : {ProductFault::kNone, ProductFault::kReadEarly, ProductFault::kNoFence,
                             ProductFault::kNoProxyFence}) {
      CAPTURE(c.name);
      CAPTURE(static_cast<int>(fault));
      DeviceSession session(make_simt_device(c.options), c.threads);
      auto out = session.buffer<float>(128);
      launch(session.queue, 1, 128, 16384, product_of_ones, fault, out.data());
      for (const float found : session.download(out)) {
        if (fault == ProductFault::kNone)
          CHECK(found == 16);
        else
          CHECK(std::isnan(found));
      }
    }
}
TEST_CASE("Hopper: products that break a rule") {
  refused({"before a wgmma_wait() that names all registers"}, 128, product_of_ones, ProductFault::kNotNamed,
          nullptr);
  refused({"a product that it does not wait for"}, 128, product_of_ones, ProductFault::kNamedEarly, nullptr);
  refused({"another swizzle mode"}, 128, product_of_ones, ProductFault::kOtherSwizzle, nullptr);
  refused({"not in dynamic shared memory"}, 128, product_of_ones, ProductFault::kOutside, nullptr);
  refused({"all 128 threads of a warpgroup"}, 96, product_of_ones, ProductFault::kNone, nullptr);
  DeviceSession session(make_simt_device({}));
  auto out = session.buffer<float>(128);
  launch(session.queue, 1, 128, 16384, product_of_ones, ProductFault::kOneWarpLess, out.data());
  CHECK(said_by(session).find("has not issued all the wgmma") != std::string::npos);
}

}  // namespace
}  // namespace wandistill::simt
