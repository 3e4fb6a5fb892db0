#include "tests/simt/subjects.h"

namespace wandistill::simt_test {
namespace {

constexpr int kHeads = 3, kDim = 64;

/// out [H, N, D], then lse [H, N].
std::vector<float> plain_attention(const std::vector<float>& q, const std::vector<float>& k,
                                   const std::vector<float>& v, int tokens) {
  const auto N = static_cast<size_t>(tokens), D = size_t{kDim};
  std::vector<float> result(kHeads * N * (D + 1));
  std::vector<double> weights(N);
  for (size_t row = 0; row < kHeads * N; ++row) {
    const size_t first = row / N * N;
    double largest = -INFINITY, total = 0;
    for (size_t j = 0; j < N; ++j) {
      double score = 0;
      for (size_t d = 0; d < D; ++d) score += double{q[row * D + d]} * k[(first + j) * D + d];
      weights[j] = score / 8;
      largest = std::max(largest, weights[j]);
    }
    for (double& w : weights) total += w = std::exp(w - largest);
    for (size_t d = 0; d < D; ++d) {
      double sum = 0;
      for (size_t j = 0; j < N; ++j) sum += weights[j] / total * v[(first + j) * D + d];
      result[row * D + d] = static_cast<float>(sum);
    }
    result[kHeads * N * D + row] = static_cast<float>(largest + std::log(total));
  }
  return result;
}

template <class T, class Convert>
double attention_error(DeviceSession& session, Attention<T>* attention, Fault fault, int tokens,
                       Convert convert) {
  const int64_t n = int64_t{kHeads} * tokens * kDim;
  std::vector<float> plain[3];
  DeviceBuffer<T> device[3];
  for (int i = 0; i < 3; ++i) {
    plain[i] = normal(n, static_cast<uint32_t>(i + 1));
    std::vector<T> values;
    for (float& x : plain[i]) {
      values.push_back(convert(x));
      if constexpr (!std::is_same_v<T, float>) x = to_float(values.back());
    }
    device[i] = session.upload(values);
  }
  auto out = session.buffer<float>(n), lse = session.buffer<float>(int64_t{kHeads} * tokens);
  attention(fault, kHeads, tokens, device[0].data(), device[1].data(), device[2].data(), out.data(),
            lse.data(), session.queue);
  std::vector<float> found = session.download(out), found_lse = session.download(lse);
  found.insert(found.end(), found_lse.begin(), found_lse.end());
  return difference(found, plain_attention(plain[0], plain[1], plain[2], tokens));
}

}  // namespace

double attention_tiles_error(DeviceSession& session, const TestKernels& kernels, Fault fault, int tokens) {
  return attention_error(session, kernels.attention_tiles, fault, tokens, [](float x) { return x; });
}

double attention_tensor_core_error(DeviceSession& session, const TestKernels& kernels, Fault fault,
                                   int tokens) {
  return attention_error(session, kernels.attention_tensor_core, fault, tokens, to_bf16);
}

double column_sums_error(DeviceSession& session, const TestKernels& kernels, Fault fault, int rows,
                         int columns) {
  const auto x = normal(int64_t{rows} * columns, 1);
  std::vector<float> expected(static_cast<size_t>(columns));
  for (size_t c = 0; c < expected.size(); ++c) {
    double sum = 0;
    for (size_t r = 0; r < static_cast<size_t>(rows); ++r) sum += x[r * expected.size() + c];
    expected[c] = static_cast<float>(sum);
  }
  const auto device_x = session.upload(x);
  auto sums = session.upload(std::vector<float>(expected.size()));
  kernels.column_sums(fault, rows, columns, device_x.data(), sums.data(), session.queue);
  return difference(session.download(sums), expected);
}

double pipeline_error(DeviceSession& session, Fault fault) {
  constexpr int64_t kSize = 129, kBatches = 3;
  // The feeding stream is made before or after the working one: either may be the first to run.
  double worst = 0;
  for (const bool feeder_first : {true, false}) {
    std::unique_ptr<Stream> streams[2] = {session.device->make_stream(), session.device->make_stream()};
    Stream &feed = *streams[feeder_first ? 0 : 1], &work = *streams[feeder_first ? 1 : 0];
    const Queue queue{session.queue.threads, &work};
    const auto fed = session.device->make_event(), used = session.device->make_event();
    DeviceBuffer<float> x(feed, kSize), y(work, kSize * kBatches);
    PinnedBuffer<float> pinned(*session.device, kSize), result(*session.device, kSize * kBatches);
    std::vector<float> expected;
    for (int64_t batch = 0; batch < kBatches; ++batch) {
      const auto input = normal(kSize, static_cast<uint32_t>(batch + 1));
      if (fault != Fault::kEarlyHostWrite) fed->synchronize();
      std::copy(input.begin(), input.end(), pinned.data());
      if (fault != Fault::kNoEventBack) feed.wait(*used);
      copy(feed, x.data(), pinned.data(), kSize);
      feed.record(*fed);
      if (fault != Fault::kNoEvent) work.wait(*fed);
      session.ops<float>().gelu_forward(kSize, x.data(), y.data() + batch * kSize, queue);
      work.record(*used);
      for (const float value : input)
        expected.push_back(static_cast<float>(
            0.5 * value * (1 + std::tanh(0.7978845608028654 * (value + 0.044715 * std::pow(value, 3.0))))));
    }
    copy(work, result.data(), y.data(), y.size());
    feed.wait(*used);  // x is released in the order of its own stream
    work.synchronize();
    const double error = difference({result.data(), result.data() + result.size()}, expected);
    feed.synchronize();                    // whatever it still had to do, before the buffers go
    if (!(error <= worst)) worst = error;  // a NaN stays
    if (std::isnan(worst)) return worst;
  }
  return worst;
}

}  // namespace wandistill::simt_test
