// The ops of a forward pass give a row the same bits alone, in small groups and in the whole: what makes a
// picture the same however pictures are batched and tokens are split over ranks.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>

#include "tests/unit/op_compare.h"
#include "wandistill/ops.h"
#include "wandistill/ops/ddim_update.h"
#include "wandistill/ops/unipc_update.h"

namespace wandistill {
namespace {

using op_test::kOne;
using op_test::nans;
using op_test::normal;

/// compute(begin, end, out) writes rows [begin, end), `width` values each, to out.
void check_rows(int64_t rows, int64_t width,
                const std::function<void(int64_t begin, int64_t end, float* out)>& compute) {
  std::vector<float> whole = nans(rows * width);
  compute(0, rows, whole.data());
  REQUIRE(std::none_of(whole.begin(), whole.end(), [](float v) { return std::isnan(v); }));
  for (const int64_t group : {1, 2, 7, 13, 16, 33, 64}) {
    // A handful of groups from the front, and the ragged last one.
    const int64_t last = (rows - 1) / group * group;
    for (int64_t begin = 0; begin <= last;
         begin = begin == last || begin < 4 * group ? begin + group : last) {
      const int64_t end = std::min(rows, begin + group);
      std::vector<float> part = nans((end - begin) * width);
      compute(begin, end, part.data());
      const bool same =
          std::memcmp(part.data(), whole.data() + begin * width, part.size() * sizeof(float)) == 0;
      CAPTURE(rows);
      CAPTURE(begin);
      CAPTURE(end);
      REQUIRE(same);
    }
  }
}

/// The CPU's tables of ops: in float32, and where there are instructions for it with products of bfloat16.
std::vector<const Ops*> tables() {
  std::vector<const Ops*> all{&kCpuOps};
  if (cpu_bf16::instructions()) all.push_back(&kCpuBf16Ops);
  return all;
}

using Triple = std::array<int64_t, 3>;

TEST_CASE("rows are independent: linear layer") {
  for (const auto [m, n, k] : std::vector<Triple>{{1, 5, 7},
                                                  {5, 1, 1},
                                                  {36, 192, 192},
                                                  {36, 576, 192},
                                                  {77, 64, 129},
                                                  {129, 192, 576},
                                                  {193, 129, 77},
                                                  {207, 60, 64},
                                                  {256, 128, 385},
                                                  {401, 384, 128},
                                                  {40, 3072, 512},
                                                  {40, 512, 2048},
                                                  {33, 1024, 1024}}) {
    CAPTURE(m);
    CAPTURE(n);
    CAPTURE(k);
    const auto x = normal(m * k, 1), w = normal(n * k, 2), bias = normal(n, 3);
    for (const Ops* ops : tables())
      for (const float* b : {bias.data(), static_cast<const float*>(nullptr)})
        check_rows(m, n, [&, n = n, k = k](int64_t begin, int64_t end, float* out) {
          ops->linear_forward(end - begin, n, k, x.data() + begin * k, w.data(), b, out, kOne);
        });
  }
}

TEST_CASE("rows are independent: attention") {
  struct Case {
    int64_t queries, heads, head_dim, keys;
    bool bias;
  };
  for (const Case& c : {Case{5, 2, 14, 7, true}, Case{66, 3, 20, 66, false}, Case{130, 2, 64, 130, false},
                        Case{77, 1, 128, 301, true}, Case{144, 2, 40, 513, false}}) {
    CAPTURE(c.queries);
    CAPTURE(c.head_dim);
    const int64_t width = c.heads * c.head_dim, offsets[] = {0, c.keys};
    const auto q = normal(c.queries * width, 1), k = normal(c.keys * width, 2), v = normal(c.keys * width, 3);
    const float bias = 2;
    for (const Ops* ops : tables())
      check_rows(c.queries, width, [&](int64_t begin, int64_t end, float* out) {
        const AttentionShape shape{1,
                                   end - begin,
                                   c.heads,
                                   c.head_dim,
                                   c.keys,
                                   offsets,
                                   c.bias ? &bias : nullptr,
                                   1.0f / std::sqrt(float(c.head_dim))};
        ops->attention_forward(shape, q.data() + begin * width, k.data(), v.data(), out, nullptr, kOne);
      });
  }
}

TEST_CASE("rows are independent: norms, rotation, gated residual") {
  for (const int64_t head_dim : {2, 14, 20, 64}) {
    CAPTURE(head_dim);
    const int64_t rows = 129, heads = 3, C = heads * head_dim, half = head_dim / 2;
    const auto x = normal(rows * C, 1), y = normal(rows * C, 2), a = normal(C, 3), b = normal(C, 4);
    const auto cos = normal(rows * half, 5), sin = normal(rows * half, 6);
    std::vector<float> mean(size_t(rows), 0.0f), rstd = mean;
    for (const float offset : {0.0f, 1.0f})
      check_rows(rows, C, [&](int64_t begin, int64_t end, float* out) {
        cpu::layer_norm_forward({1, end - begin, C, C, offset, 1e-6f}, x.data() + begin * C, a.data(),
                                b.data(), out, mean.data(), rstd.data(), kOne);
      });
    for (const bool rotated : {false, true})
      check_rows(rows, C, [&](int64_t begin, int64_t end, float* out) {
        cpu::qk_norm_rope_forward({end - begin, heads, head_dim, end - begin, 1e-6f}, x.data() + begin * C,
                                  a.data(), rotated ? cos.data() + begin * half : nullptr,
                                  rotated ? sin.data() + begin * half : nullptr, out, rstd.data(), kOne);
      });
    for (const float* gate : {a.data(), static_cast<const float*>(nullptr)})
      check_rows(rows, C, [&](int64_t begin, int64_t end, float* out) {
        cpu::gated_residual_forward(1, end - begin, C, C, x.data() + begin * C, y.data() + begin * C, gate,
                                    out, kOne);
      });
  }
}

TEST_CASE("elements are independent: activations, timestep embedding, DDIM, UniPC") {
  const int64_t n = 40001;  // more than any op's block
  const auto x = normal(n, 1), v = normal(n, 2), u = normal(n, 3), older = normal(n, 4), last = normal(n, 5);
  check_rows(n, 1, [&](int64_t begin, int64_t end, float* out) {
    cpu::silu_forward(end - begin, x.data() + begin, out, kOne);
  });
  check_rows(n, 1, [&](int64_t begin, int64_t end, float* out) {
    cpu::gelu_forward(end - begin, x.data() + begin, out, kOne);
  });
  check_rows(77, 34, [&](int64_t begin, int64_t end, float* out) {
    kCpuOps.timestep_embedding(end - begin, 34, x.data() + begin, out, kOne);
  });
  const DdimCoefficients ddim = ddim_coefficients(
      {.from = {.alpha = 0.3f, .sigma = 0.7f}, .to = {.alpha = 0.4f, .sigma = 0.6f}, .guidance = 3.0f});
  check_rows(n, 1, [&](int64_t begin, int64_t end, float* out) {
    std::copy(x.begin() + begin, x.begin() + end, out);
    cpu::ddim_update(end - begin, &ddim, false, v.data() + begin, u.data() + begin, out, kOne);
  });
  UnipcStep unipc{};
  unipc.sigma = 0.7f;
  unipc.history = 2;
  unipc.correct = true;
  unipc.corrector = {0.9f, 0.2f, {0.1f, -0.3f}};
  unipc.predictor = {0.8f, 0.3f, {-0.2f, 0.1f}};
  check_rows(n, 1, [&](int64_t begin, int64_t end, float* out) {
    std::copy(x.begin() + begin, x.begin() + end, out);
    std::vector<float> x0(size_t(end - begin), 0.0f), old(last.begin() + begin, last.begin() + end);
    const float* history[] = {u.data() + begin, older.data() + begin};
    cpu::unipc_update(end - begin, unipc, v.data() + begin, history, x0.data(), old.data(), out, kOne);
  });
}

}  // namespace
}  // namespace wandistill
