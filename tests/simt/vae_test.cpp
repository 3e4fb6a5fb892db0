// The VAE decoder's kernels against their twins.
#include "tests/simt/conv_problem.h"

namespace wandistill::simt_test {
namespace {

const Queue kHost{};

void check_conv2d(const std::vector<ConvCase>& cases) {
  for_each_type([&]<class T>() {
    std::vector<ConvProblem<T>> problems(cases.begin(), cases.end());
    on_every_device([&](DeviceSession& session, const TestKernels&) {
      for (const ConvProblem<T>& each : problems)
        with_context(each, [&](const ConvProblem<T>& problem) {
          CHECK(problem.excess_of(session, session.ops<T>().conv2d_forward) <= 1);
        });
    });
  });
}

TEST_CASE("conv2d: small pictures, every channel count, with and without norm and residual") {
  constexpr int64_t kChannels[] = {1, 3, 5, 16, 20, 33, 48};
  std::vector<ConvCase> cases;
  int number = 0;
  for (const auto& [h, w] : {std::pair{1, 1}, {5, 7}, {16, 16}, {19, 23}})
    for (const auto& [kernel, upsample] : {std::pair{3, false}, {3, true}, {1, false}})
      for (int i = 0; i < 7; ++i, ++number) {
        // Each count of inputs meets another one of outputs in every round, and all six ways to be called.
        const Conv2dShape shape{h, w, kChannels[i], kChannels[(i + number / 7) % 7], kernel, upsample};
        if (shape.out_height() > 16 && i % 3 != number / 7 % 3) continue;  // several tiles: a third of them
        cases.push_back({shape, number % 2 == 1, number / 2 % 3});
      }
  check_conv2d(cases);
}

// 16 columns are a tile, 16 or 8 rows; 32 or 16 input channels are a chunk; 96, 32, 8 or 4 outputs a block.
TEST_CASE("conv2d: three and more tiles, chunks and blocks of outputs") {
  check_conv2d({{{33, 35, 72, 20}, true, 2},
                {{17, 19, 70, 5, 3, true}, true, 1},
                {{3, 5, 24, 200}, true, 1},
                {{3, 5, 24, 200, 1}, false, 2},
                {{2, 3, 104, 96}, true, 2},
                {{5, 40, 97, 3}, true, 0},
                {{40, 5, 96, 8}, true, 2},
                {{5, 7, 96, 72, 1}, true, 1},
                {{1, 129, 5, 64}, true, 1},
                {{257, 1, 7, 5}, false, 2},
                {{3, 2, 77, 77}, true, 2}});
}

// For Hopper's kernel: tiles of 16 x 16 outputs in patches of 4 x 8, blocks of 96 outputs, chunks of 64 input
// channels in two stages.
TEST_CASE("conv2d, Hopper") {
  const std::vector<ConvCase> cases = {{{1, 1, 64, 96}, true, 0},
                                       {{1, 1, 8, 72, 3, true}, true, 1},
                                       {{5, 7, 72, 96}, true, 1},
                                       {{7, 1, 96, 80}, false, 2},
                                       {{16, 16, 128, 96}, true, 1},
                                       {{16, 16, 64, 192}, false, 0},
                                       {{3, 5, 200, 200}, true, 2},
                                       {{3, 4, 320, 96, 3, true}, false, 1},
                                       {{33, 35, 96, 96}, true, 2},
                                       {{8, 8, 64, 96, 3, true}, true, 1},
                                       {{9, 17, 136, 104, 3, true}, true, 2},
                                       {{1, 129, 64, 80}, true, 2},
                                       {{257, 1, 64, 96}, true, 1},
                                       {{1, 77, 72, 96}, false, 1},
                                       // By the other kernels.
                                       {{5, 7, 64, 64}, true, 1},
                                       {{5, 7, 64, 96, 1}, true, 1},
                                       {{5, 7, 20, 96}, true, 1},
                                       {{5, 7, 64, 97}, true, 1},
                                       {{5, 7, 64, 96}, true, 1, 1}};
  std::vector<ConvProblem<bf16>> problems(cases.begin(), cases.end());
  on_hopper([&](DeviceSession& session, const HopperKernels&) {
    for (const ConvProblem<bf16>& each : problems)
      with_context(each, [&](const ConvProblem<bf16>& problem) {
        CHECK(problem.excess_of(session, session.ops<bf16>().conv2d_forward) <= 1);
      });
  });
}

TEST_CASE("conv2d: tensors that are not aligned") {
  check_conv2d({{{5, 7, 40, 24}, true, 1, 1}, {{3, 4, 48, 80}, false, 2, 3}, {{5, 7, 72, 8, 1}, true, 2, 1}});
}

TEST_CASE("RMS norm and SiLU of pixels") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for_each_type([&]<class T>() {
      for (const int64_t channels : {1, 5, 16, 64, 77, 129, 257, 384})
        for (const int64_t pixels : {1, 7, 65})
          for (const bool silu : {true, false})
            for (const int64_t offset : {0, 1}) {
              if (offset == 1 && channels % 16 != 0) continue;  // one at a time anyway
              CAPTURE(channels);
              CAPTURE(pixels);
              CAPTURE(silu);
              CAPTURE(offset);
              auto x = rounded<T>(normal(pixels * channels, 1));
              if (pixels > 1) std::fill_n(x.begin(), channels, 0.0f);
              const auto gamma = rounded<T>(normal(channels, 2));
              std::vector<float> y(x.size());
              ref::rms_norm_silu_forward(pixels, channels, x.data(), gamma.data(), silu, y.data(), kHost);
              std::vector<double> allowed;
              for (const float v : y) allowed.push_back((1.01 * kHalfUnit<T> + 4e-6) * std::abs(v) + 1e-7);
              const Guarded<T> device_gamma(session, gamma, offset);
              Guarded<T> both(session, x, offset), out(session, pixels * channels, offset);
              for (Guarded<T>* to : {&out, &both}) {  // the second time in place
                session.ops<T>().rms_norm_silu_forward(pixels, channels, both.data(), device_gamma.data(),
                                                       silu, to->data(), session.queue);
                CHECK(excess(to->values(), y, allowed) <= 1);
              }
            }
    });
  });
}

