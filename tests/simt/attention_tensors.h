// Attention's inputs in tests: samples with as many keys as they like.
#pragma once

#include "tests/simt/typed.h"

namespace wandistill::simt_test {

struct AttentionCase {
  int64_t queries, heads, head_dim;
  std::vector<int64_t> keys;  // per sample
  bool bias;
  float bias_scale = 1;  // its standard deviation
};

/// The tensors of a case, rounded to T, on the host and on the device.
template <class T>
struct AttentionTensors {
  std::vector<int64_t> offsets{0};
  std::vector<float> bias, q, k, v, dout;
  AttentionShape shape;
  DeviceBuffer<int64_t> device_offsets;
  DeviceBuffer<float> device_bias;
  DeviceBuffer<T> device_q, device_k, device_v, device_dout;
  AttentionShape device_shape;

  AttentionTensors(DeviceSession& session, const AttentionCase& c) {
    const int64_t B = static_cast<int64_t>(c.keys.size()), width = c.heads * c.head_dim;
    for (const int64_t n : c.keys) offsets.push_back(offsets.back() + n);
    bias = normal(B, 9);
    for (float& value : bias) value *= c.bias_scale;
    q = normal(B * c.queries * width, 1);
    for (float& value : q) value *= 3;  // scores far enough apart to matter
    q = rounded<T>(q);
    k = rounded<T>(normal(offsets.back() * width, 2));
    v = rounded<T>(normal(offsets.back() * width, 3));
    dout = rounded<T>(normal(B * c.queries * width, 4));
    shape = {B,
             c.queries,
             c.heads,
             c.head_dim,
             *std::max_element(c.keys.begin(), c.keys.end()),
             offsets.data(),
             c.bias ? bias.data() : nullptr,
             1 / std::sqrt(static_cast<float>(c.head_dim))};
    device_offsets = session.upload(offsets);
    device_bias = session.upload(bias);
    device_q = upload_as<T>(session, q);
    device_k = upload_as<T>(session, k);
    device_v = upload_as<T>(session, v);
    device_dout = upload_as<T>(session, dout);
    device_shape = shape;
    device_shape.key_offsets = device_offsets.data();
    if (c.bias) device_shape.last_key_bias = device_bias.data();
  }
  int64_t statistics() const { return shape.batch * shape.heads * shape.queries; }
};

}  // namespace wandistill::simt_test
