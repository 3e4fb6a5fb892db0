// Decoding in strips and bands: the same bits as the whole picture, in the memory that was announced.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <new>
#include <random>
#include <vector>

#include "tests/unit/op_compare.h"
#include "tests/unit/temporary_folder.h"
#include "wandistill/json.h"
#include "wandistill/safetensors.h"
#include "wandistill/sampler.h"
#include "wandistill/wan_vae.h"

namespace wd = wandistill;
using wd::op_test::normal;

namespace {

// Buffers are the only users of aligned allocation: what they hold now, and the most since reset.
std::atomic<int64_t> held, most;
constexpr size_t kHeader = 64;

void reset_peak() {
  most = held.load();
}

}  // namespace

void* operator new(size_t size, std::align_val_t) {
  char* block = static_cast<char*>(std::aligned_alloc(64, kHeader + (size + 63) / 64 * 64));
  if (block == nullptr) throw std::bad_alloc();
  *reinterpret_cast<size_t*>(block) = size;
  const int64_t now = held += static_cast<int64_t>(size);
  for (int64_t seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
  }
  return block + kHeader;
}

void operator delete(void* p, std::align_val_t) noexcept {
  if (p == nullptr) return;
  char* block = static_cast<char*>(p) - kHeader;
  held -= static_cast<int64_t>(*reinterpret_cast<size_t*>(block));
  std::free(block);
}

void operator delete(void* p, size_t, std::align_val_t alignment) noexcept {
  ::operator delete(p, alignment);
}

namespace {

/// A VAE of random weights, with other levels and depths than the embedded one's.
class RandomVae {
 public:
  RandomVae(int64_t base_dim, const std::vector<int64_t>& dim_mult, int64_t num_res_blocks) {
    wd::Json config{{"base_dim", base_dim},
                    {"dim_mult", dim_mult},
                    {"num_res_blocks", num_res_blocks},
                    {"z_dim", kLatents},
                    {"latents_mean", std::vector<double>(kLatents, 0.1)},
                    {"latents_std", std::vector<double>(kLatents, 1.5)},
                    {"scale_factor_spatial", 1 << (dim_mult.size() - 1)}};
    wd::testing::put(folder_ / "config.json", config.dump());
    const int64_t middle = base_dim * dim_mult.back();
    conv("post_quant_conv", {kLatents, kLatents, 1, 1, 1});
    conv("decoder.conv_in", {middle, kLatents, 3, 3, 3});
    const std::string mid = "decoder.mid_block.";
    for (const char* name : {"resnets.0", "resnets.1"}) residual_block(mid + name, middle, middle);
    add(mid + "attentions.0.norm.gamma", {middle, 1, 1});
    conv(mid + "attentions.0.to_qkv", {3 * middle, middle, 1, 1});
    conv(mid + "attentions.0.proj", {middle, middle, 1, 1});
    int64_t channels = middle;
    for (size_t i = 0; i < dim_mult.size(); ++i) {
      const std::string block = "decoder.up_blocks." + std::to_string(i) + ".";
      const int64_t out = base_dim * dim_mult[dim_mult.size() - 1 - i];
      for (int64_t r = 0; r <= num_res_blocks; ++r, channels = out)
        residual_block(block + "resnets." + std::to_string(r), channels, out);
      if (i + 1 == dim_mult.size()) continue;
      conv(block + "upsamplers.0.resample.1", {channels / 2, channels, 3, 3});
      channels /= 2;
    }
    add("decoder.norm_out.gamma", {channels, 1, 1, 1});
    conv("decoder.conv_out", {3, channels, 3, 3, 3});
    std::vector<wd::NamedTensor> tensors;
    for (size_t i = 0; i < names_.size(); ++i) tensors.push_back({names_[i], shapes_[i], data_[i].data()});
    wd::write_safetensors(folder_ / "diffusion_pytorch_model.safetensors", tensors);
  }
  const std::filesystem::path& folder() const { return folder_.path(); }

 private:
  static constexpr int64_t kLatents = 4;

