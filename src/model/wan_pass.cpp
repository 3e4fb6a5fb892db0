#include "src/model/wan_pass.h"

#include <cmath>

#include "wandistill/error.h"

namespace wandistill {

WanActivations::WanActivations(Keep keep) : keep_(keep) {}
WanActivations::~WanActivations() = default;
WanActivations::WanActivations(WanActivations&&) noexcept = default;
WanActivations& WanActivations::operator=(WanActivations&&) noexcept = default;

int64_t WanActivations::bytes(const WanConfig& c, Keep keep, int64_t batch, int64_t tokens, int64_t text_rows,
                              Dtype dtype) {
  if (dtype == Dtype::kFloat32)
    return StateOf<float>(keep).place(c, batch, tokens, tokens, text_rows, nullptr);
  return StateOf<bf16>(keep).place(c, batch, tokens, tokens, text_rows, nullptr);
}

template <class Element>
int64_t WanActivations::StateOf<Element>::place(const WanConfig& c, int64_t B, int64_t tokens, int64_t L,
                                                int64_t T, char* base) {
  constexpr int64_t kAlignment = 64;
  int64_t used = 0;
  const auto take = [&]<class Type>(Type*& pointer, int64_t count) {
    pointer = base ? reinterpret_cast<Type*>(base + used) : nullptr;
    used += (count * int64_t(sizeof(Type)) + kAlignment - 1) / kAlignment * kAlignment;
  };
  const auto take_all = [&](int64_t count, auto*&... pointers) { (take(pointers, count), ...); };
  const int64_t C = c.hidden(), N = B * L, F = c.ffn_dim;
  const int64_t patch = c.in_channels * c.patch_height * c.patch_width;
  const int64_t head = c.out_channels * c.patch_height * c.patch_width;

  take_all(B + 1, text_offsets_, self_offsets_);
  take(text_bias_, B);
  take(text_rows_, T * c.text_dim);
  text_floats_ = nullptr;
  if (!std::is_same_v<Element, float>) take(text_floats_, T * c.text_dim);

  take(time_sin, B * c.freq_dim);
  take_all(B * C, time_hidden, time_act, temb, temb_act);
  take(time_proj, B * 6 * C);
  take_all(T * C, text_hidden, text_act, context);
  take(patches, B * tokens * patch);
  take(head_modulation, B * 2 * C);
  take(head_norm, N * C);
  take_all(N, head_mean, head_rstd);
  take(head_rows, B * tokens * head);

  // Inference ping-pongs between two inputs; otherwise each block's is kept.
  x.assign(size_t(c.layers + 1), nullptr);
  for (size_t i = 0; i < x.size(); ++i) {
    if (keep == Keep::kNothing && i >= 2)
      x[i] = x[i - 2];
    else
      take(x[i], N * C);
  }

  BlockActivations<Element> shared{};
  take_all(N * C, shared.norm1, shared.q1_rope, shared.x1);
  take(shared.k1_rope, B * tokens * C);
  take(shared.ffn_act, N * F);
  shared.norm2 = shared.norm3 = shared.norm1;
  shared.q2_norm = shared.out2 = shared.q1_rope;
  blocks.assign(keep == Keep::kAll ? size_t(c.layers) : 1, shared);
  for (BlockActivations<Element>& b : blocks) {
    take(b.modulation, B * 6 * C);
    take_all(N * C, b.q1, b.k1, b.attention1, b.out1, b.q2, b.attention2, b.x2, b.out3);
    take(b.v1, B * tokens * C);
    take_all(T * C, b.k2, b.v2, b.k2_norm);
    take_all(N, b.mean1, b.rstd1, b.q1_rstd, b.k1_rstd, b.mean2, b.rstd2, b.q2_rstd, b.mean3, b.rstd3);
    take(b.k2_rstd, T);
    take_all(N * c.heads, b.lse1, b.lse2);
    take(b.ffn_raw, N * F);
  }

  if (keep != Keep::kNothing) {
    take_all(N * C, dx, dy, dq, dk, dv, dq2);
    take_all(T * C, dk2, dv2, dcontext);
    take(dffn, N * std::max(F, head));
    take_all(B * 6 * C, dmodulation, dtime_proj);
    take(dtemb, B * C);
    take(dtime_proj_narrow, B * 6 * C);
    take(dtemb_narrow, B * C);
  }
  return used;
}

template <class Element>
void WanActivations::StateOf<Element>::prepare(const WanConfig& c, const OpsOf<Element>& ops,
                                               const WanInput& input, const Queue& queue) {
  const TextBatch& batch = *input.text;
  const int64_t B = batch.batch(), T = batch.total();
  const int64_t tokens = c.tokens(input.height, input.width);
  const int64_t L = input.split ? input.split->own.size() : tokens;
  const int64_t needed = place(c, B, tokens, L, T, nullptr);
  if (memory.size() < needed) {
    memory = {};  // give back first
    memory = OpBuffer<char>(queue, needed);
  }
  place(c, B, tokens, L, T, memory.data());
  if (height != input.height || width != input.width) {
    const RotaryTable table =
        rotary_table(input.height / c.patch_height, input.width / c.patch_width, c.head_dim);
    cos = OpBuffer<float>(queue, table.cos.size());
    sin = OpBuffer<float>(queue, table.sin.size());
    upload(queue, cos.data(), table.cos.data(), cos.size());
    upload(queue, sin.data(), table.sin.data(), sin.size());
    height = input.height;
    width = input.width;
  }

  std::vector<int64_t> offsets;
  for (int64_t b = 0; b <= B; ++b) offsets.push_back(b * tokens);
  upload(queue, self_offsets_, offsets.data(), B + 1);
  upload(queue, text_offsets_, batch.offsets.data(), B + 1);
  upload(queue, text_bias_, batch.last_key_bias.data(), B);
  if constexpr (std::is_same_v<Element, float>) {
    upload(queue, text_rows_, batch.rows.data(), T * c.text_dim);
  } else {
    upload(queue, text_floats_, batch.rows.data(), T * c.text_dim);
    ops.narrow(T * c.text_dim, text_floats_, text_rows_, queue);
  }
  text = text_rows_;
  text_offsets = text_offsets_;
  self_offsets = self_offsets_;
  text_bias = text_bias_;
}

template <class Element>
WanTransformer::Pass<Element>::Pass(const WanTransformer& model, const OpsOf<Element>& table,
                                    const WanWeights& weights, const WanInput& in,
                                    WanActivations::StateOf<Element>& state, const Queue& q)
    : config(model.config()),
      layout(model.layout()),
      ops(table),
      input(in),
      s(state),
      queue{q.threads, q.stream, weights.converted()},
      B(in.text->batch()),
      L(in.split ? in.split->own.size() : config.tokens(in.height, in.width)),
      N(B * L),
      T(in.text->total()),
      C(config.hidden()),
      tokens(config.tokens(in.height, in.width)),
      first(in.split ? in.split->own.begin : 0),
      placed(weights.placed()),
      w(tensors_of<Element>(config, layout, weights)) {}

template <class Element>
void WanTransformer::Pass<Element>::gather(Element* rows, int64_t width) const {
  if (!input.split) return;
  const int64_t row_bytes = width * int64_t(sizeof(Element)), own = input.split->own.begin * width;
  if (!queue.stream) return input.split->gather(rows, row_bytes);
  Buffer<Element> host(tokens * width);
  download(queue, host.data() + own, rows + own, input.split->own.size() * width);
  input.split->gather(host.data(), row_bytes);
  upload(queue, rows, host.data(), host.size());
}

template <class Element>
AttentionShape WanTransformer::Pass<Element>::self_attention() const {
  return {B,
          L,
          config.heads,
          config.head_dim,
          tokens,
          s.self_offsets,
          nullptr,
          1.0f / std::sqrt(float(config.head_dim))};
}

template <class Element>
AttentionShape WanTransformer::Pass<Element>::cross_attention() const {
  return {B,
          L,
          config.heads,
          config.head_dim,
          input.text->longest(),
          s.text_offsets,
          s.text_bias,
          1.0f / std::sqrt(float(config.head_dim))};
}

template struct WanActivations::StateOf<float>;
template struct WanActivations::StateOf<bf16>;
template struct WanTransformer::Pass<float>;
template struct WanTransformer::Pass<bf16>;

}  // namespace wandistill
