// The student's sizes: student_config.json (its keys are described in data/README.md).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "wandistill/wan_config.h"

namespace wandistill {

/// The sizes of a student. It is a Wan transformer: to_wan_config() is what its config.json will say.
struct StudentConfig {
  int64_t hidden_size = 0, depth = 0, num_heads = 0;
  int64_t num_channels = 0;                   // of the latents: the VAE's z_dim
  int64_t image_height = 0, image_width = 0;  // pixels; "image_size": N or [height, width]
  int64_t patch_size = 0;                     // in latents, both directions
  int64_t text_max_length = 0;                // always kTextPositions
  int64_t text_encoder_output_dim = 0;
  double projection_factor = 1.0;  // scale on the weights projected from the teacher
  double mlp_ratio = 0;            // feed-forward width / hidden_size
  int64_t freq_dim = 256;          // of the timestep embedding
  std::filesystem::path file;      // where it was read from, for errors

  /// Error naming file and key where one is unknown, missing, of the wrong type, or a size does not fit.
  static StudentConfig load(const std::filesystem::path& file);

  WanConfig to_wan_config() const;

  /// The student reads the teacher's text embeddings and draws the teacher's latents. text_dim: width of the
  /// embeddings; channels: the VAE's z_dim; vae_scale: picture pixels per latent in each direction. Error
  /// naming file, key and what would be right.
  void check_against_teacher(int64_t text_dim, int64_t channels, int64_t vae_scale) const;
};

}  // namespace wandistill
