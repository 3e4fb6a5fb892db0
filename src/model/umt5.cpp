#include "wandistill/umt5.h"

#include <set>

#include "wandistill/error.h"
#include "wandistill/ops/attention_biased.h"
#include "wandistill/ops/gelu_gated.h"
#include "wandistill/ops/matmul.h"
#include "wandistill/ops/rms_norm.h"

namespace wandistill {
namespace {

/// The embedding table goes by either name or, tied, by both.
constexpr const char* kTableNames[] = {"shared.weight", "encoder.embed_tokens.weight"};

/// The half of a whole UMT5 that an encoder does not need.
bool belongs_to_decoder(const std::string& name) {
  return name.starts_with("decoder.") || name == "lm_head.weight";
}

/// The embedding table is read row by row, so its shape is checked here.
void check_table(const TensorInfo& table, const Umt5Config& c) {
  const Shape expected{c.vocab_size, c.d_model};
  if (table.shape != expected)
    fail(table.file.string(), ": the token embeddings: expected shape ", shape_text(expected),
         " (vocab_size, d_model of config.json), found ", shape_text(table.shape));
}

/// relative_bias [H, 2 n - 1] of ops/attention_biased.h from the table [buckets, H].
Buffer<float> spread_bias(const Umt5Config& c, const float* table, int64_t n) {
  Buffer<float> bias(c.heads * (2 * n - 1));
  for (int64_t distance = 1 - n; distance < n; ++distance) {
    const int64_t bucket = relative_position_bucket(distance, c.buckets, c.max_distance);
    for (int64_t head = 0; head < c.heads; ++head)
      bias[head * (2 * n - 1) + distance + n - 1] = table[bucket * c.heads + head];
  }
  return bias;
}

}  // namespace

Umt5Encoder::Umt5Encoder(const std::filesystem::path& folder)
    : config_(Umt5Config::load(folder)), files_(std::make_unique<SafetensorsFolder>(folder, "model")) {
  const Umt5Config& c = config_;
  const int64_t inner = c.heads * c.d_kv;
  std::set<std::string> known(std::begin(kTableNames), std::end(kTableNames));
  const auto read = [&](const std::string& name, const Shape& shape) {
    Buffer<float> tensor(element_count(shape));
    files_->read(name, shape, tensor.data());
    known.insert(name);
    return tensor;
  };

  table_name_ = files_->has(kTableNames[1]) ? kTableNames[1] : kTableNames[0];
  check_table(files_->info(table_name_), c);
  for (int64_t i = 0; i < c.layers; ++i) {
    const std::string attention = cat("encoder.block.", i, ".layer.0."),
                      ffn = cat("encoder.block.", i, ".layer.1.");
    const std::string self = attention + "SelfAttention.", dense = ffn + "DenseReluDense.";
    Layer layer;
    layer.attention_norm = read(attention + "layer_norm.weight", {c.d_model});
    layer.q = read(self + "q.weight", {inner, c.d_model});
    layer.k = read(self + "k.weight", {inner, c.d_model});
    layer.v = read(self + "v.weight", {inner, c.d_model});
    layer.o = read(self + "o.weight", {c.d_model, inner});
    layer.relative_bias = read(self + "relative_attention_bias.weight", {c.buckets, c.heads});
    layer.ffn_norm = read(ffn + "layer_norm.weight", {c.d_model});
    layer.gate = read(dense + "wi_0.weight", {c.d_ff, c.d_model});
    layer.value = read(dense + "wi_1.weight", {c.d_ff, c.d_model});
    layer.down = read(dense + "wo.weight", {c.d_model, c.d_ff});
    layers_.push_back(std::move(layer));
  }
  final_norm_ = read("encoder.final_layer_norm.weight", {c.d_model});
  files_->refuse_unknown(known, belongs_to_decoder);
}

void Umt5Encoder::embed(std::span<const int32_t> ids, float* out) const {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= config_.vocab_size)
      fail(files_->folder().string(), ": token id ", ids[i], " is outside the vocabulary of ",
           config_.vocab_size,
           " (config.json, vocab_size): the tokenizer and the text encoder do not belong together");
    files_->read_row(table_name_, ids[i], out + static_cast<int64_t>(i) * config_.d_model);
  }
}

void Umt5Encoder::encode(std::span<const int32_t> ids, float* out, const Queue& queue) const {
  const Umt5Config& c = config_;
  const int64_t n = static_cast<int64_t>(ids.size()), inner = c.heads * c.d_kv;
  WD_REQUIRE(n > 0);
  Buffer<float> x(n * c.d_model), normed(n * c.d_model);  // the residual stream, and what a layer reads of it
  Buffer<float> q(n * inner), k(n * inner), v(n * inner), attended(n * inner);
  Buffer<float> gate(n * c.d_ff), value(n * c.d_ff);
  embed(ids, x.data());
  for (const Layer& layer : layers_) {
    cpu::rms_norm_forward(n, c.d_model, c.eps, x.data(), layer.attention_norm.data(), normed.data(), queue);
    cpu::linear_forward(n, inner, c.d_model, normed.data(), layer.q.data(), nullptr, q.data(), queue);
    cpu::linear_forward(n, inner, c.d_model, normed.data(), layer.k.data(), nullptr, k.data(), queue);
    cpu::linear_forward(n, inner, c.d_model, normed.data(), layer.v.data(), nullptr, v.data(), queue);
    const Buffer<float> bias = spread_bias(c, layer.relative_bias.data(), n);
    cpu::attention_biased_forward({n, n, c.heads, c.d_kv, 1.0f}, q.data(), k.data(), v.data(), bias.data(),
                                  attended.data(), queue);
    cpu::matmul(MatmulShape::dense(n, c.d_model, inner, false, true, 1.0f), attended.data(), layer.o.data(),
                x.data(), queue);

    cpu::rms_norm_forward(n, c.d_model, c.eps, x.data(), layer.ffn_norm.data(), normed.data(), queue);
    cpu::linear_forward(n, c.d_ff, c.d_model, normed.data(), layer.gate.data(), nullptr, gate.data(), queue);
    cpu::linear_forward(n, c.d_ff, c.d_model, normed.data(), layer.value.data(), nullptr, value.data(),
                        queue);
    cpu::gelu_gated_forward(n * c.d_ff, gate.data(), value.data(), gate.data(), queue);
    cpu::matmul(MatmulShape::dense(n, c.d_model, c.d_ff, false, true, 1.0f), gate.data(), layer.down.data(),
                x.data(), queue);
  }
  cpu::rms_norm_forward(n, c.d_model, c.eps, x.data(), final_norm_.data(), out, queue);
}

}  // namespace wandistill
