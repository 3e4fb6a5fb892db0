// Hopper's wrappers against their definition in the PTX manual.
#include "tests/simt/typed.h"

namespace wandistill::simt_test {
namespace {

/// Element (row, column) of a [rows, 64] tile under 128-byte swizzle: bits 4 to 6 of the byte's address are
/// exclusive-ored with bits 7 to 9.
size_t swizzled(size_t row, size_t column) {
  const size_t byte = row * 128 + column * 2;
  return (byte ^ (byte >> 7 & 7) << 4) / 2;
}

struct Box {
  int rank;
  std::array<int, 5> sizes, box, first;
};

/// The box as it has to lie in shared memory; zeros for what is outside.
std::vector<float> box_of(const Box& b, const std::vector<float>& in) {
  size_t rows = 1;
  for (size_t i = 1; i < static_cast<size_t>(b.rank); ++i) rows *= static_cast<size_t>(b.box[i]);
  std::vector<float> out(rows * 64);
  for (size_t row = 0; row < rows; ++row)
    for (size_t column = 0; column < 64; ++column) {
      int64_t rest = static_cast<int64_t>(row), from = 0, stride = 1;
      bool inside = true;
      for (size_t i = 0; i < static_cast<size_t>(b.rank); ++i) {
        int64_t at = static_cast<int64_t>(column);
        if (i > 0) {
          at = rest % b.box[i];
          rest /= b.box[i];
        }
        at += b.first[i];
        inside = inside && at >= 0 && at < b.sizes[i];
        from += at * stride;
        stride *= b.sizes[i];
      }
      out[swizzled(row, column)] = inside ? in[static_cast<size_t>(from)] : 0;
    }
  return out;
}

TEST_CASE("Hopper: tma_load: boxes of every rank, partly outside on every side") {
  const Box cases[] = {{2, {64, 8, 1, 1, 1}, {64, 8, 1, 1, 1}, {0, 0, 0, 0, 0}},
                       {2, {72, 20, 1, 1, 1}, {64, 16, 1, 1, 1}, {16, 9, 0, 0, 0}},
                       {2, {80, 20, 1, 1, 1}, {64, 24, 1, 1, 1}, {-5, -3, 0, 0, 0}},
                       {3, {64, 3, 40, 1, 1}, {64, 1, 32, 1, 1}, {0, 2, -7, 0, 0}},
                       {3, {128, 2, 33, 1, 1}, {64, 2, 16, 1, 1}, {64, 1, 20, 0, 0}},
                       {4, {64, 6, 5, 2, 1}, {64, 4, 3, 1, 1}, {0, -1, 3, 1, 0}},
                       {5, {72, 3, 4, 2, 3}, {64, 2, 3, 1, 2}, {8, 1, -1, 1, 2}}};
  on_hopper([&](DeviceSession& session, const HopperKernels& kernels) {
    for (const Box& b : cases) {
      CAPTURE(b.rank);
      CAPTURE(b.first[0]);
      int64_t size = 1;
      for (const int s : b.sizes) size *= s;
      const std::vector<float> in = rounded<bf16>(normal(size, 5)), expected = box_of(b, in);
      const auto device_in = upload_as<bf16>(session, in);
      auto out = session.buffer<bf16>(static_cast<int64_t>(expected.size()));
      kernels.tma_box(b.rank, b.sizes, b.box, b.first, device_in.data(), out.data(), session.queue);
      CHECK(difference(download_as_float(session, out), expected) == 0);
    }
  });
}

TEST_CASE("Hopper: mbarriers: a ring of two stages, filled and released") {
  on_hopper([](DeviceSession& session, const HopperKernels& kernels) {
    for (const int tiles : {1, 2, 3, 8}) {
      const std::vector<float> in = rounded<bf16>(normal(tiles * 512, 6));
      const auto device_in = upload_as<bf16>(session, in);
      auto out = session.buffer<bf16>(tiles * 512);
      kernels.tma_ring(tiles, device_in.data(), out.data(), session.queue);
      CHECK(difference(download_as_float(session, out), in) == 0);
    }
  });
}

TEST_CASE("Hopper: wgmma: a from shared memory or registers, k in rows or columns, stored or copied") {
  on_hopper([](DeviceSession& session, const HopperKernels& kernels) {
    for (const size_t N : {size_t{64}, size_t{96}, size_t{128}}) {
      // Small integers and halves, whose products and sums are exact.
      std::vector<float> a(64 * 64), b(64 * N), c(64 * N);
      for (size_t i = 0; i < a.size(); ++i) a[i] = float(int(i * 7 % 13) - 6) * 0.5f;
      for (size_t i = 0; i < b.size(); ++i) b[i] = float(int(i * 5 % 11) - 5);
      for (size_t i = 0; i < c.size(); ++i) c[i] = float(i % 100);
      const auto device_a = upload_as<bf16>(session, a), device_b = upload_as<bf16>(session, b);
      for (const auto from : {SourceOfA::kColumnsAreK, SourceOfA::kRowsAreK, SourceOfA::kRegisters})
        for (const bool rows_are_k : {false, true})
          for (const bool by_stores : {false, true}) {
            if (N == 96 && (rows_are_k || from != SourceOfA::kColumnsAreK)) continue;
            CAPTURE(N);
            CAPTURE(static_cast<int>(from));
            CAPTURE(rows_are_k);
            CAPTURE(by_stores);
            auto device_c = session.upload(c);
            kernels.warpgroup_product(static_cast<int>(N), from, rows_are_k, by_stores, device_a.data(),
                                      device_b.data(), device_c.data(), session.queue);
            std::vector<float> expected = c;
            for (size_t m = 0; m < 64; ++m)
              for (size_t n = 0; n < N; ++n)
                for (size_t k = 0; k < 64; ++k)
                  expected[m * N + n] += (from == SourceOfA::kRowsAreK ? a[k * 64 + m] : a[m * 64 + k]) *
                                         (rows_are_k ? b[k * N + n] : b[n * 64 + k]);
            CHECK(session.download(device_c) == expected);
          }
    }
  });
}

TEST_CASE("Hopper: named barriers: some wait, some only arrive") {
  on_hopper([](DeviceSession& session, const HopperKernels& kernels) {
    for (const int rounds : {1, 2, 5}) {
      std::vector<int> in(64), expected(64);
      for (size_t i = 0; i < 64; ++i) in[i] = static_cast<int>(i * i);
      for (size_t i = 0; i < 64; ++i) expected[i] = in[63 - i] + 2 * (rounds - 1);
      const auto device_in = session.upload(in);
      auto out = session.buffer<int>(64);
      kernels.named_barriers(rounds, device_in.data(), out.data(), session.queue);
      CHECK(session.download(out) == expected);
    }
  });
}

}  // namespace
}  // namespace wandistill::simt_test
