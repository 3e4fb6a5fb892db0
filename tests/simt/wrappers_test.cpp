// Every wrapper against its definition in the CUDA and PTX manuals.
#include <bit>
#include <cstring>

#include "tests/simt/device_session.h"

namespace wandistill::simt_test {
namespace {

std::vector<int> numbered(int n, int first) {
  std::vector<int> values(static_cast<size_t>(n));
  for (int& v : values) v = first++;
  return values;
}

/// The lane that `lane` reads (CUDA C++ Programming Guide, "Warp Shuffle Functions").
int source_lane(ShuffleKind kind, int lane, int operand, int width) {
  const int group = lane / width * width;
  switch (kind) {
    case ShuffleKind::kIndex:
      return group + operand % width;
    case ShuffleKind::kXor:
      return (lane ^ operand) < group + width ? lane ^ operand : lane;
    case ShuffleKind::kUp:
      return lane - operand >= group ? lane - operand : lane;
    case ShuffleKind::kDown:
      return lane + operand < group + width ? lane + operand : lane;
  }
  return -1;
}

TEST_CASE("shuffles") {
  on_every_device([](DeviceSession& session, const TestKernels& kernels) {
    const auto in = session.upload(numbered(32, 100));
    for (const auto kind : {ShuffleKind::kIndex, ShuffleKind::kXor, ShuffleKind::kUp, ShuffleKind::kDown})
      for (const int width : {4, 16, 32})
        for (const int operand : {0, 1, 3, 5, 16}) {
          auto out = session.buffer<int>(32);
          kernels.shuffle(kind, operand, width, in.data(), out.data(), session.queue);
          std::vector<int> expected(32);
          for (int lane = 0; lane < 32; ++lane)
            expected[static_cast<size_t>(lane)] = 100 + source_lane(kind, lane, operand, width);
          CAPTURE(width);
          CAPTURE(operand);
          CHECK(session.download(out) == expected);
        }
  });
}

TEST_CASE("votes, also among some lanes") {
  on_every_device([](DeviceSession& session, const TestKernels& kernels) {
    for (const unsigned mask : {0xFFFFu, 0x55555555u, 0x7u})
      for (const unsigned set : {0u, 0x80000001u, 0xFFFFu, ~0u}) {
        std::vector<int> predicates(64);
        for (size_t i = 0; i < 64; ++i) predicates[i] = static_cast<int>(set >> i % 32 & 1) * 4;
        const auto in = session.upload(predicates);
        auto out = session.buffer<unsigned>(3 * 64);
        kernels.vote(mask, in.data(), out.data(), session.queue);
        const auto found = session.download(out);
        for (size_t i = 0; i < 64; ++i) {
          const unsigned mine = mask >> i % 32 & 1 ? mask : ~mask;
          CHECK(found[i] == (set & mine));
          CHECK(found[64 + i] == unsigned{(set & mine) != 0});
          CHECK(found[128 + i] == unsigned{(set & mine) == mine});
        }
      }
  });
}

TEST_CASE("integer reductions") {
  on_every_device([](DeviceSession& session, const TestKernels& kernels) {
    const auto in = session.upload(numbered(32, -5));
    const auto check = [&](ReduceKind kind, int expected) {
      auto out = session.buffer<int>(32);
      kernels.reduce(kind, in.data(), out.data(), session.queue);
      CHECK(session.download(out) == std::vector<int>(32, expected));
    };
    check(ReduceKind::kAdd, 31 * 16 - 5 * 32);
    check(ReduceKind::kMin, -5);
    check(ReduceKind::kMax, 26);
  });
}

TEST_CASE("ldmatrix") {
  on_every_device([](DeviceSession& session, const TestKernels& kernels) {
    std::vector<uint16_t> in(32 * 8);
    for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<uint16_t>(i + 1);
    const auto device_in = session.upload(in);
    for (const int kind : {0, 1, 2}) {
      auto out = session.buffer<uint32_t>(32 * 4);
      kernels.load_matrix(kind, device_in.data(), out.data(), session.queue);
      std::vector<uint32_t> expected(32 * 4);
      for (size_t lane = 0; lane < 32; ++lane)
        for (size_t tile = 0; tile < (kind == 2 ? 2u : 4u); ++tile) {
          // Lane l holds elements (l / 4, 2 (l % 4)) and the next of every tile, or of its transpose.
          const auto at = [&](size_t row, size_t column) -> uint32_t {
            if (kind == 1) std::swap(row, column);
            return in[(tile * 8 + row) * 8 + column];
          };
          const size_t row = lane / 4, column = lane % 4 * 2;
          expected[lane * 4 + tile] = at(row, column) | at(row, column + 1) << 16;
        }
      CHECK(session.download(out) == expected);
    }
  });
}

template <class T, class Convert>
void check_product(DeviceSession& session, MatrixProduct<T>* product, size_t K, Convert convert) {
  // Small integers and halves: exact in every type.
  std::vector<T> a, b;
  std::vector<float> plain_a, plain_b, c(16 * 8);
  for (size_t i = 0; i < 16 * K; ++i) plain_a.push_back(float(int(i * 7 % 13) - 6) * 0.5f);
  for (size_t i = 0; i < 8 * K; ++i) plain_b.push_back(float(int(i * 5 % 11) - 5));
  for (size_t i = 0; i < c.size(); ++i) c[i] = float(i);
  for (const float x : plain_a) a.push_back(convert(x));
  for (const float x : plain_b) b.push_back(convert(x));
  const auto device_a = session.upload(a), device_b = session.upload(b);
  auto device_c = session.upload(c);
  product(device_a.data(), device_b.data(), device_c.data(), session.queue);
  for (size_t i = 0; i < 16; ++i)
    for (size_t j = 0; j < 8; ++j)
      for (size_t k = 0; k < K; ++k) c[i * 8 + j] += plain_a[i * K + k] * plain_b[j * K + k];
  CHECK(session.download(device_c) == c);
}

TEST_CASE("mma.sync") {
  on_every_device([](DeviceSession& session, const TestKernels& kernels) {
    check_product<bf16>(session, kernels.product_bf16, 16, to_bf16);
    check_product<fp16>(session, kernels.product_fp16, 16, to_fp16);
    check_product<float>(session, kernels.product_tf32, 8, [](float x) { return x; });
  });
}

TEST_CASE("cp.async, stores of 16 bytes") {
  on_every_device([](DeviceSession& session, const TestKernels& kernels) {
    for (const int count : {8, 64, 264, 1024})
      for (const int valid : {0, 4, count / 8 * 4, count}) {
        auto in = normal(count, 3);
        const auto device_in = session.upload(in);
        auto out = session.buffer<float>(count);
        kernels.async_copy(count, valid, device_in.data(), out.data(), session.queue);
        std::fill(in.begin() + valid, in.end(), 0.0f);
        CHECK(difference(session.download(out), in) == 0);
      }
  });
}

TEST_CASE("atomic operations") {
  on_every_device([](DeviceSession& session, const TestKernels& kernels) {
    auto integers = session.upload(std::vector<int>{5, 256});
    auto unsigneds = session.upload(std::vector<unsigned>{5});
    auto floats = session.upload(std::vector<float>{5});
    kernels.atomic_sums(1000, integers.data(), unsigneds.data(), floats.data(), session.queue);
    CHECK(session.download(integers) == std::vector<int>{-995, 511});
    CHECK(session.download(unsigneds)[0] == 1005);
    CHECK(session.download(floats)[0] == 1005);
  });
}

TEST_CASE("conversions round to nearest, ties to even") {
  // Value, bf16, fp16 (worked out by hand).
  struct Row {
    float value;
    uint16_t bf16_bits, fp16_bits;
  };
  const Row rows[] = {
      {1.0f, 0x3F80, 0x3C00},           {1.00390625f, 0x3F80, 0x3C04},  // half a bf16 step: to even, down
      {1.01171875f, 0x3F82, 0x3C0C},                                    // and up
      {1.00390637f, 0x3F81, 0x3C04},                                    // a little more than half
      {1.00048828125f, 0x3F80, 0x3C00},                                 // half an fp16 step: to even
      {-65504.0f, 0xC780, 0xFBFF},                                      // the largest fp16
      {65520.0f, 0x4780, 0x7C00},                                       // infinity in fp16
      {5.9604645e-8f, 0x3380, 0x0001},                                  // the smallest fp16
      {3.4e38f, 0x7F80, 0x7C00},                                        // infinity in both
      {INFINITY, 0x7F80, 0x7C00},       {-0.0f, 0x8000, 0x8000}};
  const size_t n = std::size(rows);
  on_every_device([&](DeviceSession& session, const TestKernels& kernels) {
    std::vector<float> x;
    for (const Row& row : rows) x.push_back(row.value);
    const auto in = session.upload(x);
    auto out = session.buffer<uint32_t>(static_cast<int64_t>(7 * n));
    kernels.convert(static_cast<int>(n), in.data(), out.data(), session.queue);
    const auto found = session.download(out);
    for (size_t i = 0; i < n; ++i) {
      const Row& row = rows[i];
      CAPTURE(row.value);
      CHECK(found[i] == row.bf16_bits);
      CHECK(found[n + i] == row.fp16_bits);
      CHECK(found[2 * n + i] == (row.bf16_bits | (row.bf16_bits ^ 0x8000u) << 16));
      CHECK(found[3 * n + i] == (row.fp16_bits | (row.fp16_bits ^ 0x8000u) << 16));
      CHECK(std::bit_cast<float>(found[5 * n + i]) == to_float(bf16{row.bf16_bits}));
      CHECK(std::bit_cast<float>(found[6 * n + i]) == to_float(fp16{row.fp16_bits}));
    }
    CHECK(found[4 * n] == 0x3F800000u);
    CHECK(found[4 * n + 4] == 0x3F802000u);  // half a tf32 step: away from zero
  });
  CHECK(std::isnan(
      to_float(to_bf16(std::bit_cast<float>(0x7F800001u)))));  // a NaN whose upper half is infinity
}

TEST_CASE("powers of two, to two units in the last place; small ones are zero") {
  const std::vector<float> x = {0,       1,       -1,   0.5f,   -0.3f,     10.7f,    -33.3f, 127.9f,
                                -126.0f, -126.5f, -200, 128.0f, -INFINITY, INFINITY, NAN};
  on_every_device([&](DeviceSession& session, const TestKernels& kernels) {
    const auto in = session.upload(x);
    auto out = session.buffer<float>(in.size());
    kernels.exponential(static_cast<int>(in.size()), in.data(), out.data(), session.queue);
    const auto found = session.download(out);
    for (size_t i = 0; i < x.size(); ++i) {
      CAPTURE(x[i]);
      if (std::isnan(x[i]))
        CHECK(std::isnan(found[i]));
      else if (x[i] < -126)
        CHECK(found[i] == 0);
      else if (x[i] >= 128)
        CHECK(found[i] == INFINITY);
      else
        CHECK(std::abs(found[i] / std::exp2(double{x[i]}) - 1) <= 0x1p-22);
    }
  });
}

}  // namespace
}  // namespace wandistill::simt_test
