// Tensors of either element type in tests: values are rounded to it first, so that a twin in float sees what
// the kernel sees.
#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "tests/simt/guarded.h"
#include "wandistill/half.h"

namespace wandistill::simt_test {

/// What T keeps of the values.
template <class T>
std::vector<float> rounded(std::vector<float> values) {
  if constexpr (std::is_same_v<T, bf16>)
    for (float& v : values) v = to_float(to_bf16(v));
  return values;
}

template <class T>
DeviceBuffer<T> upload_as(DeviceSession& session, const std::vector<float>& values) {
  if constexpr (std::is_same_v<T, float>) {
    return session.upload(values);
  } else {
    std::vector<bf16> narrow(values.size());
    std::transform(values.begin(), values.end(), narrow.begin(), to_bf16);
    return session.upload(narrow);
  }
}

template <class T>
std::vector<float> download_as_float(DeviceSession& session, const DeviceBuffer<T>& buffer) {
  const std::vector<T> values = session.download(buffer);
  if constexpr (std::is_same_v<T, float>) {
    return values;
  } else {
    std::vector<float> wide(values.size());
    std::transform(values.begin(), values.end(), wide.begin(), [](bf16 v) { return to_float(v); });
    return wide;
  }
}

/// The largest |a - b| as a share of the largest |b| (of 1, if that is less); NaN if there is one.
inline double relative_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 1;
  for (const float v : b) largest = std::max(largest, double{std::abs(v)});
  return difference(a, b) / largest;
}

/// The largest relative error of rounding to T.
template <class T>
constexpr double kRounding = std::is_same_v<T, float> ? 0x1p-24 : 0x1p-8;

/// body.template operator()<T>() for float and bf16.
template <class Body>
void for_each_type(Body body) {
  {
    CAPTURE("float");
    body.template operator()<float>();
  }
  {
    CAPTURE("bf16");
    body.template operator()<bf16>();
  }
}

}  // namespace wandistill::simt_test