  void add(const std::string& name, const wd::Shape& shape, float scale = 1) {
    names_.push_back(name);
    shapes_.push_back(shape);
    data_.push_back(normal(wd::element_count(shape), uint32_t(data_.size())));
    for (float& x : data_.back()) x *= scale;
  }
  void conv(const std::string& name, const wd::Shape& shape) {
    add(name + ".weight", shape, 1 / std::sqrt(float(9 * shape[1])));
    add(name + ".bias", {shape[0]}, 0.1f);
  }
  void residual_block(const std::string& name, int64_t c_in, int64_t c_out) {
    add(name + ".norm1.gamma", {c_in, 1, 1, 1});
    conv(name + ".conv1", {c_out, c_in, 3, 3, 3});
    add(name + ".norm2.gamma", {c_out, 1, 1, 1});
    conv(name + ".conv2", {c_out, c_out, 3, 3, 3});
    if (c_in != c_out) conv(name + ".conv_shortcut", {c_out, c_in, 1, 1, 1});
  }

  wd::testing::TemporaryFolder folder_;
  std::vector<std::string> names_;
  std::vector<wd::Shape> shapes_;
  std::vector<std::vector<float>> data_;
};

/// Bands of some picture in strips, against the picture as a whole.
void check_bands(const wd::WanVaeDecoder& decoder, int64_t h, int64_t w) {
  const int64_t scale = decoder.config().scale(), row = scale * scale * w;  // pixels of one latent row
  const std::vector<float> latents = normal(decoder.config().z_dim * h * w, 7);
  std::vector<float> whole(3 * h * row, NAN);
  decoder.decode(latents.data(), h, w, whole.data(), wd::Queue{2});
  REQUIRE(std::ranges::all_of(whole, [](float x) { return std::isfinite(x); }));
  REQUIRE(std::ranges::any_of(whole, [](float x) { return std::abs(x) < 1; }));
  for (int64_t begin = 0; begin < h; ++begin) {
    for (const int64_t end : {begin + 1, begin + (h - begin + 1) / 2, h}) {
      for (const int64_t strip : {0, 1, 3}) {
        CAPTURE(begin);
        CAPTURE(end);
        CAPTURE(strip);
        const int64_t pixels = (end - begin) * row;
        std::vector<float> band(3 * pixels + 1, NAN);
        band.back() = wd::op_test::kGuard;
        decoder.decode_rows(latents.data(), h, w, begin, end, strip, band.data(), wd::Queue{1});
        for (int64_t c = 0; c < 3; ++c) {
          CHECK(std::equal(&band[c * pixels], &band[(c + 1) * pixels], &whole[(c * h + begin) * row]));
        }
        CHECK(band.back() == wd::op_test::kGuard);
      }
    }
  }
}

}  // namespace

TEST_CASE("wan_vae strips: bands in strips have the picture's bits") {
  SUBCASE("the embedded VAE") {
    check_bands(wd::WanVaeDecoder("data/tiny-wan/vae"), 7, 3);
  }
  SUBCASE("bfloat16") {
    check_bands(wd::WanVaeDecoder("data/tiny-wan/vae", wd::VaeDtype::kBfloat16), 5, 1);
  }
  SUBCASE("two levels, three residual blocks in each") {
    check_bands(wd::WanVaeDecoder(RandomVae(6, {1, 3}, 2).folder()), 17, 5);
  }
  SUBCASE("three levels, two residual blocks in each") {
    check_bands(wd::WanVaeDecoder(RandomVae(10, {2, 1, 1}, 1).folder()), 5, 7);
  }
  SUBCASE("one level, nothing upsampled") {
    check_bands(wd::WanVaeDecoder(RandomVae(7, {1}, 1).folder()), 5, 77);
  }
}

