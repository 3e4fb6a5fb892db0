// Kernels that break the rules, on the SIMT layer alone: each is refused, with the place.
#include <doctest/doctest.h>

#include <string>

#include "kernels/simt/device.h"
#include "tests/simt/refused.h"

namespace wandistill::simt {
namespace {

using simt_test::DeviceSession;
using simt_test::kSimtCases;
using simt_test::refused;

std::string at(int line) {
  return "tests/simt/misuse_test.cpp:" + std::to_string(line);
}

constexpr int kDivergentBarrier = __LINE__ + 3;
__global__ void divergent_barrier() {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
}
TEST_CASE("threads of a block at two barriers") {
  refused({"different __syncthreads()", at(kDivergentBarrier), at(kDivergentBarrier + 2), "block ("}, 64,
          divergent_barrier);
}

constexpr int kLoneBarrier = __LINE__ + 3;
__global__ void barrier_and_collective() {
  if (threadIdx.x == 0)
    __syncthreads();
  else
    __syncwarp();
}
TEST_CASE("deadlock between a barrier and a warp") {
  refused({"deadlock", at(kLoneBarrier), at(kLoneBarrier + 2), "threads 0 to 0 wait at __syncthreads()",
           "threads 1 to 31 wait at a warp-wide"},
          32, barrier_and_collective);
}

__global__ void returned_threads_do_not_count(int* out) {
  if (threadIdx.x >= 40) return;
  __syncthreads();
  out[threadIdx.x] = 1;
}
TEST_CASE("barriers do not wait for threads that have returned, as on the hardware") {
  for (const auto& c : kSimtCases) {
    DeviceSession session(make_simt_device(c.options), c.threads);
    auto out = session.buffer<int>(40);
    launch(session.queue, 1, 64, 0, returned_threads_do_not_count, out.data());
    CHECK(session.download(out) == std::vector<int>(40, 1));
  }
}

constexpr int kTwoShuffles = __LINE__ + 3;
__global__ void two_shuffles() {
  if (threadIdx.x < 16)
    (void)__shfl_xor_sync(~0u, 1, 1);
  else
    (void)__shfl_xor_sync(~0u, 1, 2);
}
TEST_CASE("lanes at different operations") {
  refused({"lanes of one warp at different operations", at(kTwoShuffles), at(kTwoShuffles + 2)}, 32,
          two_shuffles);
}

constexpr int kWrongMask = __LINE__ + 2;
__global__ void wrong_mask() {
  __syncwarp(0xFFFF);
}
TEST_CASE("a lane that its mask does not name") {
  refused({"a mask that does not name it", at(kWrongMask)}, 32, wrong_mask);
}

constexpr int kShuffleOutside = __LINE__ + 2;
__global__ void shuffle_outside() {
  if (threadIdx.x < 8) (void)__shfl_sync(0xFFu, 1, 9);
}
TEST_CASE("a shuffle from a lane that takes no part") {
  refused({"reads lane 9, which does not take part", at(kShuffleOutside)}, 32, shuffle_outside);
}

constexpr int kMissingLane = __LINE__ + 4;
__global__ void missing_lane() {
  if (threadIdx.x == 31) return;
  float c[4] = {};
  mma_m16n8k16<bf16>(c, {0, 0, 0, 0}, 0, 0);
}
TEST_CASE("tensor cores need the whole warp") {
  refused({"warp", at(kMissingLane)}, 32, missing_lane);
}

constexpr int kMisalignedRow = __LINE__ + 4;
__global__ void misaligned_row() {
  WD_SHARED(bf16, tile, [32][9]);
  uint32_t registers[4];
  ldmatrix_x4(registers, tile[threadIdx.x]);
}
TEST_CASE("ldmatrix from a row that is not aligned") {
  refused({"ldmatrix: a row does not start", at(kMisalignedRow)}, 32, misaligned_row);
}

constexpr int kMisalignedCopy = __LINE__ + 3;
__global__ void misaligned_copy(const float* from) {
  WD_DYNAMIC_SHARED(float, tile);
  cp_async16(tile + 1, from, true);
  cp_async_wait<0>();
}
TEST_CASE("cp.async to an address that is not aligned") {
  refused({"cp.async: an address", at(kMisalignedCopy)}, 1, misaligned_copy, nullptr);
}

__global__ void copy_in_flight() {
  WD_DYNAMIC_SHARED(float, tile);
  cp_async16(tile, nullptr, false);
  cp_async_commit();
}
TEST_CASE("cp.async in flight at the end") {
  refused({"returns with cp.async in flight"}, 1, copy_in_flight);
}

__global__ void much_shared() {
  WD_SHARED(char, array, [228 * 1024]);
  array[0] = 0;
}
TEST_CASE("more shared memory than a GPU has") {
  refused({"bytes of shared memory; a block has at most 232448"}, 1, much_shared);
}

__global__ void read_before_wait(const float* from, float* out) {
  WD_DYNAMIC_SHARED(float, tile);
  tile[threadIdx.x] = 1;
  __syncthreads();
  if (threadIdx.x == 0) cp_async16(tile, from, true);
  cp_async_commit();
  if (threadIdx.x == 0) out[0] = tile[0];
  cp_async_wait<0>();
  if (threadIdx.x == 0) out[1] = tile[0];
}
TEST_CASE("cp.async lands at its wait, or at once; before it there is NaN") {
  for (const bool early : {false, true}) {
    DeviceSession session(make_simt_device({SimtOrder::kForward, 1, early}));
    const auto from = session.upload(std::vector<float>{3, 4, 5, 6});
    auto out = session.buffer<float>(2);
    launch(session.queue, 1, 32, 128, read_before_wait, from.data(), out.data());
    const auto found = session.download(out);
    CHECK(std::isnan(found[0]) == !early);
    CHECK(found[1] == 3);
  }
}

__global__ void wait_for_the_first(const float* from, float* out) {
  WD_DYNAMIC_SHARED(float, tile);
  cp_async16(tile, from, true);
  cp_async_commit();
  cp_async16(tile + 4, from, true);
  cp_async_commit();
  cp_async_wait<1>();
  out[0] = tile[0];
  out[1] = tile[4];
  cp_async_wait<0>();
}
TEST_CASE("cp_async_wait<1> leaves the last group in flight") {
  DeviceSession session(make_simt_device({}));
  const auto from = session.upload(std::vector<float>{3, 4, 5, 6});
  auto out = session.buffer<float>(2);
  launch(session.queue, 1, 1, 32, wait_for_the_first, from.data(), out.data());
  const auto found = session.download(out);
  CHECK(found[0] == 3);
  CHECK(std::isnan(found[1]));
}

__global__ void read_unwritten(unsigned* out) {
  WD_SHARED(unsigned, first, [32]);
  WD_DYNAMIC_SHARED(unsigned, second);
  out[blockIdx.x * 2] = first[3];
  out[blockIdx.x * 2 + 1] = second[3];
  first[3] = second[3] = 0;  // the next block must not see this
}
TEST_CASE("shared memory is filled with ones for every block") {
  for (const auto& c : kSimtCases) {
    DeviceSession session(make_simt_device(c.options), c.threads);
    auto out = session.upload(std::vector<unsigned>(6));
    launch(session.queue, 3, 1, 64, read_unwritten, out.data());
    CHECK(session.download(out) == std::vector<unsigned>(6, ~0u));
  }
}

__global__ void who_am_i(unsigned* out) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] = block * 1000 + thread;
}
TEST_CASE("every thread of every block runs once") {
  for (const auto& c : kSimtCases) {
    DeviceSession session(make_simt_device(c.options), c.threads);
    auto out = session.buffer<unsigned>(30 * 24);
    launch(session.queue, dim3(5, 3, 2), dim3(2, 3, 4), 0, who_am_i, out.data());
    const auto found = session.download(out);
    for (unsigned i = 0; i < 30 * 24; ++i) CHECK(found[i] == i / 24 * 1000 + i % 24);
  }
}

