#include "wandistill/model_folder.h"

#include <cstdlib>

#include "temporary_folder.h"
#include "wandistill/file.h"

namespace wandistill::testing {
namespace {

namespace {

/// An environment variable set (or unset) for one test.
class Environment {
 public:
  Environment(const char* name, const std::string& value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    value.empty() ? ::unsetenv(name) : ::setenv(name, value.c_str(), 1);
  }
  ~Environment() { before_.empty() ? ::unsetenv(name_) : ::setenv(name_, before_.c_str(), 1); }

 private:
  const char* name_;
  std::string before_;
};

}  // namespace

TEST_CASE("model folder: a folder is itself, a Hub name is found in the cache") {
  const TemporaryFolder home;
  const Environment hub("HF_HUB_CACHE", ""), hf("HF_HOME", ""), xdg("XDG_CACHE_HOME", ""),
      user("HOME", home.path().string());
  CHECK(resolve_model_folder("data/tiny-wan") == "data/tiny-wan");
  const std::string name = "Wan-AI/Wan2.2-T2V-A14B-Diffusers",
                    folder = "models--Wan-AI--Wan2.2-T2V-A14B-Diffusers";
  check_mentions(
      error_of([&] { resolve_model_folder(name); }),
      {name, (home / ".cache/huggingface/hub").string(), "hf download " + name + " --local-dir " + name});

  const auto in_home = home / (".cache/huggingface/hub/" + folder);
  make_directories(in_home / "snapshots/abc");
  CHECK(resolve_model_folder(name) == in_home / "snapshots/abc");
  make_directories(in_home / "snapshots/def");
  make_directories(in_home / "refs");
  check_mentions(error_of([&] { resolve_model_folder(name); }), {"hf download"});
  put(in_home / "refs/main", "def\n");
  CHECK(resolve_model_folder(name) == in_home / "snapshots/def");

  const Environment other("HF_HOME", (home / "hf").string());
  make_directories(home / ("hf/hub/" + folder + "/snapshots/1"));
  CHECK(resolve_model_folder(name) == home / ("hf/hub/" + folder + "/snapshots/1"));
  const Environment cache("HF_HUB_CACHE", (home / "cache").string());
  make_directories(home / ("cache/" + folder + "/snapshots/2"));
  CHECK(resolve_model_folder(name) == home / ("cache/" + folder + "/snapshots/2"));
}

TEST_CASE("model folder: other names are refused") {
  const TemporaryFolder folder;
  check_mentions(error_of([&] { resolve_model_folder((folder / "none").string()); }),
                 {"/none", "no such model folder"});
  check_mentions(error_of([] { resolve_model_folder(""); }), {"no such model folder"});
  put(folder / "file", "");
  check_mentions(error_of([&] { resolve_model_folder((folder / "file").string()); }), {"found a file"});
}

TEST_CASE("model index: the embedded teacher and variations") {
  const ModelIndex teacher = ModelIndex::load("data/tiny-wan");
  CHECK(teacher.boundary_ratio == 0.875);
  CHECK(teacher.has_transformer_2);
  CHECK(teacher.image_size == std::pair<int64_t, int64_t>(96, 96));
  CHECK(teacher.pipeline_class == "WanPipeline");

  const TemporaryFolder folder;
  const auto load = [&](const std::string& rest) {
    put(folder / "model_index.json", "{\"_class_name\": \"WanPipeline\"" + rest + "}");
    return ModelIndex::load(folder.path());
  };
  const ModelIndex single = load(R"(, "boundary_ratio": null, "transformer_2": [null, null])");
  CHECK_FALSE(single.boundary_ratio.has_value());
  CHECK_FALSE(single.has_transformer_2);
  CHECK_FALSE(single.image_size.has_value());
  CHECK_FALSE(load("").boundary_ratio.has_value());
  check_mentions(error_of([&] { load(R"(, "boundary_ratio": 900)"); }),
                 {"model_index.json: 'boundary_ratio'", "0 to 1", "900"});
  check_mentions(error_of([&] { load(R"(, "boundary_ratio": "x")"); }),
                 {"'boundary_ratio'", "expected a number"});
  check_mentions(error_of([&] { load(R"(, "_image_size": 0)"); }), {"'_image_size'", "found 0"});
  check_mentions(error_of([&] { load(R"(, "expand_timesteps": true)"); }),
                 {"'expand_timesteps'", "not supported"});
  put(folder / "model_index.json", R"({"_class_name": "FluxPipeline"})");
  check_mentions(error_of([&] { ModelIndex::load(folder.path()); }),
                 {"'_class_name'", "WanPipeline", "FluxPipeline"});
  check_mentions(error_of([] { ModelIndex::load("data"); }), {"data", "no model_index.json"});
}

}  // namespace
}  // namespace wandistill::testing