TEST_CASE("wan_vae strips: decode_peak_bytes is what is allocated") {
  const wd::WanVaeDecoder decoder("data/tiny-wan/vae");
  const int64_t w = 9;
  // The trunk's attention weighs most in the last two.
  for (const auto& [h, begin, end, strip] : {std::array<int64_t, 4>{1, 0, 1, 0},
                                             {12, 0, 12, 0},
                                             {33, 3, 30, 5},
                                             {33, 0, 33, 16},
                                             {33, 16, 17, 0},
                                             {77, 0, 77, 1},
                                             {129, 60, 64, 2}}) {
    for (const int threads : {1, 3}) {
      CAPTURE(h);
      CAPTURE(strip);
      CAPTURE(threads);
      const int64_t scale = decoder.config().scale();
      const std::vector<float> latents = normal(decoder.config().z_dim * h * w, 1);
      std::vector<float> image(3 * scale * scale * (end - begin) * w);
      const int64_t announced = decoder.decode_peak_bytes(h, w, end - begin, strip, threads);
      reset_peak();
      const int64_t before = held;
      decoder.decode_rows(latents.data(), h, w, begin, end, strip, image.data(), wd::Queue{threads});
      CHECK(held == before);
      CHECK(most - before <= announced);
      // Not every thread need have held a tile at the same time; a band at the border has fewer rows.
      CHECK(most - before >= announced * 9 / 10 - 150'000 * (threads - 1));
    }
  }
}

TEST_CASE("wan_vae strips: strip_rows") {
  const wd::WanVaeDecoder decoder("data/tiny-wan/vae");
  const int64_t h = 77, w = 50;
  const auto peak = [&](int64_t strip) { return decoder.decode_peak_bytes(h, w, h, strip, 2); };
  CHECK(decoder.strip_rows(h, w, peak(h), 2) == h);
  CHECK(decoder.strip_rows(h, w, INT64_MAX, 2) == h);
  for (const int64_t strip : {20, 40, 76}) {
    REQUIRE(peak(strip) > peak(strip - 1));
    CHECK(decoder.strip_rows(h, w, peak(strip), 2) == strip);
    CHECK(decoder.strip_rows(h, w, peak(strip) - 1, 2) == strip - 1);
  }
  const int64_t smallest = decoder.strip_rows(h, w, 1, 2);
  CHECK(peak(smallest) == peak(1));
  CHECK(peak(smallest + 1) > peak(1));
}

TEST_CASE("wan_vae strips: bands of bytes make up the picture") {
  const wd::WanVaeDecoder decoder("data/tiny-wan/vae");
  const int64_t h = 7, w = 5;
  const std::vector<float> latents = normal(decoder.config().z_dim * h * w, 2);
  const wd::Image whole = wd::decode_picture(decoder, latents.data(), h, w, wd::Queue{2}).value();
  CHECK(whole.width == 40);
  CHECK(whole.height == 56);
  CHECK(wd::decode_picture(decoder, latents.data(), h, w, wd::Queue{1}, 3).value().rgb == whole.rgb);
  std::vector<uint8_t> joined;
  for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 3}, {3, 3}, {3, 7}}) {
    const auto band =
        wd::decode_picture_rows(decoder, latents.data(), h, w, begin, end, wd::Queue{1}, 2).value();
    joined.insert(joined.end(), band.begin(), band.end());
  }
  CHECK(joined == whole.rgb);
}

TEST_CASE("wan_vae strips: asked to stop") {
  const wd::WanVaeDecoder decoder("data/tiny-wan/vae");
  const int64_t h = 7, w = 5;
  const wd::WanVaeConfig& config = decoder.config();
  const std::vector<float> latents = normal(config.z_dim * h * w, 4);
  const wd::Image whole = wd::decode_picture(decoder, latents.data(), h, w, wd::Queue{2}).value();
  // The input's convolutions, the middle block's three parts, the up blocks' residual blocks and upsamplers,
  // the output; behind the first level's residual blocks all of it once per strip.
  const int64_t levels = static_cast<int64_t>(config.dim_mult.size()), blocks = config.num_res_blocks + 1;
  const int64_t once = 4 + blocks, each = (levels - 1) * (blocks + 1) + 1;
  for (const int64_t strip : {0, 3}) {
    CAPTURE(strip);
    int64_t asked = 0, stop_at = -1;
    const auto stop = [&] { return ++asked == stop_at; };
    const auto decode = [&] {
      asked = 0;
      return wd::decode_picture(decoder, latents.data(), h, w, wd::Queue{2}, strip, stop);
    };
    CHECK(decode().value().rgb == whole.rgb);
    const int64_t all = asked;
    CHECK(all == once + (strip == 0 ? 1 : 3) * each);
    for (stop_at = 1; stop_at <= all; ++stop_at) {
      CAPTURE(stop_at);
      const int64_t before = held;
      CHECK_FALSE(decode().has_value());
      CHECK(asked == stop_at);
      CHECK(held == before);
    }
  }
}