__global__ void order_of_threads(unsigned* counter, unsigned* out) {
  out[threadIdx.x] = atomicAdd(counter, 1u);
}
TEST_CASE("the three orders are what they say") {
  std::vector<std::vector<unsigned>> found;
  for (const auto& c : kSimtCases) {
    DeviceSession session(make_simt_device(c.options), c.threads);
    auto counter = session.upload(std::vector<unsigned>(1)), out = session.buffer<unsigned>(64);
    launch(session.queue, 1, 64, 0, order_of_threads, counter.data(), out.data());
    found.push_back(session.download(out));
  }
  for (unsigned i = 0; i < 64; ++i) {
    CHECK(found[0][i] == i);
    CHECK(found[1][i] == 63 - i);
  }
  CHECK(found[2] != found[0]);
  CHECK(found[2] != found[1]);
}

TEST_CASE("launches that no GPU takes") {
  DeviceSession session(make_simt_device({}));
  CHECK_THROWS_AS(launch(session.queue, 1, 1025, 0, divergent_barrier), Error);
  CHECK_THROWS_AS(launch(session.queue, dim3(1, 65536), 1, 0, divergent_barrier), Error);
  CHECK_THROWS_AS(launch(Queue{}, 1, 32, 0, divergent_barrier), Error);
  launch(session.queue, 0, 32, 0, divergent_barrier);  // nothing
  session.stream->synchronize();
}

}  // namespace
}  // namespace wandistill::simt
