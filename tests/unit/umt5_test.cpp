// The text encoder against the reference's numbers (tests/golden/make_golden.py).
#include "wandistill/umt5.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "wandistill/error.h"
#include "wandistill/h5.h"
#include "wandistill/json.h"

namespace fs = std::filesystem;
namespace wd = wandistill;

namespace {

const fs::path kFolder = "data/tiny-wan/text_encoder";

/// A copy of the component in a temporary folder, removed at the end.
struct Copy {
  fs::path folder = fs::temp_directory_path() / ("wandistill_umt5_test_" + std::to_string(::getpid()));
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
    wd::Umt5Encoder encoder(folder);
  } catch (const wd::Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("umt5: golden embeddings, and the same bits for any number of threads") {
  const wd::Umt5Encoder encoder(kFolder);
  const wd::H5File golden = wd::H5File::open_read("tests/golden/tiny-wan.h5");
  const auto [shape, ids] = golden.read<int32_t>("text/ids");
  const auto mask = golden.read<int32_t>("text/mask").second;
  const auto [embed_shape, expected] = golden.read<float>("text/embeds");
  const int64_t positions = shape[1], width = encoder.width();
  REQUIRE(embed_shape == wd::Shape{shape[0], positions, width});
  for (int64_t prompt = 0; prompt < shape[0]; ++prompt) {
    CAPTURE(prompt);
    const int32_t* first = mask.data() + prompt * positions;
    const int64_t n = std::count(first, first + positions, 1);
    const std::span<const int32_t> tokens(ids.data() + prompt * positions, n);
    std::vector<float> found(n * width, NAN), again = found;
    encoder.encode(tokens, found.data(), wd::Queue{1});
    encoder.encode(tokens, again.data(), wd::Queue{3});
    double error = 0, norm = 0;
    for (int64_t i = 0; i < n * width; ++i) {
      const double truth = expected[prompt * positions * width + i];
      error += std::pow(found[i] - truth, 2);
      norm += truth * truth;
    }
    REQUIRE(std::isfinite(error));
    CHECK(std::sqrt(error / norm) < 1e-5);
    CHECK(found == again);
  }
}

TEST_CASE("umt5: relative position buckets as T5 has them (32 buckets, distance 128)") {
  // distance: bucket, from the reference implementation; the far half of the range is logarithmic.
  const int64_t cases[][2] = {{0, 0},    {-1, 1},   {-7, 7},   {-8, 8},   {-11, 8},   {-12, 9},   {-15, 9},
                              {-16, 10}, {-22, 10}, {-23, 11}, {-31, 11}, {-32, 12},  {-45, 12},  {-46, 13},
                              {-63, 13}, {-64, 14}, {-90, 14}, {-91, 15}, {-127, 15}, {-128, 15}, {-511, 15},
                              {1, 17},   {7, 23},   {8, 24},   {127, 31}, {511, 31}};
  for (const auto& [distance, bucket] : cases) {
    CAPTURE(distance);
    CHECK(wd::relative_position_bucket(distance, 32, 128) == bucket);
  }
}

TEST_CASE("umt5: what does not fit is named") {
  Copy copy;
  CHECK(message(copy.folder) == "");
  SUBCASE("feed forward") {
    copy.set("feed_forward_proj", "relu");
    CHECK(message(copy.folder).find("feed_forward_proj") != std::string::npos);
  }
  SUBCASE("more layers than tensors") {
    copy.set("num_layers", 3);
    CHECK(message(copy.folder).find("encoder.block.2.") != std::string::npos);
  }
  SUBCASE("fewer layers than tensors") {
    copy.set("num_layers", 1);
    CHECK(message(copy.folder).find("encoder.block.1.") != std::string::npos);
  }
  SUBCASE("another vocabulary") {
    copy.set("vocab_size", 449);
    CHECK(message(copy.folder).find("[449, 96]") != std::string::npos);
  }
  SUBCASE("a token outside the vocabulary") {
    const wd::Umt5Encoder encoder(copy.folder);
    std::vector<float> out(2 * encoder.width());
    const std::vector<int32_t> ids{1, 448};
    CHECK_THROWS_WITH_AS(encoder.encode(ids, out.data(), wd::Queue{1}), doctest::Contains("token id 448"),
                         wd::Error);
  }
}