TEST_CASE("wan_vae dtype: what 16 bits cost") {
  const wd::WanVaeDecoder exact("data/tiny-wan/vae");
  const int64_t h = 12, w = 12, values = 3 * 64 * h * w;
  std::vector<float> latents = normal(exact.config().z_dim * h * w, 3), expected(values), found(values);
  const std::vector<uint8_t> grey = wd::decode_picture(exact, latents.data(), h, w, wd::Queue{1}).value().rgb;
  struct Bound {
    wd::VaeDtype dtype;
    double least, relative;  // relative L2 error: at least (else nothing was rounded) and at most
    int levels;              // of 255
  };
  for (const auto& [dtype, least, relative, levels] :
       {Bound{wd::VaeDtype::kBfloat16, 2e-3, 1.5e-2, 8}, Bound{wd::VaeDtype::kFloat16, 2e-4, 1.6e-3, 2}}) {
    const wd::WanVaeDecoder decoder("data/tiny-wan/vae", dtype);
    const std::vector<uint8_t> rgb =
        wd::decode_picture(decoder, latents.data(), h, w, wd::Queue{1}).value().rgb;
    int worst = 0;
    for (size_t i = 0; i < rgb.size(); ++i) worst = std::max(worst, std::abs(rgb[i] - grey[i]));
    CHECK(worst <= levels);
    std::vector<float> z(latents.size());
    wd::denormalise_latents(exact.config(), h, w, latents.data(), z.data());
    exact.decode(z.data(), h, w, expected.data(), wd::Queue{1});
    decoder.decode(z.data(), h, w, found.data(), wd::Queue{1});
    double error = 0, norm = 0;
    for (int64_t i = 0; i < values; ++i) {
      error += std::pow(double{found[i]} - expected[i], 2);
      norm += std::pow(double{expected[i]}, 2);
    }
    const double measured = std::sqrt(error / norm);
    REQUIRE(std::isfinite(measured));
    CHECK(measured <= relative);
    CHECK(measured >= least);
  }
}

TEST_CASE("wan_vae dtype: names, and overflow") {
  using wd::testing::check_mentions;
  using wd::testing::error_of;
  CHECK(wd::parse_vae_dtype("float32") == wd::VaeDtype::kFloat32);
  CHECK(wd::parse_vae_dtype("bfloat16") == wd::VaeDtype::kBfloat16);
  CHECK(wd::parse_vae_dtype("float16") == wd::VaeDtype::kFloat16);
  check_mentions(error_of([] { wd::parse_vae_dtype("fp16"); }), {"fp16", "float32", "bfloat16", "float16"});

  // Within float16 as latents, beyond it behind the first convolutions.
  const std::vector<float> large(16 * 3 * 3, 60'000.0f);
  const auto decode = [&](wd::VaeDtype dtype, const std::vector<float>& latents) {
    std::vector<float> image(3 * 24 * 24);
    return error_of([&] {
      wd::WanVaeDecoder("data/tiny-wan/vae", dtype).decode(latents.data(), 3, 3, image.data(), wd::Queue{1});
    });
  };
  check_mentions(decode(wd::VaeDtype::kFloat16, large), {"not finite in float16", "bfloat16 or float32"});
  CHECK(decode(wd::VaeDtype::kBfloat16, large) == "no error");
  CHECK(decode(wd::VaeDtype::kFloat32, large) == "no error");
  std::vector<float> broken(16 * 3 * 3, 0.5f);
  broken[17] = NAN;
  check_mentions(decode(wd::VaeDtype::kFloat32, broken), {"not finite in float32", "latents"});
}