TEST_CASE("the VAE's picture: planes, range, what is not finite") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for_each_type([&]<class T>() {
      for (const int64_t pixels : sizes_and({1032}))
        for (const int64_t gap : {0, 5}) {  // 5: the planes are not aligned
          CAPTURE(pixels);
          CAPTURE(gap);
          const int64_t plane = pixels + gap;
          auto x = rounded<T>(normal(3 * pixels, 1));
          std::vector<float> image(static_cast<size_t>(3 * plane), 7.0f);
          Guarded<float> out(session, image);
          int32_t ignored = 0;
          ref::vae_image(pixels, plane, x.data(), image.data(), &ignored, kHost);
          const auto flag_after = [&](int32_t before) {
            const auto device_x = upload_as<T>(session, x);
            Guarded<int32_t> flag(session, std::vector{before});
            session.ops<T>().vae_image(pixels, plane, device_x.data(), out.data(), flag.data(),
                                       session.queue);
            return flag.values()[0];
          };
          CHECK(flag_after(0) == 0);
          CHECK(out.values() == image);
          CHECK(flag_after(1) == 1);
          for (const float broken : {NAN, -INFINITY}) {
            x[static_cast<size_t>(3 * pixels - 1)] = broken;
            CHECK(flag_after(0) == 1);
          }
          std::fill(x.begin(), x.end(), NAN);  // from every thread
          CHECK(flag_after(0) == 1);
          CHECK(flag_after(1) == 1);
        }
    });
  });
}

TEST_CASE("a picture's bytes") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for (const int64_t pixels : sizes_and({1028})) {
      CAPTURE(pixels);
      auto image = normal(3 * pixels, 2);
      image[0] = NAN;
      // Halves between two bytes.
      for (size_t i = 1; i < image.size() && i < 256; ++i)
        image[i] = (2 * static_cast<float>(i) - 1) / 255 - 1;
      std::vector<uint8_t> rgb(image.size());
      ref::rgb8(pixels, image.data(), rgb.data(), kHost);
      const auto device_image = session.upload(image);
      Guarded<uint8_t> bytes(session, 3 * pixels);
      session.ops<float>().rgb8(pixels, device_image.data(), bytes.data(), session.queue);
      CHECK(bytes.values() == rgb);
    }
  });
}

TEST_CASE("more pixels than the VAE's grids have threads") {
  DeviceSession session(make_simt_device({}), 2);
  SUBCASE("norm") {
    const int64_t pixels = 2048 * 32 + 5;
    const auto x = normal(pixels, 1);
    const std::vector<float> gamma{2.0f};
    std::vector<float> y(x.size());
    ref::rms_norm_silu_forward(pixels, 1, x.data(), gamma.data(), false, y.data(), kHost);
    const auto device_x = session.upload(x), device_gamma = session.upload(gamma);
    Guarded<float> out(session, pixels);
    session.ops<float>().rms_norm_silu_forward(pixels, 1, device_x.data(), device_gamma.data(), false,
                                               out.data(), session.queue);
    CHECK(difference(out.values(), y) <= 1e-6);
  }
  SUBCASE("planes") {
    const int64_t pixels = 2048 * 256 + 5;
    const auto x = normal(3 * pixels, 1);
    std::vector<float> image(x.size());
    int32_t flag = 0;
    ref::vae_image(pixels, pixels, x.data(), image.data(), &flag, kHost);
    const auto device_x = session.upload(x);
    Guarded<float> out(session, 3 * pixels);
    Guarded<int32_t> device_flag(session, std::vector{0});
    session.ops<float>().vae_image(pixels, pixels, device_x.data(), out.data(), device_flag.data(),
                                   session.queue);
    CHECK(out.values() == image);
    CHECK(device_flag.values()[0] == 0);
  }
}

}  // namespace
}  // namespace wandistill::simt_test
