// Writes a teacher of any widths with random weights, as float32 in several files: make_teacher TEMPLATE OUT
// KEY=VALUE ... Keys are those of the configs, "transformer.num_attention_heads" or "text_encoder.d_model";
// what is not named is the template's, and so are tokenizer, VAE and scheduler. Memory: one file, which has
// one tensor or several of 64 MiB together at most.
#include <cmath>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "wandistill/buffer.h"
#include "wandistill/component_tensors.h"
#include "wandistill/error.h"
#include "wandistill/file.h"
#include "wandistill/philox.h"
#include "wandistill/safetensors.h"

namespace wandistill {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int64_t kFileBytes = int64_t{64} << 20;

/// Values that keep activations of any width at a size of about 1: matrices have 1 / sqrt(inputs), norms are
/// near 1, biases and tables small.
void fill(const TensorSpec& tensor, uint64_t stream, float* values) {
  const int64_t count = element_count(tensor.shape);
  fill_gaussian(1, stream, 0, count, values);
  const bool norm = tensor.name.find("norm") != std::string::npos && tensor.name.ends_with(".weight");
  const int64_t inputs = tensor.shape.empty() ? 1 : count / tensor.shape[0];
  const float scale = tensor.shape.size() >= 2 && inputs > 1 ? 1 / std::sqrt(float(inputs)) : 0.1f;
  for (int64_t i = 0; i < count; ++i) values[i] = values[i] * scale + (norm ? 1 : 0);
}

void write_component(const fs::path& folder, const std::string& stem, const std::vector<TensorSpec>& tensors,
                     uint64_t first_stream) {
  std::vector<std::vector<size_t>> files;
  int64_t bytes = kFileBytes;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const int64_t own = element_count(tensors[i].shape) * int64_t(sizeof(float));
    if (bytes + own > kFileBytes) files.emplace_back(), bytes = 0;
    files.back().push_back(i);
    bytes += own;
  }
  json weight_map;
  for (size_t f = 0; f < files.size(); ++f) {
    char name[80];
    std::snprintf(name, sizeof name, "%s-%05zu-of-%05zu.safetensors", stem.c_str(), f + 1, files.size());
    std::vector<Buffer<float>> values;
    std::vector<NamedTensor> named;
    for (const size_t i : files[f]) {
      values.emplace_back(element_count(tensors[i].shape));
      fill(tensors[i], first_stream + i, values.back().data());
      named.push_back({tensors[i].name, tensors[i].shape, values.back().data()});
      weight_map[tensors[i].name] = name;
    }
    write_safetensors(folder / name, named);
  }
  write_file_atomically(folder / (stem + ".safetensors.index.json"),
                        json{{"metadata", json::object()}, {"weight_map", weight_map}}.dump(1));
}

/// The template's config.json with the keys that are given for this component.
void write_config(const fs::path& from, const fs::path& folder, const std::string& component,
                  const std::vector<std::string>& settings) {
  json config = json::parse(read_file(from / "config.json"));
  for (const std::string& setting : settings) {
    const size_t dot = setting.find('.'), equals = setting.find('=');
    if (dot == std::string::npos || equals == std::string::npos || equals < dot)
      fail("expected component.key=value, found ", setting);
    if (setting.substr(0, dot) != component) continue;
    json& value = config.at(setting.substr(dot + 1, equals - dot - 1));
    value = std::stoll(setting.substr(equals + 1));
  }
  make_directories(folder);
  write_file_atomically(folder / "config.json", config.dump(1));
}

void make(const fs::path& from, const fs::path& to, const std::vector<std::string>& settings) {
  make_directories(to);
  for (const char* part : {"tokenizer", "vae", "scheduler", "model_index.json"})
    fs::copy(from / part, to / part, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  for (const char* expert : {"transformer", "transformer_2"}) {
    write_config(from / expert, to / expert, "transformer", settings);
    write_component(to / expert, "diffusion_pytorch_model", transformer_tensors(WanConfig::load(to / expert)),
                    expert == std::string("transformer") ? 1'000'000 : 2'000'000);
  }
  write_config(from / "text_encoder", to / "text_encoder", "text_encoder", settings);
  write_component(to / "text_encoder", "model", umt5_tensors(Umt5Config::load(to / "text_encoder")),
                  3'000'000);
}

}  // namespace
}  // namespace wandistill

int main(int argc, char** argv) {
  try {
    if (argc < 3) wandistill::fail("usage: make_teacher TEMPLATE OUT [component.key=value ...]");
    wandistill::make(argv[1], argv[2], {argv + 3, argv + argc});
  } catch (const std::exception& error) {
    std::cerr << "make_teacher: " << error.what() << "\n";
    return 1;
  }
}
