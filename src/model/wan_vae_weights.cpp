#include "src/model/wan_vae_weights.h"

#include <algorithm>
#include <set>
#include <utility>

#include "src/model/wan_vae_dtype.h"
#include "wandistill/error.h"

namespace wandistill {
namespace {

/// Reads layers and keeps count of what it read. Without files only their sizes are noted.
class Reader {
 public:
  Reader(const std::filesystem::path& folder, VaeDtype dtype, const Compute& compute)
      : files_(std::in_place, folder, "diffusion_pytorch_model"), dtype_(dtype), compute_(compute) {}
  explicit Reader(std::vector<TensorSpec>* tensors)
      : dtype_(VaeDtype::kFloat32), compute_(Queue{1}), tensors_(tensors) {}

  Buffer<float> values(const std::string& name, const Shape& shape) {
    if (tensors_) tensors_->push_back({name, shape});
    if (!files_) return {};
    Buffer<float> read(element_count(shape));
    files_->read(name, shape, read.data());
    round_to(dtype_, read.size(), read.data(), {1});
    known_.insert(name);
    return read;
  }
  OpTensor tensor(const std::string& name, const Shape& shape) { return placed(values(name, shape)); }

  /// `frames` temporal taps (0: a 2-D convolution) of which the last is kept; the outputs in `parts`.
  std::vector<VaeConv> convs(const std::string& name, int64_t c_in, int64_t c_out, int64_t kernel,
                             int64_t frames, bool upsample, int64_t parts) {
    Shape shape{c_out, c_in};
    if (frames > 0) shape.push_back(frames);
    shape.insert(shape.end(), {kernel, kernel});
    const Buffer<float> all = values(name + ".weight", shape);
    const Buffer<float> bias = values(name + ".bias", {c_out});
    if (!files_) {
      std::vector<VaeConv> sizes;
      for (int64_t i = 0; i < parts; ++i)
        sizes.push_back({c_in, c_out / parts, kernel, upsample, OpTensor(), OpTensor()});
      return sizes;
    }
    Buffer<float> weight(kernel * kernel * c_in * c_out);
    const int64_t taps = kernel * kernel, stride = std::max<int64_t>(frames, 1) * taps;
    for (int64_t o = 0; o < c_out; ++o) {
      for (int64_t c = 0; c < c_in; ++c) {
        const float* last = all.data() + (o * c_in + c + 1) * stride - taps;
        for (int64_t tap = 0; tap < taps; ++tap) weight[(tap * c_in + c) * c_out + o] = last[tap];
      }
    }
    // Side by side as `parts` convolutions.
    std::vector<VaeConv> convs;
    const int64_t rows = taps * c_in, width = c_out / parts;
    for (int64_t begin = 0; begin < c_out; begin += width) {
      Buffer<float> part(rows * width);
      for (int64_t r = 0; r < rows; ++r)
        std::copy_n(weight.data() + r * c_out + begin, width, part.data() + r * width);
      convs.push_back({c_in, width, kernel, upsample, placed(std::move(part)),
                       placed(Buffer<float>::copy_of(bias.data() + begin, width))});
    }
    return convs;
  }
  VaeConv conv(const std::string& name, int64_t c_in, int64_t c_out, int64_t kernel, int64_t frames,
               bool upsample = false) {
    return std::move(convs(name, c_in, c_out, kernel, frames, upsample, 1).front());
  }

  VaeResidualBlock residual_block(const std::string& name, int64_t c_in, int64_t c_out) {
    VaeResidualBlock block;
    block.norm1 = tensor(name + ".norm1.gamma", {c_in, 1, 1, 1});
    block.conv1 = conv(name + ".conv1", c_in, c_out, 3, 3);
    block.norm2 = tensor(name + ".norm2.gamma", {c_out, 1, 1, 1});
    block.conv2 = conv(name + ".conv2", c_out, c_out, 3, 3);
    if (c_in != c_out) block.shortcut = conv(name + ".conv_shortcut", c_in, c_out, 1, 1);
    return block;
  }

  void refuse_unknown() const { files_->refuse_unknown(known_, vae_tensor_unused); }

 private:
  OpTensor placed(Buffer<float> read) const {
    if (!files_) return {};
    return {compute_, dtype_ == VaeDtype::kBfloat16 ? Dtype::kBfloat16 : Dtype::kFloat32, std::move(read)};
  }

  std::optional<SafetensorsFolder> files_;
  VaeDtype dtype_;
  const Compute compute_;
  std::vector<TensorSpec>* tensors_ = nullptr;
  std::set<std::string> known_;
};

void read_layers(const WanVaeConfig& config, Reader& reader, WanVaeWeights& w) {
  const std::vector<int64_t> mult(config.dim_mult.rbegin(), config.dim_mult.rend());
  const int64_t levels = static_cast<int64_t>(mult.size()), middle = config.base_dim * mult[0];
  const std::string mid = "decoder.mid_block.", attention = mid + "attentions.0.";

  w.post_quant_conv = reader.conv("post_quant_conv", config.z_dim, config.z_dim, 1, 1);
  w.conv_in = reader.conv("decoder.conv_in", config.z_dim, middle, 3, 3);
  w.before_attention = reader.residual_block(mid + "resnets.0", middle, middle);
  w.attention_norm = reader.tensor(attention + "norm.gamma", {middle, 1, 1});
  std::vector<VaeConv> qkv = reader.convs(attention + "to_qkv", middle, 3 * middle, 1, 0, false, 3);
  w.q = std::move(qkv[0]);
  w.k = std::move(qkv[1]);
  w.v = std::move(qkv[2]);
  w.attention_out = reader.conv(attention + "proj", middle, middle, 1, 0);
  w.after_attention = reader.residual_block(mid + "resnets.1", middle, middle);

  int64_t channels = middle;
  for (int64_t i = 0; i < levels; ++i) {
    const std::string name = cat("decoder.up_blocks.", i, ".");
    const int64_t out = config.base_dim * mult[i];
    VaeUpBlock block;
    for (int64_t r = 0; r <= config.num_res_blocks; ++r) {
      block.resnets.push_back(reader.residual_block(cat(name, "resnets.", r), channels, out));
      channels = out;
    }
    if (i + 1 < levels) {
      block.upsampler = reader.conv(name + "upsamplers.0.resample.1", channels, channels / 2, 3, 0, true);
      channels /= 2;
    }
    w.up_blocks.push_back(std::move(block));
  }
  w.norm_out = reader.tensor("decoder.norm_out.gamma", {channels, 1, 1, 1});
  w.conv_out = reader.conv("decoder.conv_out", channels, 3, 3, 3);
}

}  // namespace

WanVaeWeights::WanVaeWeights(const std::filesystem::path& folder, const WanVaeConfig& config, VaeDtype dtype,
                             const Compute& compute) {
  Reader reader(folder, dtype, compute);
  read_layers(config, reader, *this);
  reader.refuse_unknown();
}

WanVaeWeights::WanVaeWeights(const WanVaeConfig& config, std::vector<TensorSpec>* tensors) {
  Reader reader(tensors);
  read_layers(config, reader, *this);
}

}  // namespace wandistill
