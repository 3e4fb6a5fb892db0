#include "wandistill/umt5.h"

#include <set>

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

/// A layer's tensors, in the order of WeightsOf::Layer.
void add_layer(const Umt5Config& c, int64_t layer, std::vector<TensorSpec>* tensors) {
  const int64_t inner = c.heads * c.d_kv;
  const std::string block = cat("encoder.block.", layer, ".layer.");
  const std::string self = block + "0.SelfAttention.", dense = block + "1.DenseReluDense.";
  tensors->push_back({block + "0.layer_norm.weight", {c.d_model}});
  for (const char* name : {"q", "k", "v"}) tensors->push_back({self + name + ".weight", {inner, c.d_model}});
  tensors->push_back({self + "o.weight", {c.d_model, inner}});
  tensors->push_back({block + "1.layer_norm.weight", {c.d_model}});
  for (const char* name : {"wi_0", "wi_1"})
    tensors->push_back({dense + name + ".weight", {c.d_ff, c.d_model}});
  tensors->push_back({dense + "wo.weight", {c.d_model, c.d_ff}});
}

template <class T>
struct WeightsOf : Umt5Weights {
  struct Layer {
    const T* attention_norm;      // [d_model]
    const T *q, *k, *v;           // [H * d_kv, d_model]
    const T* o;                   // [d_model, H * d_kv]
    Buffer<float> relative_bias;  // [buckets, H], on the host
    const T* ffn_norm;            // [d_model]
    const T *gate, *value;        // [d_ff, d_model]
    const T* down;                // [d_model, d_ff]
  };
  ComponentWeights memory;
  std::vector<Layer> layers;
  const T* final_norm;  // [d_model]

  /// tensors: add_layer()'s of each layer, then the final norm; biases: of each layer.
  WeightsOf(ComponentWeights tensors, std::vector<Buffer<float>> biases) : memory(std::move(tensors)) {
    size_t next = 0;
    const auto take = [&] { return static_cast<const T*>(memory.at(next++)); };
    for (Buffer<float>& bias : biases) {
      Layer layer;
      layer.relative_bias = std::move(bias);
      for (const T** tensor : {&layer.attention_norm, &layer.q, &layer.k, &layer.v, &layer.o, &layer.ffn_norm,
                               &layer.gate, &layer.value, &layer.down})
        *tensor = take();
      layers.push_back(std::move(layer));
    }
    final_norm = take();
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
    const auto norm = [&](const T* weight) {
      ops.rms_norm_forward(n, c.d_model, c.eps, x.data(), weight, normed.data(), compute);
    };
    const auto linear = [&](const T* weight, int64_t width, OpBuffer<T>* out) {
      ops.linear_forward(n, width, c.d_model, normed.data(), weight, nullptr, out->data(), compute);
    };
    const auto add = [&](const OpBuffer<T>& from, int64_t width, const T* weight) {
      ops.matmul(MatmulShape::dense(n, c.d_model, width, false, true, 1.0f), from.data(), weight, x.data(),
                 compute);
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

Umt5Encoder::Umt5Encoder(const std::filesystem::path& folder, const Compute& compute, Dtype dtype,
                         Session* session) {
  std::vector<TensorSpec> tensors;
  std::vector<Buffer<float>> biases;
  const auto check = [&] {
    config_ = Umt5Config::load(folder);
    files_ = std::make_shared<const SafetensorsFolder>(folder, "model");
    table_name_ = files_->has(kTableNames[1]) ? kTableNames[1] : kTableNames[0];
    check_table(files_->info(table_name_), config_);
    std::set<std::string> known(std::begin(kTableNames), std::end(kTableNames));
    for (int64_t i = 0; i < config_.layers; ++i) {
      add_layer(config_, i, &tensors);
      const TensorSpec bias{cat("encoder.block.", i, ".layer.0.SelfAttention.relative_attention_bias.weight"),
                            {config_.buckets, config_.heads}};
      files_->read(bias.name, bias.shape, biases.emplace_back(element_count(bias.shape)).data());
      known.insert(bias.name);
    }
    tensors.push_back({"encoder.final_layer_norm.weight", {config_.d_model}});
    for (const TensorSpec& tensor : tensors) {
      files_->expect(tensor.name, tensor.shape);
      known.insert(tensor.name);
    }
    files_->refuse_unknown(known, umt5_tensor_unused);
  };
  session ? session->collectively(check) : check();
  ComponentWeights memory(session, files_, tensors, compute, dtype, ComponentWeights::Place::kOps,
                          "the text encoder");
  figures_ = memory.figures();
  if (compute.element(dtype) == Dtype::kFloat32)
    weights_ = std::make_unique<WeightsOf<float>>(std::move(memory), std::move(biases));
  else
    weights_ = std::make_unique<WeightsOf<bf16>>(std::move(memory), std::move(biases));
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
