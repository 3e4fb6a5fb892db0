// Options for drawing pictures that several subcommands have.
#include "src/cli/subcommands.h"

namespace wandistill::cli {

void declare_pictures(OptionSet& set, PictureOptions& o) {
  set.add("sample_distribution", &o.sample_distribution, "",
          "prompt i to rank i mod ranks; contiguous slices; or the next prompt to the next free rank")
      ->choices({"strided", "block", "dynamic"});
  set.add("sample_batch", &o.sample_batch, "N|auto",
          "prompts that a rank denoises at once (auto: by free memory)")
      ->zero_is("auto")
      ->limits(at_least(1));
  set.add("sample_split", &o.sample_split, "",
          "ranks without a prompt help to draw the last ones, where pictures are large enough to gain by it")
      ->choices({"auto", "off"});
  declare_vae(set, &o.vae_dtype, &o.vae_tile_rows, &o.conv);
  set.add("png_compression", &o.png_compression, "N", "0 (fast) to 9 (small)")->limits(between(0, 9));
  set.add("fence_timeout", &o.fence_timeout, "SECONDS",
          "ranks that let the others wait longer than this, after pictures or in a collective, end the job")
      ->limits(at_least(0.001));
}

void declare_vae(OptionSet& set, std::string* dtype, int64_t* tile_rows, std::string* conv) {
  set.add("vae_dtype", dtype, "",
          "of the VAE decoder's weights and activations; the CPU rounds to it and computes in float32")
      ->choices({"float32", "bfloat16", "float16"});
  set.add("vae_tile_rows", tile_rows, "N|auto",
          "latent rows decoded at once: fewer need less memory, the picture is the same "
          "(auto: by free memory)")
      ->zero_is("auto")
      ->limits(at_least(1));
  set.add("conv", conv, "",
          "the VAE decoder's convolution: ours, or on a GPU cuDNN's, with which the last bits of a picture "
          "may change with vae_tile_rows and sample_split")
      ->choices({"own", "cudnn"});
}

}  // namespace wandistill::cli
