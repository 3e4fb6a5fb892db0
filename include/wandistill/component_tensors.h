// The tensors that a teacher's components have, from their configs alone.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "wandistill/shape.h"
#include "wandistill/umt5_config.h"
#include "wandistill/wan_config.h"

namespace wandistill {

struct WanVaeConfig;

/// As it stands in a safetensors header.
struct TensorSpec {
  std::string name;
  Shape shape;
};

/// Elements of all of them.
int64_t parameter_count(const std::vector<TensorSpec>& tensors);

/// What load_wan_weights(), Umt5Encoder and WanVaeDecoder need, in no particular order. The text encoder's
/// table is listed as "shared.weight"; its file may call it "encoder.embed_tokens.weight".
std::vector<TensorSpec> transformer_tensors(const WanConfig& config);
std::vector<TensorSpec> umt5_tensors(const Umt5Config& config);
std::vector<TensorSpec> vae_decoder_tensors(const WanVaeConfig& config);
/// The rest of an AutoencoderKLWan: the encoder, and the temporal upsampling. folder: the component's.
std::vector<TensorSpec> vae_other_tensors(const std::filesystem::path& folder);

/// Tensors that a component's files may have and that are not read: of image-to-video transformers, of the
/// decoder half of a whole UMT5, and those of vae_other_tensors().
bool transformer_tensor_unused(const std::string& name);
bool umt5_tensor_unused(const std::string& name);
bool vae_tensor_unused(const std::string& name);

}  // namespace wandistill
