// The VAE decoder's kernels against their twins.
#include "tests/simt/typed.h"

namespace wandistill::simt_test {
namespace {

const Queue kHost{};

/// The largest |found - expected| as a share of what is allowed there; NaN if there is one.
double excess(const std::vector<float>& found, const std::vector<float>& expected,
              const std::vector<double>& allowed) {
  double largest = found.size() == expected.size() ? 0 : NAN;
  for (size_t i = 0; i < found.size() && !std::isnan(largest); ++i) {
    const double share = std::abs(double{found[i]} - expected[i]) / allowed[i];
    if (!(share <= largest)) largest = share;
  }
  return largest;
}

template <class T>
std::vector<T> shifted(const std::vector<T>& values, int64_t offset) {
  std::vector<T> moved(static_cast<size_t>(offset));
  moved.insert(moved.end(), values.begin(), values.end());
  return moved;
}

/// The largest relative error of rounding to T.
template <class T>
constexpr double kHalfUnit = std::is_same_v<T, float> ? 0x1p-24 : 0x1p-8;

// What float arithmetic may cost, in shares of the sum of all absolute values: sums of up to 1300 products in
// another order, the norm, and the exponential of the GPU.
constexpr double kFloatRounding = 64 * 0x1p-24;

struct ConvCase {
  Conv2dShape shape;
  bool norm = false;
  int add = 0;         // nothing, a residual, y itself
  int64_t offset = 0;  // elements from alignment
};

/// The case's tensors as T keeps them, what comes out, and how far from that is rounding.
template <class T>
struct ConvProblem {
  explicit ConvProblem(const ConvCase& which) : c(which) {
    const Conv2dShape& s = c.shape;
    const int64_t outputs = s.out_height() * s.out_width() * s.c_out;
    x = rounded<T>(normal(s.height * s.width * s.c_in, 1));
    if (s.height * s.width > 1) std::fill_n(x.begin(), s.c_in, 0.0f);  // a pixel without direction
    gamma = rounded<T>(normal(s.c_in, 2));
    weight = rounded<T>(normal(s.kernel * s.kernel * s.c_in * s.c_out, 3));
    bias = rounded<T>(normal(s.c_out, 4));
    residual = rounded<T>(normal(outputs, 5));
    y.resize(residual.size());
    const float* add = c.add > 0 ? residual.data() : nullptr;
    ref::conv2d_forward(s, x.data(), c.norm ? gamma.data() : nullptr, weight.data(), bias.data(), add,
                        y.data(), kHost);
    std::vector<float> sizes = x, weights = weight, sums(y.size());
    const std::vector<float> zeros(bias.size());
    if (c.norm)
      ref::rms_norm_silu_forward(s.height * s.width, s.c_in, x.data(), gamma.data(), true, sizes.data(),
                                 kHost);
    for (std::vector<float>* v : {&sizes, &weights})
      for (float& value : *v) value = std::abs(value);
    ref::conv2d_forward(s, sizes.data(), nullptr, weights.data(), zeros.data(), nullptr, sums.data(), kHost);
    // In bf16 every normed value is rounded before the products.
    const double inner = kFloatRounding + (c.norm && std::is_same_v<T, bf16> ? 1.01 * kHalfUnit<T> : 0);
    for (size_t i = 0; i < y.size(); ++i)
      allowed.push_back(inner * sums[i] + 1.01 * kHalfUnit<T> * std::abs(y[i]) + 1e-6);
  }

  double run(DeviceSession& session) const {
    const auto place = [&](const std::vector<float>& v) {
      return upload_as<T>(session, shifted(v, c.offset));
    };
    const auto device_x = place(x), device_gamma = place(gamma), device_weight = place(weight),
               device_bias = place(bias), device_residual = place(residual);
    const int64_t outputs = static_cast<int64_t>(y.size());
    auto out = session.buffer<T>(c.offset + outputs + kGuard);
    T* to = out.data() + c.offset;
    if (c.add == 2) copy(*session.stream, to, device_residual.data() + c.offset, outputs);
    const T* add[] = {nullptr, device_residual.data() + c.offset, to};
    session.ops<T>().conv2d_forward(
        c.shape, device_x.data() + c.offset, c.norm ? device_gamma.data() + c.offset : nullptr,
        device_weight.data() + c.offset, device_bias.data() + c.offset, add[c.add], to, session.queue);
    auto found = guarded(download_as_float(session, out));
    found.erase(found.begin(), found.begin() + c.offset);
    return excess(found, y, allowed);
  }

