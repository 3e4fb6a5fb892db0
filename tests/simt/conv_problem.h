// Convolutions for tests: tensors, what comes out, and how far from that is rounding.
#pragma once

#include "tests/simt/typed.h"

namespace wandistill::simt_test {

/// The largest |found - expected| as a share of what is allowed there; NaN if there is one.
inline double excess(const std::vector<float>& found, const std::vector<float>& expected,
                     const std::vector<double>& allowed) {
  double largest = found.size() == expected.size() ? 0 : NAN;
  for (size_t i = 0; i < found.size() && !std::isnan(largest); ++i) {
    const double share = std::abs(double{found[i]} - expected[i]) / allowed[i];
    if (!(share <= largest)) largest = share;
  }
  return largest;
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
  /// rounds_product: the implementation rounds before it adds bias and residual.
  explicit ConvProblem(const ConvCase& which, bool rounds_product = false) : c(which) {
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
                        y.data(), Queue{});
    std::vector<float> sizes = x, weights = weight, sums(y.size());
    const std::vector<float> zeros(bias.size());
    if (c.norm)
      ref::rms_norm_silu_forward(s.height * s.width, s.c_in, x.data(), gamma.data(), true, sizes.data(),
                                 Queue{});
    for (std::vector<float>* v : {&sizes, &weights})
      for (float& value : *v) value = std::abs(value);
    ref::conv2d_forward(s, sizes.data(), nullptr, weights.data(), zeros.data(), nullptr, sums.data(),
                        Queue{});
    // In bf16 every normed value is rounded before the products.
    const double inner = kFloatRounding + (c.norm && std::is_same_v<T, bf16> ? 1.01 * kHalfUnit<T> : 0);
    for (size_t i = 0; i < y.size(); ++i) {
      const float product = y[i] - bias[i % bias.size()] - (add ? residual[i] : 0.0f);
      const double roundings = std::abs(y[i]) + (rounds_product ? std::abs(product) : 0.0f);
      allowed.push_back(inner * sums[i] + 1.01 * kHalfUnit<T> * roundings + 1e-6);
    }
  }

  /// The excess of what this implementation leaves.
  template <class Conv2d>
  double excess_of(DeviceSession& session, const Conv2d& conv2d_forward) const {
    const auto place = [&](const std::vector<float>& v) { return Guarded<T>(session, v, c.offset); };
    const Guarded<T> device_x = place(x), device_gamma = place(gamma), device_weight = place(weight),
                     device_bias = place(bias), device_residual = place(residual);
    Guarded<T> out = c.add == 2 ? place(residual) : Guarded<T>(session, std::ssize(y), c.offset);
    const T* add[] = {nullptr, device_residual.data(), out.data()};
    conv2d_forward(c.shape, device_x.data(), c.norm ? device_gamma.data() : nullptr, device_weight.data(),
                   device_bias.data(), add[c.add], out.data(), session.queue);
    return excess(out.values(), y, allowed);
  }

  ConvCase c;
  std::vector<float> x, gamma, weight, bias, residual, y;
  std::vector<double> allowed;
};

/// check(problem) with all that a failure should say.
template <class T, class Check>
void with_context(const ConvProblem<T>& problem, Check check) {
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
  check(problem);
}

}  // namespace wandistill::simt_test
