#include "wandistill/umt5.h"

#include <set>

#include "wandistill/component_tensors.h"
#include "wandistill/error.h"

namespace wandistill {

/// In the element type that the encoder computes in: float or bf16.
struct Umt5Weights {
  virtual ~Umt5Weights() = default;
  /// x [n, d_model], the embeddings, becomes the final hidden states; both on the host.
  virtual void run(const Umt5Config& config, int64_t n, float* x, const Compute& compute) const = 0;
};

namespace {

/// The embedding table goes by either name or, tied, by both.
constexpr const char* kTableNames[] = {"shared.weight", "encoder.embed_tokens.weight"};

/// The embedding table is read row by row, so its shape is checked here.
void check_table(const TensorInfo& table, const Umt5Config& c) {
  const Shape expected{c.vocab_size, c.d_model};
  if (table.shape != expected)
    fail(table.file.string(), ": the token embeddings: expected shape ", shape_text(expected),
         " (vocab_size, d_model of config.json), found ", shape_text(table.shape));
}

/// relative_bias [H, 2 n - 1] of ops/attention_biased.h from the table [buckets, H].
Buffer<float> spread_bias(const Umt5Config& c, const Buffer<float>& table, int64_t n) {
  Buffer<float> bias(c.heads * (2 * n - 1));
  for (int64_t distance = 1 - n; distance < n; ++distance) {
    const int64_t bucket = relative_position_bucket(distance, c.buckets, c.max_distance);
    for (int64_t head = 0; head < c.heads; ++head)
      bias[head * (2 * n - 1) + distance + n - 1] = table[bucket * c.heads + head];
  }
  return bias;
}

template <class T>
struct WeightsOf : Umt5Weights {
  struct Layer {
    OpBuffer<T> attention_norm;   // [d_model]
    OpBuffer<T> q, k, v;          // [H * d_kv, d_model]
    OpBuffer<T> o;                // [d_model, H * d_kv]
    Buffer<float> relative_bias;  // [buckets, H], on the host
    OpBuffer<T> ffn_norm;         // [d_model]
    OpBuffer<T> gate, value;      // [d_ff, d_model]
    OpBuffer<T> down;             // [d_model, d_ff]
  };
  std::vector<Layer> layers;
  OpBuffer<T> final_norm;  // [d_model]

  /// read(name, shape): a tensor's values.
  template <class Read>
  WeightsOf(const Umt5Config& c, const Compute& compute, const Read& read) {
    const int64_t inner = c.heads * c.d_kv;
    const auto load = [&](const std::string& name, const Shape& shape) {
      return place<T>(compute, read(name, shape));
    };
    for (int64_t i = 0; i < c.layers; ++i) {
      const std::string attention = cat("encoder.block.", i, ".layer.0."),
                        ffn = cat("encoder.block.", i, ".layer.1.");
      const std::string self = attention + "SelfAttention.", dense = ffn + "DenseReluDense.";
      Layer layer;
      layer.attention_norm = load(attention + "layer_norm.weight", {c.d_model});
      layer.q = load(self + "q.weight", {inner, c.d_model});
      layer.k = load(self + "k.weight", {inner, c.d_model});
      layer.v = load(self + "v.weight", {inner, c.d_model});
      layer.o = load(self + "o.weight", {c.d_model, inner});
      layer.relative_bias = read(self + "relative_attention_bias.weight", {c.buckets, c.heads});
      layer.ffn_norm = load(ffn + "layer_norm.weight", {c.d_model});
      layer.gate = load(dense + "wi_0.weight", {c.d_ff, c.d_model});
      layer.value = load(dense + "wi_1.weight", {c.d_ff, c.d_model});
      layer.down = load(dense + "wo.weight", {c.d_model, c.d_ff});
      layers.push_back(std::move(layer));
    }
    final_norm = load("encoder.final_layer_norm.weight", {c.d_model});
  }

