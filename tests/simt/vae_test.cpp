// The VAE decoder's kernels against their twins.
#include "tests/simt/typed.h"

namespace wandistill::simt_test {
namespace {

const Queue kHost{};

TEST_CASE("RMS norm and SiLU of pixels") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for_each_type([&]<class T>() {
      for (const int64_t channels : {1, 5, 16, 77, 129, 384})
        for (const int64_t pixels : {1, 7, 129})
          for (const bool silu : {true, false}) {
            CAPTURE(channels);
            CAPTURE(pixels);
            const auto x = rounded<T>(normal(pixels * channels, 1)), gamma = rounded<T>(normal(channels, 2));
            std::vector<float> y(x.size());
            ref::rms_norm_silu_forward(pixels, channels, x.data(), gamma.data(), silu, y.data(), kHost);
            const auto device_gamma = upload_as<T>(session, gamma);
            auto both = upload_as<T>(session, x);
            auto out = session.buffer<T>(pixels * channels + kGuard);
            session.ops<T>().rms_norm_silu_forward(pixels, channels, both.data(), device_gamma.data(), silu,
                                                   out.data(), session.queue);
            CHECK(relative_difference(guarded(download_as_float(session, out)), y) <=
                  1.01 * kRounding<T> + 2e-6);
            session.ops<T>().rms_norm_silu_forward(pixels, channels, both.data(), device_gamma.data(), silu,
                                                   both.data(), session.queue);  // in place
            CHECK(relative_difference(download_as_float(session, both), y) <= 1.01 * kRounding<T> + 2e-6);
          }
    });
  });
}

/// The widest channels and smallest pictures, and the other way round: tiles are 16 x 16 outputs, chunks 16
/// input channels, 16, 64 or 96 output channels wide.
const Conv2dShape kShapes[] = {
    {1, 1, 1, 1, 3, false},   {5, 7, 3, 5, 3, false},     {16, 16, 16, 16, 3, false},
    {19, 23, 5, 3, 3, false}, {35, 3, 16, 20, 3, false},  {3, 50, 48, 8, 3, false},
    {5, 7, 33, 70, 3, false}, {17, 9, 64, 96, 3, false},  {1, 1, 3, 5, 3, true},
    {5, 7, 16, 16, 3, true},  {9, 17, 24, 40, 3, true},   {8, 8, 3, 3, 3, true},
    {1, 1, 5, 7, 1, false},   {19, 23, 16, 48, 1, false}, {5, 7, 72, 100, 1, false}};

template <class T>
void check_conv2d(DeviceSession& session, const Conv2dShape& shape) {
  CAPTURE(shape.height);
  CAPTURE(shape.width);
  CAPTURE(shape.c_in);
  CAPTURE(shape.c_out);
  CAPTURE(shape.kernel);
  CAPTURE(shape.upsample);
  const int64_t outputs = shape.out_height() * shape.out_width() * shape.c_out,
                taps = shape.kernel * shape.kernel;
  const auto x = rounded<T>(normal(shape.height * shape.width * shape.c_in, 1)),
             weight = rounded<T>(normal(taps * shape.c_in * shape.c_out, 2)),
             bias = rounded<T>(normal(shape.c_out, 3)), residual = rounded<T>(normal(outputs, 4)),
             gamma = rounded<T>(normal(shape.c_in, 5));
  const auto device_x = upload_as<T>(session, x), device_weight = upload_as<T>(session, weight),
             device_bias = upload_as<T>(session, bias), device_residual = upload_as<T>(session, residual),
             device_gamma = upload_as<T>(session, gamma);
  for (const bool normed : {false, true})
    for (const int add : {0, 1, 2}) {  // nothing, a residual, y itself
      CAPTURE(normed);
      CAPTURE(add);
      std::vector<float> y = residual;
      ref::conv2d_forward(shape, x.data(), normed ? gamma.data() : nullptr, weight.data(), bias.data(),
                          add == 0 ? nullptr : residual.data(), y.data(), kHost);
      auto out = session.buffer<T>(outputs + kGuard);
      if (add == 2) copy(*session.stream, out.data(), device_residual.data(), outputs);
      session.ops<T>().conv2d_forward(shape, device_x.data(), normed ? device_gamma.data() : nullptr,
                                      device_weight.data(), device_bias.data(),
                                      add == 0   ? nullptr
                                      : add == 1 ? device_residual.data()
                                                 : out.data(),
                                      out.data(), session.queue);
      // In bf16 what is normed is rounded before the product, and the output.
      const double bound = std::is_same_v<T, float> ? 3e-6 : (normed ? 2 : 1.01) * kRounding<T>;
      CHECK(relative_difference(guarded(download_as_float(session, out)), y) <= bound);
    }
}

TEST_CASE("convolution") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for_each_type([&]<class T>() {
      for (const Conv2dShape& shape : kShapes) check_conv2d<T>(session, shape);
    });
  });
}

TEST_CASE("the VAE's picture: planes, range, what is not finite; and its bytes") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for_each_type([&]<class T>() {
      for (const int64_t pixels : {1, 7, 300}) {
        const int64_t plane = pixels + 5;
        auto x = rounded<T>(normal(3 * pixels, 1));
        std::vector<float> image(static_cast<size_t>(3 * plane), 7.0f);
        const auto device_x = upload_as<T>(session, x);
        auto out = session.upload(image);
        auto flag = session.upload(std::vector<int32_t>{0});
        int32_t not_finite = 0;
        ref::vae_image(pixels, plane, x.data(), image.data(), &not_finite, kHost);
        session.ops<T>().vae_image(pixels, plane, device_x.data(), out.data(), flag.data(), session.queue);
        CHECK(session.download(out) == image);
        CHECK(session.download(flag)[0] == 0);
        for (const float broken : {NAN, INFINITY}) {
          x[static_cast<size_t>(3 * pixels - 1)] = broken;
          const auto broken_x = upload_as<T>(session, x);
          auto raised = session.upload(std::vector<int32_t>{0});
          session.ops<T>().vae_image(pixels, plane, broken_x.data(), out.data(), raised.data(),
                                     session.queue);
          CHECK(session.download(raised)[0] != 0);
        }
      }
    });
    const int64_t pixels = 300;
    auto image = normal(3 * pixels, 2);
    image[5] = NAN;
    image[6] = 3;
    for (size_t i = 7; i < 263; ++i) image[i] = (2 * static_cast<float>(i - 7) + 1) / 255 - 1;  // halves
    std::vector<uint8_t> rgb(image.size());
    ref::rgb8(pixels, image.data(), rgb.data(), kHost);
    const auto device_image = session.upload(image);
    auto bytes = session.buffer<uint8_t>(3 * pixels);
    session.ops<float>().rgb8(pixels, device_image.data(), bytes.data(), session.queue);
    CHECK(session.download(bytes) == rgb);
  });
}

}  // namespace
}  // namespace wandistill::simt_test
