// `wandistill decode`: latents to pictures.
#include "src/cli/subcommands.h"

namespace wandistill::cli {

Prepared prepare_decode(const std::vector<std::string>& arguments) {
  DecodeOptions options;
  OptionSet set("decode --model DIR --latents FILE.h5:NAME --out DIR [options]",
                "Turns latents into PNG pictures with a model's VAE decoder.");
  set.group("Options");
  set.add("model", &options.model, "DIR",
          "a teacher's or student's folder in the diffusers layout, or its name in the local Hugging Face "
          "cache; required");
  set.add("latents", &options.latents, "FILE.h5:NAME", "the dataset, [C,1,h,w] or [n,C,1,h,w]; required");
  set.add("normalised", &options.normalised,
          "the latents are as the transformer sees them (false: as the VAE does)");
  set.add("out", &options.out, "DIR", "where the pictures go; required");
  declare_vae(set, &options.vae_dtype, &options.vae_tile_rows, &options.conv);
  declare_device(set, &options.device);
  declare_time_margin(set, &options.time_margin);
  if (!set.parse(arguments)) return {set.help(), nullptr};
  require_option("model", options.model);
  require_option("latents", options.latents);
  require_option("out", options.out);
  const auto run = [options, listing = set.listing()](Session& session) {
    print_opening(session, "decode", listing);
    return run_decode(session, options);
  };
  return {"", run};
}

}  // namespace wandistill::cli
