#include "src/model/wan_pass.h"

#include <cmath>

#include "wandistill/error.h"

namespace wandistill {

WanActivations::WanActivations(Keep keep) : state_(std::make_unique<State>()) {
  state_->keep = keep;
}
WanActivations::~WanActivations() = default;
WanActivations::WanActivations(WanActivations&&) noexcept = default;
WanActivations& WanActivations::operator=(WanActivations&&) noexcept = default;

int64_t WanActivations::bytes(const WanConfig& c, Keep keep, int64_t batch, int64_t tokens,
                              int64_t text_rows) {
  State state;
  state.keep = keep;
  return state.place(c, batch, tokens, tokens, text_rows, nullptr) * int64_t(sizeof(float));
}

int64_t WanActivations::State::place(const WanConfig& c, int64_t B, int64_t tokens, int64_t L, int64_t T,
                                     float* base) {
  int64_t used = 0;
  const auto take = [&](int64_t count) {
    float* at = base ? base + used : nullptr;
    used += (count + 15) / 16 * 16;
    return at;
  };
  const int64_t C = c.hidden(), N = B * L, F = c.ffn_dim;
  const int64_t patch = c.in_channels * c.patch_height * c.patch_width;
  const int64_t head = c.out_channels * c.patch_height * c.patch_width;

  time_sin = take(B * c.freq_dim);
  for (float** p : {&time_hidden, &time_act, &temb, &temb_act}) *p = take(B * C);
  time_proj = take(B * 6 * C);
  for (float** p : {&text_hidden, &text_act, &context}) *p = take(T * C);
  patches = take(B * tokens * patch);
  head_modulation = take(B * 2 * C);
  head_norm = take(N * C);
  head_mean = take(N);
  head_rstd = take(N);
  head_rows = take(B * tokens * head);

  // Inference ping-pongs between two inputs; otherwise each block's is kept.
  x.assign(size_t(c.layers + 1), nullptr);
  for (size_t i = 0; i < x.size(); ++i) x[i] = keep == Keep::kNothing && i >= 2 ? x[i - 2] : take(N * C);

  blocks.assign(keep == Keep::kAll ? size_t(c.layers) : 1, {});
  for (BlockActivations& b : blocks) {
    b.modulation = take(B * 6 * C);
    for (float** p : {&b.norm1, &b.q1, &b.k1, &b.q1_rope, &b.attention1, &b.out1, &b.x1, &b.norm2, &b.q2,
                      &b.q2_norm, &b.attention2, &b.out2, &b.x2, &b.norm3, &b.out3})
      *p = take(N * C);
    for (float** p : {&b.k1_rope, &b.v1}) *p = take(B * tokens * C);
    for (float** p : {&b.k2, &b.v2, &b.k2_norm}) *p = take(T * C);
    for (float** p :
         {&b.mean1, &b.rstd1, &b.q1_rstd, &b.k1_rstd, &b.mean2, &b.rstd2, &b.q2_rstd, &b.mean3, &b.rstd3})
      *p = take(N);
    b.k2_rstd = take(T);
    b.lse1 = take(N * c.heads);
    b.lse2 = take(N * c.heads);
    b.ffn_raw = take(N * F);
    b.ffn_act = take(N * F);
  }

  if (keep != Keep::kNothing) {
    for (float** p : {&dx, &dy, &dq, &dk, &dv, &dq2}) *p = take(N * C);
    for (float** p : {&dk2, &dv2, &dcontext}) *p = take(T * C);
    dffn = take(N * std::max(F, head));
    dmodulation = take(B * 6 * C);
    dtime_proj = take(B * 6 * C);
    dtemb = take(B * C);
  }
  return used;
}

void WanActivations::State::prepare(const WanConfig& c, const WanInput& input) {
  const int64_t B = input.text->batch(), T = input.text->total();
  const int64_t tokens = c.tokens(input.height, input.width);
  const int64_t L = input.split ? input.split->own.size() : tokens;
  const int64_t needed = place(c, B, tokens, L, T, nullptr);
  if (memory.size() < needed) {
    memory = {};  // give back first
    memory = Buffer<float>(needed);
  }
  place(c, B, tokens, L, T, memory.data());
  if (height != input.height || width != input.width) {
    rope = rotary_table(input.height / c.patch_height, input.width / c.patch_width, c.head_dim);
    height = input.height;
    width = input.width;
  }
}

WanTransformer::Pass::Pass(const WanTransformer& model, const float* weights, const WanInput& in,
                           WanActivations::State& state, const Queue& q)
    : input(in),
      s(state),
      queue(q),
      B(in.text->batch()),
      L(in.split ? in.split->own.size() : model.config().tokens(in.height, in.width)),
      N(B * L),
      T(in.text->total()),
      C(model.config().hidden()),
      tokens(model.config().tokens(in.height, in.width)),
      first(in.split ? in.split->own.begin : 0),
      w(model.config(), model.layout(), weights) {
  for (int64_t b = 0; b <= B; ++b) self_offsets.push_back(b * tokens);
}

AttentionShape WanTransformer::Pass::self_attention(const WanConfig& c) const {
  return {
      B, L, c.heads, c.head_dim, tokens, self_offsets.data(), nullptr, 1.0f / std::sqrt(float(c.head_dim))};
}

AttentionShape WanTransformer::Pass::cross_attention(const WanConfig& c) const {
  return {B,
          L,
          c.heads,
          c.head_dim,
          input.text->longest(),
          input.text->offsets.data(),
          input.text->last_key_bias.data(),
          1.0f / std::sqrt(float(c.head_dim))};
}

}  // namespace wandistill