  ConvCase c;
  std::vector<float> x, gamma, weight, bias, residual, y;
  std::vector<double> allowed;
};

void check_conv2d(const std::vector<ConvCase>& cases) {
  for_each_type([&]<class T>() {
    std::vector<ConvProblem<T>> problems(cases.begin(), cases.end());
    on_every_device([&](DeviceSession& session, const TestKernels&) {
      for (const ConvProblem<T>& problem : problems) {
        const Conv2dShape& shape = problem.c.shape;
        CAPTURE(shape.height);
        CAPTURE(shape.width);
        CAPTURE(shape.c_in);
        CAPTURE(shape.c_out);
        CAPTURE(shape.kernel);
        CAPTURE(shape.upsample);
        CAPTURE(problem.c.norm);
        CAPTURE(problem.c.add);
        CAPTURE(problem.c.offset);
        CHECK(problem.run(session) <= 1);
      }
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
                {{5, 7, 96, 72, 1}, true, 1}});
}

TEST_CASE("conv2d: tensors that are not aligned") {
  check_conv2d({{{5, 7, 40, 24}, true, 1, 1}, {{3, 4, 48, 80}, false, 2, 3}, {{5, 7, 72, 8, 1}, true, 2, 1}});
}

TEST_CASE("RMS norm and SiLU of pixels") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for_each_type([&]<class T>() {
      for (const int64_t channels : {1, 5, 16, 77, 129, 384})
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
              const auto device_gamma = upload_as<T>(session, shifted(gamma, offset));
              auto both = upload_as<T>(session, shifted(x, offset));
              auto out = session.buffer<T>(offset + pixels * channels + kGuard);
              const auto run = [&](DeviceBuffer<T>& to) {
                session.ops<T>().rms_norm_silu_forward(pixels, channels, both.data() + offset,
                                                       device_gamma.data() + offset, silu, to.data() + offset,
                                                       session.queue);
              };
              const auto without_offset = [&](std::vector<float> values) {
                values.erase(values.begin(), values.begin() + offset);
                return values;
              };
              run(out);
              CHECK(excess(without_offset(guarded(download_as_float(session, out))), y, allowed) <= 1);
              run(both);  // in place
              CHECK(excess(without_offset(download_as_float(session, both)), y, allowed) <= 1);
            }
    });
  });
}

TEST_CASE("the VAE's picture: planes, range, what is not finite") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for_each_type([&]<class T>() {
      for (const int64_t pixels : {1, 7, 64, 77, 1032})
        for (const int64_t gap : {0, 5}) {  // 5: the planes are not aligned
          CAPTURE(pixels);
          CAPTURE(gap);
          const int64_t plane = pixels + gap;
          auto x = rounded<T>(normal(3 * pixels, 1));
          std::vector<float> image(static_cast<size_t>(3 * plane), 7.0f);
          auto out = session.upload(image);
          int32_t ignored = 0;
          ref::vae_image(pixels, plane, x.data(), image.data(), &ignored, kHost);
          const auto flag_after = [&](int32_t before) {
            const auto device_x = upload_as<T>(session, x);
            auto flag = session.upload(std::vector<int32_t>{before});
            session.ops<T>().vae_image(pixels, plane, device_x.data(), out.data(), flag.data(),
                                       session.queue);
            return session.download(flag)[0];
          };
          CHECK(flag_after(0) == 0);
          CHECK(session.download(out) == image);
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
    for (const int64_t pixels : {1, 5, 7, 64, 77, 1028}) {
      CAPTURE(pixels);
      auto image = normal(3 * pixels, 2);
      image[0] = NAN;
      // Halves between two bytes.
      for (size_t i = 1; i < image.size() && i < 256; ++i)
        image[i] = (2 * static_cast<float>(i) - 1) / 255 - 1;
      std::vector<uint8_t> rgb(image.size());
      ref::rgb8(pixels, image.data(), rgb.data(), kHost);
      rgb.resize(rgb.size() + 4, 0xFF);  // behind the last pixel nothing is written
      const auto device_image = session.upload(image);
      auto bytes = session.buffer<uint8_t>(3 * pixels + 4);
      session.ops<float>().rgb8(pixels, device_image.data(), bytes.data(), session.queue);
      CHECK(session.download(bytes) == rgb);
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
    auto out = session.buffer<float>(pixels);
    session.ops<float>().rms_norm_silu_forward(pixels, 1, device_x.data(), device_gamma.data(), false,
                                               out.data(), session.queue);
    CHECK(difference(session.download(out), y) <= 1e-6);
  }
  SUBCASE("planes") {
    const int64_t pixels = 2048 * 256 + 5;
    const auto x = normal(3 * pixels, 1);
    std::vector<float> image(x.size());
    int32_t flag = 0;
    ref::vae_image(pixels, pixels, x.data(), image.data(), &flag, kHost);
    const auto device_x = session.upload(x);
    auto out = session.buffer<float>(3 * pixels);
    auto device_flag = session.upload(std::vector<int32_t>{0});
    session.ops<float>().vae_image(pixels, pixels, device_x.data(), out.data(), device_flag.data(),
                                   session.queue);
    CHECK(session.download(out) == image);
    CHECK(session.download(device_flag)[0] == 0);
  }
}

}  // namespace
}  // namespace wandistill::simt_test
