#include <algorithm>
#include <cstdio>
#include <optional>
#include <set>

#include "wandistill/error.h"
#include "wandistill/inspect.h"
#include "wandistill/json.h"
#include "wandistill/model_folder.h"
#include "wandistill/safetensors.h"

namespace wandistill {
namespace {

namespace fs = std::filesystem;

/// 1234567 as "1,234,567".
std::string grouped(int64_t value) {
  std::string text = std::to_string(value);
  for (size_t i = text.size(); i > 3; i -= 3) text.insert(i - 3, ",");
  return text;
}

std::string padded(std::string text, size_t width) {
  if (text.size() < width) text.resize(width, ' ');
  return text + "  ";
}

/// "key: value" pairs in lines of at most 100 columns; null values and the writer's remarks ("_...") are left
/// out.
std::string describe_config(const fs::path& file) {
  constexpr size_t kWidth = 100;
  const JsonObject config = JsonObject::load(file);
  std::string text, line;
  for (const auto& [key, value] : config.json().items()) {
    if (key.starts_with("_") || value.is_null()) continue;
    std::string item = value.is_string() ? value.get<std::string>() : value.dump();
    if (item.size() > 60) item = item.substr(0, 57) + "...";
    item = key + " " + item;
    if (!line.empty() && line.size() + 2 + item.size() > kWidth - 2) {
      text += "  " + line + ",\n";
      line.clear();
    }
    line += (line.empty() ? "" : ", ") + item;
  }
  return text + "  " + line + "\n";
}

/// The weights of a component, or nothing where it has none.
std::optional<SafetensorsFolder> open_weights(const fs::path& folder) {
  for (const char* stem : {"diffusion_pytorch_model", "model"})
    for (const char* end : {".safetensors", ".safetensors.index.json"})
      if (fs::exists(folder / (std::string(stem) + end))) return SafetensorsFolder(folder, stem);
  return std::nullopt;
}

/// A row of the table: name, class, parameters, dtypes, megabytes, files.
std::string describe_weights(const std::string& name, const std::string& class_name, const fs::path& folder) {
  const std::string start = "  " + padded(name, 14) + padded(class_name, 26);
  if (!fs::is_directory(folder)) return start + "missing: " + folder.string() + "\n";
  const auto weights = open_weights(folder);
  if (!weights) return start + "no weights\n";
  int64_t parameters = 0, bytes = 0;
  std::set<std::string> dtypes;
  std::set<fs::path> files;
  for (const auto& [tensor, info] : weights->tensors()) {
    parameters += element_count(info.shape);
    bytes += info.end - info.begin;
    dtypes.insert(dtype_name(info.dtype));
    files.insert(info.file);
  }
  std::string all_dtypes;
  for (const std::string& dtype : dtypes) all_dtypes += (all_dtypes.empty() ? "" : "+") + dtype;
  char numbers[120];
  std::snprintf(numbers, sizeof(numbers), "%16s parameters, %10.1f MB, %zu tensors in %zu file%s, ",
                grouped(parameters).c_str(), double(bytes) / 1e6, weights->tensors().size(), files.size(),
                files.size() == 1 ? "" : "s");
  return start + numbers + all_dtypes + "\n";
}

std::string config_of(const fs::path& folder) {
  for (const char* name : {"config.json", "scheduler_config.json"})
    if (fs::exists(folder / name)) return describe_config(folder / name);
  return "";
}

std::string class_of(const fs::path& config) {
  const JsonObject json = JsonObject::load(config);
  if (json.has("_class_name")) return json.get_string("_class_name");
  if (json.has("architectures")) return json.get_strings("architectures").front();
  return "(class not named)";
}

}  // namespace

std::string describe_model_folder(const fs::path& folder) {
  if (!fs::exists(folder / "model_index.json")) {
    if (!fs::exists(folder / "config.json"))
      fail(folder.string(),
           ": expected a model folder, but there is neither model_index.json (a pipeline) nor config.json "
           "(one "
           "component) in it");
    return describe_weights(folder.filename().string(), class_of(folder / "config.json"), folder) +
           config_of(folder);
  }
  const ModelIndex index = ModelIndex::load(folder);
  std::string text = folder.string() + ": " + index.pipeline_class;
  text += index.has_transformer_2 ? ", two experts" : ", one expert";
  if (index.boundary_ratio) text += cat(", boundary at sigma ", *index.boundary_ratio);
  if (index.image_size)
    text += cat(", ", index.image_size->first, " x ", index.image_size->second, " pixels");
  text += "\n\n";
  std::string configs;
  const JsonObject components = JsonObject::load(folder / "model_index.json");
  for (const auto& [name, value] : components.json().items()) {
    if (!value.is_array() || value.size() != 2 || !value[1].is_string())
      continue;  // a setting, or no such component
    text += describe_weights(name, value[1].get<std::string>(), folder / name);
    if (const std::string config = config_of(folder / name); !config.empty())
      configs += "\n" + name + "\n" + config;
  }
  return text + configs;
}

}  // namespace wandistill
