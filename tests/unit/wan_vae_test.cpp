// The VAE decoder against the reference's numbers (tests/golden/make_golden.py).
#include "wandistill/wan_vae.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "wandistill/error.h"
#include "wandistill/h5.h"
#include "wandistill/json.h"
#include "wandistill/safetensors.h"

namespace fs = std::filesystem;
namespace wd = wandistill;

namespace {

const fs::path kFolder = "data/tiny-wan/vae";

/// A copy of the component in a temporary folder, removed at the end.
struct Copy {
  fs::path folder = fs::temp_directory_path() / ("wandistill_vae_test_" + std::to_string(::getpid()));
  Copy() {
    fs::remove_all(folder);
    fs::copy(kFolder, folder, fs::copy_options::recursive);
  }
  ~Copy() { fs::remove_all(folder); }
  void set(const std::string& key, const wd::Json& value) {
    std::ifstream in(folder / "config.json");
    wd::Json config = wd::Json::parse(in);
    config[key] = value;
    std::ofstream(folder / "config.json") << config;
  }
};

std::string message(const fs::path& folder) {
  try {
    wd::WanVaeDecoder decoder(folder);
  } catch (const wd::Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("wan_vae: golden pictures, and the same bits for any number of threads") {
  const wd::WanVaeDecoder decoder(kFolder);
  const wd::H5File golden = wd::H5File::open_read("tests/golden/tiny-wan.h5");
  const auto [shape, latents] = golden.read<float>("vae/latents");
  const auto [image_shape, expected] = golden.read<float>("vae/image");
  const int64_t h = shape[3], w = shape[4], scale = decoder.config().scale();
  REQUIRE(shape == wd::Shape{shape[0], decoder.config().z_dim, 1, h, w});
  REQUIRE(image_shape == wd::Shape{shape[0], 3, scale * h, scale * w});
  const int64_t per_latent = decoder.config().z_dim * h * w, per_image = 3 * scale * h * scale * w;
  for (int64_t b = 0; b < shape[0]; ++b) {
    CAPTURE(b);
    std::vector<float> found(per_image, NAN), again = found;
    decoder.decode(latents.data() + b * per_latent, h, w, found.data(), wd::Queue{1});
    decoder.decode(latents.data() + b * per_latent, h, w, again.data(), wd::Queue{3});
    double error = 0, norm = 0;
    for (int64_t i = 0; i < per_image; ++i) {
      const double truth = expected[b * per_image + i];
      error += std::pow(found[i] - truth, 2);
      norm += truth * truth;
    }
    REQUIRE(std::isfinite(error));
    CHECK(std::sqrt(error / norm) < 1e-5);
    CHECK(found == again);
  }
}

TEST_CASE("wan_vae: one latent and odd, non-square latents decode") {
  const wd::WanVaeDecoder decoder(kFolder);
  for (const auto& [h, w] : {std::pair<int64_t, int64_t>{1, 1}, {5, 7}, {3, 17}}) {
    const std::vector<float> latents(16 * h * w, 0.5f);
    std::vector<float> image(3 * 64 * h * w + 1, NAN);
    image.back() = 7.0f;
    decoder.decode(latents.data(), h, w, image.data(), wd::Queue{2});
    CHECK(
        std::all_of(image.begin(), image.end() - 1, [](float x) { return std::abs(x) <= 1.0f; }));  // no NaN
    CHECK(image.back() == 7.0f);
  }
}

TEST_CASE("wan_vae: latent normalisation, both ways") {
  const wd::WanVaeConfig config = wd::WanVaeConfig::load(kFolder);
  const int64_t h = 5, w = 7, n = config.z_dim * h * w;
  std::mt19937 engine(1);
  std::normal_distribution<float> gauss;
  std::vector<float> latents(n), unit(n), back(n);
  for (float& x : latents) x = gauss(engine);
  wd::normalise_latents(config, h, w, latents.data(), unit.data());
  CHECK(unit[3 * h * w + 4] == doctest::Approx((latents[3 * h * w + 4] + 0.1073) / 0.5269).epsilon(1e-6));
  wd::denormalise_latents(config, h, w, unit.data(), back.data());
  for (int64_t i = 0; i < n; ++i) CHECK(back[i] == doctest::Approx(latents[i]).epsilon(1e-5));
}

TEST_CASE("wan_vae: what does not fit is named") {
  Copy copy;
  CHECK(message(copy.folder) == "");
  SUBCASE("residual") {
    copy.set("is_residual", true);
    CHECK(message(copy.folder).find("is_residual") != std::string::npos);
  }
  SUBCASE("patches") {
    copy.set("patch_size", 2);
    CHECK(message(copy.folder).find("patch_size") != std::string::npos);
  }
  SUBCASE("unknown key") {
    copy.set("base_dimm", 2);
    CHECK(message(copy.folder).find("base_dimm") != std::string::npos);
  }
  SUBCASE("scale") {
    copy.set("scale_factor_spatial", 16);
    CHECK(message(copy.folder).find("scale_factor_spatial") != std::string::npos);
  }
  SUBCASE("means") {
    copy.set("latents_mean", {0.0, 1.0});
    CHECK(message(copy.folder).find("latents_mean") != std::string::npos);
  }
  SUBCASE("another width") {
    copy.set("base_dim", 32);
    CHECK(message(copy.folder).find("expected shape [128, 16, 3, 3, 3], found") != std::string::npos);
  }
  SUBCASE("more layers than tensors") {
    copy.set("num_res_blocks", 2);
    CHECK(message(copy.folder).find("decoder.up_blocks.0.resnets.2") != std::string::npos);
  }
  SUBCASE("a tensor nobody knows") {
    wd::SafetensorsFolder files(kFolder, "diffusion_pytorch_model");
    std::vector<std::vector<float>> data;
    std::vector<wd::NamedTensor> tensors;
    for (const auto& [name, info] : files.tensors()) {
      data.emplace_back(wd::element_count(info.shape));
      files.read(name, info.shape, data.back().data());
      tensors.push_back({name, info.shape, data.back().data()});
    }
    tensors.push_back({"decoder.surprise.weight", {1}, data[0].data()});
    wd::write_safetensors(copy.folder / "diffusion_pytorch_model.safetensors", tensors);
    CHECK(message(copy.folder).find("decoder.surprise.weight") != std::string::npos);
  }
}
