// Attention at the student's and the teacher's sizes. Forward is two products of L x L x D per head, backward
// five.
#include <cmath>

#include "bench/gpu/device_bench.h"

namespace wandistill::bench {
namespace {

struct AttentionCase {
  int64_t batch, queries, keys, heads, head_dim;
};

void attention(DeviceBench& bench, const AttentionCase& c) {
  const Compute& compute = bench.compute;
  const OpsOf<bf16>& ops = *compute.bf16_ops;
  const int64_t row = c.heads * c.head_dim, n = c.batch * c.queries * row, kv = c.batch * c.keys * row;
  // Twice the formula's range: scores with a standard deviation of 4/3 after scaling.
  const OpBuffer<bf16> q = bench.input<bf16>(n, 1, 2), k = bench.input<bf16>(kv, 2, 2),
                       v = bench.input<bf16>(kv, 3), dout = bench.input<bf16>(n, 4);
  OpBuffer<bf16> out = bench.output<bf16>(n), dq = bench.output<bf16>(n), dk = bench.output<bf16>(kv),
                 dv = bench.output<bf16>(kv);
  OpBuffer<float> log_sum_exp = bench.output<float>(c.batch * c.heads * c.queries);
  std::vector<int64_t> offsets;
  for (int64_t b = 0; b <= c.batch; ++b) offsets.push_back(b * c.keys);
  OpBuffer<int64_t> device_offsets(compute, c.batch + 1);
  upload(compute, device_offsets.data(), offsets.data(), c.batch + 1);
  const AttentionShape shape{.batch = c.batch,
                             .queries = c.queries,
                             .heads = c.heads,
                             .head_dim = c.head_dim,
                             .max_keys = c.keys,
                             .key_offsets = device_offsets.data(),
                             .scale = 1 / std::sqrt(float(c.head_dim))};
  const Work forward = [&] {
    ops.attention_forward(shape, q.data(), k.data(), v.data(), out.data(), log_sum_exp.data(), compute);
  };
  const Work backward = [&] {
    ops.attention_backward(shape, q.data(), k.data(), v.data(), out.data(), log_sum_exp.data(), dout.data(),
                           dq.data(), dk.data(), dv.data(), compute);
  };
  const std::string text =
      cat("B ", c.batch, ", L ", c.queries, c.keys == c.queries ? "" : cat(" to ", c.keys), ", H ", c.heads,
          ", D ", c.head_dim);
  const Json parameters = {{"batch", c.batch},
                           {"queries", c.queries},
                           {"keys", c.keys},
                           {"heads", c.heads},
                           {"head_dim", c.head_dim}};
  const auto details = [&](const char* op, const Json& sample) {
    Json made = {{"case", parameters}, {"sample", sample}};
    made["case"]["op"] = op;
    return made;
  };
  forward();
  backward();
  const Json forward_sample = {{"out", bench.sample(out.data(), n)}},
             backward_sample = {{"dq", bench.sample(dq.data(), n)},
                                {"dk", bench.sample(dk.data(), kv)},
                                {"dv", bench.sample(dv.data(), kv)}};
  const double product = 2 * double(c.batch * c.heads * c.queries) * double(c.keys * c.head_dim);
  const int64_t statistics = kFloat * log_sum_exp.size();
  bench.compute_row("attention", text, 2 * product, kHalf * (2 * n + 2 * kv) + statistics, forward,
                    details("attention", forward_sample));
  bench.compute_row("attention backward", text, 5 * product, kHalf * (4 * n + 4 * kv) + statistics, backward,
                    details("attention_backward", backward_sample));
}

}  // namespace

void bench_attention(DeviceBench& bench) {
  if (bench.tiny) return attention(bench, {1, 40, 40, 2, 64});
  for (const AttentionCase& c : {AttentionCase{4, 4096, 4096, 16, 64},
                                 {1, 4096, 4096, 40, 64},
                                 {4, 4096, 4096, 8, 128},
                                 {2, 4096, 4096, 16, 128},
                                 {1, 4096, 4096, 40, 128},
                                 {4, 4096, 32, 8, 128}})
    attention(bench, c);
}

}  // namespace wandistill::bench
