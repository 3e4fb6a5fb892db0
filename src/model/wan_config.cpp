#include "wandistill/wan_config.h"

#include "wandistill/error.h"
#include "wandistill/json.h"

namespace wandistill {
namespace {

WanConfig from_json(const JsonObject& json) {
  const std::string where = json.file().string();
  WanConfig c;
  if (const std::string name = json.get_string_or("_class_name", "WanTransformer3DModel");
      name != "WanTransformer3DModel")
    fail(where, ": _class_name is ", name, "; expected WanTransformer3DModel");
  c.heads = json.get_int("num_attention_heads");
  c.head_dim = json.get_int("attention_head_dim");
  c.layers = json.get_int("num_layers");
  c.ffn_dim = json.get_int("ffn_dim");
  c.in_channels = json.get_int("in_channels");
  c.out_channels = json.get_int_or("out_channels", c.in_channels);
  c.text_dim = json.get_int("text_dim");
  c.freq_dim = json.get_int("freq_dim");
  c.rope_max_seq_len = json.get_int_or("rope_max_seq_len", 1024);
  c.eps = float(json.get_double_or("eps", 1e-6));
  const std::vector<int64_t> patch = json.get_ints("patch_size");
  if (patch.size() != 3 || patch[0] != 1)
    fail(where,
         ": patch_size must be three numbers, the first (frames) 1: this program makes single pictures");
  c.patch_height = patch[1];
  c.patch_width = patch[2];
  if (!json.get_bool_or("cross_attn_norm", true))
    fail(where, ": cross_attn_norm is false; only true is supported");
  if (const std::string norm = json.get_string_or("qk_norm", "rms_norm_across_heads");
      norm != "rms_norm_across_heads")
    fail(where, ": qk_norm is ", norm, "; only rms_norm_across_heads is supported");
  for (const char* key : {"added_kv_proj_dim", "image_dim", "pos_embed_seq_len"})
    if (json.has(key) && !json.is_null(key))
      fail(where, ": ", key, " is set: this is an image-to-video transformer; a text-to-video one is needed");
  c.validate(where);
  return c;
}

}  // namespace

int64_t WanConfig::tokens(int64_t h, int64_t w) const {
  if (h <= 0 || w <= 0 || h % patch_height || w % patch_width)
    fail("latents of ", h, " x ", w, " cannot be cut into patches of ", patch_height, " x ", patch_width,
         "; height and width in pixels must be multiples of ", 8 * patch_height, " and ", 8 * patch_width);
  return (h / patch_height) * (w / patch_width);
}

WanConfig WanConfig::load(const std::filesystem::path& folder) {
  return from_json(JsonObject::load(folder / "config.json"));
}

WanConfig WanConfig::parse(const std::string& json_text, const std::string& where) {
  return from_json(JsonObject(where, Json::parse(json_text)));
}

std::string WanConfig::to_json() const {
  const Json json = {
      {"_class_name", "WanTransformer3DModel"},
      {"_diffusers_version", "0.35.0"},
      {"added_kv_proj_dim", nullptr},
      {"attention_head_dim", head_dim},
      {"cross_attn_norm", true},
      {"eps", double(eps) == double(1e-6f) ? 1e-6 : double(eps)},
      {"ffn_dim", ffn_dim},
      {"freq_dim", freq_dim},
      {"image_dim", nullptr},
      {"in_channels", in_channels},
      {"num_attention_heads", heads},
      {"num_layers", layers},
      {"out_channels", out_channels},
      {"patch_size", {1, patch_height, patch_width}},
      {"pos_embed_seq_len", nullptr},
      {"qk_norm", "rms_norm_across_heads"},
      {"rope_max_seq_len", rope_max_seq_len},
      {"text_dim", text_dim},
  };
  return json.dump(2) + "\n";
}

void WanConfig::validate(const std::string& where) const {
  const auto positive = [&](const char* key, int64_t value) {
    if (value <= 0 || value > (int64_t(1) << 31))
      fail(where, ": ", key, " is ", value, "; it must be positive");
  };
  positive("num_attention_heads", heads);
  positive("attention_head_dim", head_dim);
  positive("num_layers", layers);
  positive("ffn_dim", ffn_dim);
  positive("in_channels", in_channels);
  positive("out_channels", out_channels);
  positive("text_dim", text_dim);
  positive("freq_dim", freq_dim);
  positive("patch_size", patch_height);
  positive("patch_size", patch_width);
  positive("rope_max_seq_len", rope_max_seq_len);
  if (head_dim % 2)
    fail(where, ": attention_head_dim is ", head_dim, "; rotary embedding needs an even number");
  if (freq_dim % 2) fail(where, ": freq_dim is ", freq_dim, "; cos and sin halves need an even number");
  if (!(eps > 0)) fail(where, ": eps is ", eps, "; it must be positive");
}

ParameterLayout::ParameterLayout(const WanConfig& c) {
  const int64_t C = c.hidden();
  std::vector<int64_t> group_start;
  group_start.push_back(total_);
  add("patch_embedding.weight", {C, c.in_channels, 1, c.patch_height, c.patch_width});
  add("patch_embedding.bias", {C});
  add_linear("condition_embedder.time_embedder.linear_1", C, c.freq_dim);
  add_linear("condition_embedder.time_embedder.linear_2", C, C);
  add_linear("condition_embedder.time_proj", 6 * C, C);
  add_linear("condition_embedder.text_embedder.linear_1", C, c.text_dim);
  add_linear("condition_embedder.text_embedder.linear_2", C, C);
  for (int64_t i = 0; i < c.layers; ++i) {
    group_start.push_back(total_);
    const std::string block = cat("blocks.", i, ".");
    add(block + "scale_shift_table", {1, 6, C});
    for (const char* attention : {"attn1", "attn2"}) {
      const std::string prefix = block + attention;
      add_linear(prefix + ".to_q", C, C);
      add_linear(prefix + ".to_k", C, C);
      add_linear(prefix + ".to_v", C, C);
      add_linear(prefix + ".to_out.0", C, C);
      add(prefix + ".norm_q.weight", {C});
      add(prefix + ".norm_k.weight", {C});
    }
    add(block + "norm2.weight", {C});
    add(block + "norm2.bias", {C});
    add_linear(block + "ffn.net.0.proj", c.ffn_dim, C);
    add_linear(block + "ffn.net.2", C, c.ffn_dim);
  }
  group_start.push_back(total_);
  add("scale_shift_table", {1, 2, C});
  add_linear("proj_out", c.out_channels * c.patch_height * c.patch_width, C);
  group_start.push_back(total_);
  for (size_t i = group_start.size() - 1; i > 0; --i)
    gradient_order_.push_back({group_start[i - 1], group_start[i]});
}

void ParameterLayout::add(const std::string& name, std::vector<int64_t> shape) {
  int64_t size = 1;
  for (int64_t n : shape) size *= n;
  parameters_.push_back({name, std::move(shape), total_, size});
  total_ += size;
}

void ParameterLayout::add_linear(const std::string& name, int64_t out, int64_t in) {
  add(name + ".weight", {out, in});
  add(name + ".bias", {out});
}

const ParameterInfo& ParameterLayout::at(const std::string& name) const {
  for (const ParameterInfo& p : parameters_)
    if (p.name == name) return p;
  fail("the transformer has no parameter named ", name);
}

template <class T>
WanTensors<T>::WanTensors(const WanConfig& config, const ParameterLayout& layout, T* base)
    : WanTensors(config, layout, [base](const ParameterInfo& p) { return base + p.offset; }) {}

template <class T>
WanTensors<T>::WanTensors(const WanConfig& c, const ParameterLayout& layout,
                          const std::function<T*(const ParameterInfo&)>& at) {
  // The layout's own order, walked once: a name that is out of step is a programming error.
  size_t next = 0;
  const auto take = [&](const std::string& name) {
    const ParameterInfo& p = layout.parameters().at(next++);
    WD_REQUIRE(p.name == name);
    return at(p);
  };
  const auto linear = [&](const std::string& name) {
    T* weight = take(name + ".weight");
    return LinearTensors<T>{weight, take(name + ".bias")};
  };
  patch_embedding = linear("patch_embedding");
  time_in = linear("condition_embedder.time_embedder.linear_1");
  time_out = linear("condition_embedder.time_embedder.linear_2");
  time_proj = linear("condition_embedder.time_proj");
  text_in = linear("condition_embedder.text_embedder.linear_1");
  text_out = linear("condition_embedder.text_embedder.linear_2");
  for (int64_t i = 0; i < c.layers; ++i) {
    const std::string block = cat("blocks.", i, ".");
    BlockTensors<T>& b = blocks.emplace_back();
    b.scale_shift_table = take(block + "scale_shift_table");
    for (AttentionTensors<T>* a : {&b.self, &b.cross}) {
      const std::string prefix = block + (a == &b.self ? "attn1" : "attn2");
      a->q = linear(prefix + ".to_q");
      a->k = linear(prefix + ".to_k");
      a->v = linear(prefix + ".to_v");
      a->out = linear(prefix + ".to_out.0");
      a->norm_q = take(prefix + ".norm_q.weight");
      a->norm_k = take(prefix + ".norm_k.weight");
    }
    b.norm2_weight = take(block + "norm2.weight");
    b.norm2_bias = take(block + "norm2.bias");
    b.ffn_in = linear(block + "ffn.net.0.proj");
    b.ffn_out = linear(block + "ffn.net.2");
  }
  scale_shift_table = take("scale_shift_table");
  proj_out = linear("proj_out");
}

template struct WanTensors<const float>;
template struct WanTensors<float>;
template struct WanTensors<const bf16>;

}  // namespace wandistill
