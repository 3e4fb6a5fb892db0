#include <set>

#include "wandistill/safetensors.h"
#include "wandistill/wan_transformer.h"

namespace wandistill {
namespace {

/// Present in some exports of image-to-video models, used by none of our passes.
bool allowed(const std::string& name) {
  return name.find("norm_added_q") != std::string::npos;
}

}  // namespace

Buffer<float> load_wan_weights(const std::filesystem::path& folder, const ParameterLayout& layout) {
  const SafetensorsFolder files(folder, "diffusion_pytorch_model");
  Buffer<float> weights(layout.total());
  std::set<std::string> known;
  for (const ParameterInfo& p : layout.parameters()) {
    files.read(p.name, p.shape, weights.data() + p.offset);
    known.insert(p.name);
  }
  files.refuse_unknown(known, allowed);
  return weights;
}

}  // namespace wandistill
