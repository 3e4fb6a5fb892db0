#include <set>

#include "wandistill/component_tensors.h"
#include "wandistill/compute.h"
#include "wandistill/safetensors.h"
#include "wandistill/wan_transformer.h"

namespace wandistill {
ModelWeights load_wan_weights(const std::filesystem::path& folder, const ParameterLayout& layout,
                              const Compute& compute, Dtype dtype) {
  const SafetensorsFolder files(folder, "diffusion_pytorch_model");
  std::set<std::string> known;
  ModelWeights weights(compute, dtype, layout, [&](const ParameterInfo& p, float* out) {
    files.read(p.name, p.shape, out);
    known.insert(p.name);
  });
  files.refuse_unknown(known, transformer_tensor_unused);
  return weights;
}

Buffer<float> load_wan_weights(const std::filesystem::path& folder, const ParameterLayout& layout) {
  const SafetensorsFolder files(folder, "diffusion_pytorch_model");
  Buffer<float> weights(layout.total());
  std::set<std::string> known;
  for (const ParameterInfo& p : layout.parameters()) {
    files.read(p.name, p.shape, weights.data() + p.offset);
    known.insert(p.name);
  }
  files.refuse_unknown(known, transformer_tensor_unused);
  return weights;
}

}  // namespace wandistill