  void run(const Umt5Config& c, int64_t n, float* host_x, const Compute& compute) const override {
    const OpsOf<T>& ops = compute.table<T>();
    const int64_t inner = c.heads * c.d_kv;
    OpBuffer<float> floats(compute, n * c.d_model), bias(compute, c.heads * (2 * n - 1));
    OpBuffer<T> x(compute, n * c.d_model),
        normed(compute, n * c.d_model);  // the residual stream, and its norm
    OpBuffer<T> q(compute, n * inner), k(compute, n * inner), v(compute, n * inner),
        attended(compute, n * inner);
    OpBuffer<T> gate(compute, n * c.d_ff), value(compute, n * c.d_ff);
    const auto norm = [&](const OpBuffer<T>& weight) {
      ops.rms_norm_forward(n, c.d_model, c.eps, x.data(), weight.data(), normed.data(), compute);
    };
    const auto linear = [&](const OpBuffer<T>& weight, int64_t width, OpBuffer<T>* out) {
      ops.linear_forward(n, width, c.d_model, normed.data(), weight.data(), nullptr, out->data(), compute);
    };
    const auto add = [&](const OpBuffer<T>& from, int64_t width, const OpBuffer<T>& weight) {
      ops.matmul(MatmulShape::dense(n, c.d_model, width, false, true, 1.0f), from.data(), weight.data(),
                 x.data(), compute);
    };
    upload(compute, floats.data(), host_x, n * c.d_model);
    ops.narrow(n * c.d_model, floats.data(), x.data(), compute);
    for (const Layer& layer : layers) {
      norm(layer.attention_norm);
      linear(layer.q, inner, &q);
      linear(layer.k, inner, &k);
      linear(layer.v, inner, &v);
      const Buffer<float> spread = spread_bias(c, layer.relative_bias, n);
      upload(compute, bias.data(), spread.data(), spread.size());
      ops.attention_biased_forward({n, n, c.heads, c.d_kv, 1.0f}, q.data(), k.data(), v.data(), bias.data(),
                                   attended.data(), compute);
      add(attended, inner, layer.o);

      norm(layer.ffn_norm);
      linear(layer.gate, c.d_ff, &gate);
      linear(layer.value, c.d_ff, &value);
      ops.gelu_gated_forward(n * c.d_ff, gate.data(), value.data(), gate.data(), compute);
      add(gate, c.d_ff, layer.down);
    }
    norm(final_norm);
    ops.widen(n * c.d_model, normed.data(), floats.data(), compute);
    download(compute, host_x, floats.data(), n * c.d_model);
  }
};

}  // namespace

Umt5Encoder::Umt5Encoder(const std::filesystem::path& folder, const Compute& compute, Dtype dtype)
    : config_(Umt5Config::load(folder)), files_(std::make_unique<SafetensorsFolder>(folder, "model")) {
  std::set<std::string> known(std::begin(kTableNames), std::end(kTableNames));
  const auto read = [&](const std::string& name, const Shape& shape) {
    Buffer<float> tensor(element_count(shape));
    files_->read(name, shape, tensor.data());
    known.insert(name);
    return tensor;
  };
  table_name_ = files_->has(kTableNames[1]) ? kTableNames[1] : kTableNames[0];
  check_table(files_->info(table_name_), config_);
  if (compute.element(dtype) == Dtype::kFloat32)
    weights_ = std::make_unique<WeightsOf<float>>(config_, compute, read);
  else
    weights_ = std::make_unique<WeightsOf<bf16>>(config_, compute, read);
  files_->refuse_unknown(known, umt5_tensor_unused);
}
Umt5Encoder::~Umt5Encoder() = default;
Umt5Encoder::Umt5Encoder(Umt5Encoder&&) noexcept = default;

void Umt5Encoder::embed(std::span<const int32_t> ids, float* out) const {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= config_.vocab_size)
      fail(files_->folder().string(), ": token id ", ids[i], " is outside the vocabulary of ",
           config_.vocab_size,
           " (config.json, vocab_size): the tokenizer and the text encoder do not belong together");
    files_->read_row(table_name_, ids[i], out + static_cast<int64_t>(i) * config_.d_model);
  }
}

void Umt5Encoder::encode(std::span<const int32_t> ids, float* out, const Compute& compute) const {
  WD_REQUIRE(!ids.empty());
  embed(ids, out);
  weights_->run(config_, static_cast<int64_t>(ids.size()), out, compute);
}

}  // namespace wandistill
