#include "wandistill/model_folder.h"

#include <cstdlib>
#include <regex>
#include <vector>

#include "wandistill/error.h"
#include "wandistill/file.h"
#include "wandistill/json.h"

namespace wandistill {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

/// Where huggingface_hub keeps its downloads.
fs::path hub_cache() {
  if (const std::string cache = environment("HF_HUB_CACHE"); !cache.empty()) return cache;
  if (const std::string home = environment("HF_HOME"); !home.empty()) return fs::path(home) / "hub";
  if (const std::string cache = environment("XDG_CACHE_HOME"); !cache.empty())
    return fs::path(cache) / "huggingface" / "hub";
  return fs::path(environment("HOME")) / ".cache" / "huggingface" / "hub";
}

/// The snapshot of a repository that refs/main names, or else the only one; empty where there is none.
fs::path find_snapshot(const fs::path& repository) {
  const fs::path snapshots = repository / "snapshots";
  if (!fs::is_directory(snapshots)) return {};
  if (fs::is_regular_file(repository / "refs" / "main")) {
    std::string commit = read_file(repository / "refs" / "main");
    commit.erase(commit.find_last_not_of(" \r\n") + 1);
    if (!commit.empty() && fs::is_directory(snapshots / commit)) return snapshots / commit;
  }
  std::vector<fs::path> all;
  for (const auto& entry : fs::directory_iterator(snapshots))
    if (entry.is_directory()) all.push_back(entry.path());
  return all.size() == 1 ? all[0] : fs::path();
}

}  // namespace

fs::path resolve_model_folder(const std::string& name) {
  if (fs::is_directory(name)) return name;
  if (fs::exists(name)) fail(name, ": expected a model folder, found a file");
  static const std::regex kRepository("[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*");
  if (!std::regex_match(name, kRepository)) fail(name, ": there is no such model folder");

  std::string folder = "models--" + name;
  folder.replace(folder.find('/'), 1, "--");
  const fs::path repository = hub_cache() / folder, snapshot = find_snapshot(repository);
  if (!snapshot.empty()) return snapshot;
  fail(name, ": there is no such folder, and the Hugging Face cache has no snapshot of it in ",
       repository.string(),
       ".\nIf this is a model on the Hugging Face Hub, download it with\n    hf download ", name,
       " --local-dir ", name, "\nand start again.");
}

ModelIndex ModelIndex::load(const fs::path& folder) {
  const fs::path file = folder / "model_index.json";
  if (!fs::exists(file))
    fail(folder.string(), ": not a diffusers model folder: there is no model_index.json in it");
  const JsonObject json = JsonObject::load(file);
  ModelIndex index;
  index.folder = folder;
  index.pipeline_class = json.get_string("_class_name");
  if (index.pipeline_class != "WanPipeline")
    json.refuse("_class_name",
                "expected \"WanPipeline\" (text to video), found \"" + index.pipeline_class + "\"");
  if (json.get_bool_or("expand_timesteps", false))
    json.refuse("expand_timesteps",
                "this kind of model (Wan 2.2 5B, one timestep per token) is not supported");
  if (!json.is_null("boundary_ratio")) {
    index.boundary_ratio = json.get_double("boundary_ratio");
    if (*index.boundary_ratio < 0 || *index.boundary_ratio > 1)
      json.refuse("boundary_ratio", cat("expected 0 to 1, found ", *index.boundary_ratio));
  }
  if (!json.is_null("transformer_2")) {
    const Json& entry = json.json()["transformer_2"];
    index.has_transformer_2 = entry.is_array() && entry.size() == 2 && entry[1].is_string();
  }
  if (!json.is_null("_image_size")) {
    std::vector<int64_t> sides(2);
    if (json.json()["_image_size"].is_array())
      sides = json.get_ints("_image_size");
    else
      sides[0] = sides[1] = json.get_int("_image_size");
    if (sides.size() != 2 || sides[0] < 1 || sides[1] < 1)
      json.refuse("_image_size",
                  cat("expected pixels or [height, width], found ", json.json()["_image_size"].dump()));
    index.image_size.emplace(sides[0], sides[1]);
  }
  return index;
}

}  // namespace wandistill
