#include "wandistill/student_config.h"

#include <doctest/doctest.h>

#include "temporary_folder.h"
#include "wandistill/json.h"

namespace wandistill {
namespace {

using testing::check_mentions;
using testing::error_of;
using testing::TemporaryFolder;

/// The error of loading student_tiny.json after `change`, which the file's name has to begin.
template <class Change>
std::string load_error(Change&& change) {
  const TemporaryFolder folder;
  Json json = JsonObject::load("data/student_tiny.json").json();
  change(json);
  const auto file = testing::put(folder / "student.json", json.dump());
  const std::string error = error_of([&] { StudentConfig::load(file); });
  if (error != "no error") check_mentions(error, {file.string()});
  return error;
}

std::string error_with(const std::string& key, const Json& value) {
  return load_error([&](Json& json) { json[key] = value; });
}

}  // namespace

TEST_CASE("student config: the shipped ones") {
  const StudentConfig tiny = StudentConfig::load("data/student_tiny.json");
  const WanConfig wan = tiny.to_wan_config();
  CHECK(wan.hidden() == 128);
  CHECK(wan.head_dim == 64);
  CHECK(wan.layers == 4);
  CHECK(wan.ffn_dim == 384);
  CHECK(wan.in_channels == 16);
  CHECK(wan.out_channels == 16);
  CHECK(wan.text_dim == 96);
  CHECK(wan.freq_dim == 256);
  CHECK(wan.patch_height == 2);
  CHECK(wan.patch_width == 2);
  CHECK(tiny.image_height == 96);
  CHECK(tiny.image_width == 96);
  CHECK(tiny.projection_factor == 1.0);
  wan.validate("student_tiny.json");
  tiny.check_against_teacher(96, 16, 8);

  const StudentConfig large = StudentConfig::load("data/student_1024.json");
  CHECK(large.to_wan_config().hidden() == 1024);
  CHECK(large.to_wan_config().head_dim == 128);
  CHECK(large.to_wan_config().layers == 16);
  CHECK(large.to_wan_config().ffn_dim == 4096);
  large.check_against_teacher(4096, 16, 8);
}

TEST_CASE("student config: what may be left out, and sizes in other forms") {
  CHECK(load_error([](Json& json) {
          json.erase("projection_factor");
          json["image_size"] = {64, 96};
          json["mlp_ratio"] = 2.667;
        }) == "no error");
  const TemporaryFolder folder;
  Json json = JsonObject::load("data/student_tiny.json").json();
  json["image_size"] = {64, 96};
  json["mlp_ratio"] = 2.667;
  const StudentConfig config = StudentConfig::load(testing::put(folder / "s.json", json.dump()));
  CHECK(config.image_height == 64);
  CHECK(config.image_width == 96);
  CHECK(config.to_wan_config().ffn_dim == 341);  // 341.376
}

TEST_CASE("student config: wrong keys and sizes are refused by name") {
  check_mentions(error_with("hiden_size", 3), {"hiden_size", "hidden_size"});
  for (const char* key : {"hidden_size", "depth", "num_heads", "num_channels", "image_size", "patch_size",
                          "text_max_length", "text_encoder_output_dim", "mlp_ratio"}) {
    check_mentions(load_error([&](Json& json) { json.erase(key); }), {key, "missing"});
    check_mentions(error_with(key, "text"), {key, "expected"});
    check_mentions(error_with(key, 0), {key});
    check_mentions(error_with(key, -1), {key});
  }
  check_mentions(error_with("num_heads", 3), {"num_heads", "divide", "128"});
  check_mentions(error_with("num_heads", 128), {"num_heads", "even"});
  check_mentions(error_with("num_heads", 32), {"num_heads", "at least 6"});
  check_mentions(error_with("text_max_length", 256), {"text_max_length", "512"});
  check_mentions(error_with("projection_factor", 0), {"projection_factor", "positive"});
  check_mentions(error_with("freq_dim", 255), {"freq_dim", "even"});
  check_mentions(error_with("image_size", {96, 96, 96}), {"image_size", "[height, width]"});
  check_mentions(error_with("image_size", {96, 0}), {"image_size", "0"});
  check_mentions(error_with("depth", int64_t{1} << 40), {"depth", "out of range"});
}

TEST_CASE("student config: what does not fit the teacher is refused with what would") {
  StudentConfig config = StudentConfig::load("data/student_tiny.json");
  const auto error = [&](int64_t text_dim, int64_t channels, int64_t scale) {
    return error_of([&] { config.check_against_teacher(text_dim, channels, scale); });
  };
  check_mentions(error(4096, 16, 8), {"student_tiny.json", "text_encoder_output_dim", "96", "must be 4096"});
  check_mentions(error(96, 48, 8), {"num_channels", "must be 48"});
  check_mentions(error(96, 16, 64), {"image_size", "multiple of 128"});
  config.image_width = 100;
  check_mentions(error(96, 16, 8), {"image_size", "100", "multiple of 16"});
  config.image_width = 16 * 1025;
  check_mentions(error(96, 16, 8), {"image_size", "1025 patches", "1024"});
}

}  // namespace wandistill
