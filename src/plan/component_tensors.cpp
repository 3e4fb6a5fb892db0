#include "wandistill/component_tensors.h"

#include "src/model/wan_vae_weights.h"
#include "wandistill/error.h"
#include "wandistill/json.h"

namespace wandistill {
namespace {

/// Lists the layers of a VAE by diffusers' names.
struct VaeList {
  std::vector<TensorSpec> tensors;

  void conv(const std::string& name, int64_t in, int64_t out, const Shape& kernel) {
    Shape shape{out, in};
    shape.insert(shape.end(), kernel.begin(), kernel.end());
    tensors.push_back({name + ".weight", shape});
    tensors.push_back({name + ".bias", {out}});
  }
  void residual_block(const std::string& name, int64_t in, int64_t out) {
    tensors.push_back({name + ".norm1.gamma", {in, 1, 1, 1}});
    conv(name + ".conv1", in, out, {3, 3, 3});
    tensors.push_back({name + ".norm2.gamma", {out, 1, 1, 1}});
    conv(name + ".conv2", out, out, {3, 3, 3});
    if (in != out) conv(name + ".conv_shortcut", in, out, {1, 1, 1});
  }
  void middle(const std::string& name, int64_t channels) {
    residual_block(name + "resnets.0", channels, channels);
    tensors.push_back({name + "attentions.0.norm.gamma", {channels, 1, 1}});
    conv(name + "attentions.0.to_qkv", channels, 3 * channels, {1, 1});
    conv(name + "attentions.0.proj", channels, channels, {1, 1});
    residual_block(name + "resnets.1", channels, channels);
  }
};

/// temperal_downsample (so spelled): where the encoder halves the frames, and mirrored the decoder doubles
/// them.
std::vector<bool> temporal_levels(const JsonObject& json, size_t count) {
  if (json.is_null("temperal_downsample")) return {false, true, true};
  std::vector<bool> levels;
  for (const Json& level : json.json().at("temperal_downsample")) levels.push_back(level == true);
  if (levels.size() != count)
    json.refuse("temperal_downsample", cat("has ", levels.size(), " values; dim_mult asks for ", count));
  return levels;
}

}  // namespace

int64_t parameter_count(const std::vector<TensorSpec>& tensors) {
  int64_t count = 0;
  for (const TensorSpec& tensor : tensors) count += element_count(tensor.shape);
  return count;
}

std::vector<TensorSpec> transformer_tensors(const WanConfig& config) {
  std::vector<TensorSpec> tensors;
  const ParameterLayout layout(config);
  for (const ParameterInfo& p : layout.parameters()) tensors.push_back({p.name, p.shape});
  return tensors;
}

std::vector<TensorSpec> umt5_tensors(const Umt5Config& c) {
  const int64_t inner = c.heads * c.d_kv;
  std::vector<TensorSpec> tensors{{"shared.weight", {c.vocab_size, c.d_model}},
                                  {"encoder.final_layer_norm.weight", {c.d_model}}};
  for (int64_t i = 0; i < c.layers; ++i) {
    const std::string attention = cat("encoder.block.", i, ".layer.0."),
                      ffn = cat("encoder.block.", i, ".layer.1.");
    for (const char* name : {"q", "k", "v"})
      tensors.push_back({cat(attention, "SelfAttention.", name, ".weight"), {inner, c.d_model}});
    tensors.push_back({attention + "SelfAttention.o.weight", {c.d_model, inner}});
    tensors.push_back({attention + "SelfAttention.relative_attention_bias.weight", {c.buckets, c.heads}});
    tensors.push_back({attention + "layer_norm.weight", {c.d_model}});
    tensors.push_back({ffn + "layer_norm.weight", {c.d_model}});
    tensors.push_back({ffn + "DenseReluDense.wi_0.weight", {c.d_ff, c.d_model}});
    tensors.push_back({ffn + "DenseReluDense.wi_1.weight", {c.d_ff, c.d_model}});
    tensors.push_back({ffn + "DenseReluDense.wo.weight", {c.d_model, c.d_ff}});
  }
  return tensors;
}

std::vector<TensorSpec> vae_decoder_tensors(const WanVaeConfig& config) {
  std::vector<TensorSpec> tensors;
  WanVaeWeights(config, &tensors);
  return tensors;
}

std::vector<TensorSpec> vae_other_tensors(const std::filesystem::path& folder) {
  const WanVaeConfig c = WanVaeConfig::load(folder);
  const JsonObject json = JsonObject::load(folder / "config.json");
  const int64_t base = json.get_int("base_dim"), levels = int64_t(c.dim_mult.size());
  const std::vector<bool> temporal = temporal_levels(json, size_t(levels - 1));
  VaeList list;
  list.conv("quant_conv", 2 * c.z_dim, 2 * c.z_dim, {1, 1, 1});
  list.conv("encoder.conv_in", json.get_int_or("in_channels", 3), base, {3, 3, 3});
  int64_t channels = base, next = 0;
  for (int64_t i = 0; i < levels; ++i) {
    const auto name = [&] { return cat("encoder.down_blocks.", next++); };
    const int64_t out = base * c.dim_mult[size_t(i)];
    for (int64_t r = 0; r < c.num_res_blocks; ++r) {
      list.residual_block(name(), channels, out);
      channels = out;
    }
    if (i + 1 == levels) break;
    const std::string down = name();
    list.conv(down + ".resample.1", channels, channels, {3, 3});
    if (temporal[size_t(i)]) list.conv(down + ".time_conv", channels, channels, {3, 1, 1});
  }
  list.middle("encoder.mid_block.", channels);
  list.tensors.push_back({"encoder.norm_out.gamma", {channels, 1, 1, 1}});
  list.conv("encoder.conv_out", channels, 2 * c.z_dim, {3, 3, 3});
  for (int64_t i = 0; i + 1 < levels; ++i) {
    const int64_t of_level = c.base_dim * c.dim_mult[size_t(levels - 1 - i)];
    if (temporal[size_t(levels - 2 - i)])
      list.conv(cat("decoder.up_blocks.", i, ".upsamplers.0.time_conv"), of_level, 2 * of_level, {3, 1, 1});
  }
  return list.tensors;
}

bool transformer_tensor_unused(const std::string& name) {
  return name.find("norm_added_q") != std::string::npos;
}

bool umt5_tensor_unused(const std::string& name) {
  return name.starts_with("decoder.") || name == "lm_head.weight";
}

// On one frame the reference skips the temporal upsampling.
bool vae_tensor_unused(const std::string& name) {
  return name.starts_with("encoder.") || name.starts_with("quant_conv.") ||
         (name.starts_with("decoder.") && name.find(".time_conv.") != std::string::npos);
}

}  // namespace wandistill
