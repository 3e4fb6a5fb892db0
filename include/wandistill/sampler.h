// Pictures from prompts: seeded noise, guided sampling, VAE decode, PNG.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "wandistill/guided_sampler.h"
#include "wandistill/png.h"
#include "wandistill/wan_vae.h"

namespace wandistill {

/// Standard normal noise [count] of one prompt's picture: depends on the seed, the prompt's index and the
/// element alone, never on rank, world size or batch.
void picture_noise(uint64_t seed, int64_t prompt_index, int64_t count, float* out);

/// Normalised latents [C, h, w] to an 8-bit picture, by strips of `strip` latent rows (0: all at once), which
/// bound the memory and change nothing else. Nothing where `stop` returned true, which is asked as
/// WanVaeDecoder::decode_rows says.
std::optional<Image> decode_picture(const WanVaeDecoder& vae, const float* latents, int64_t h, int64_t w,
                                    const Compute& compute, int64_t strip = 0,
                                    const std::function<bool()>& stop = {});
/// The band of that picture which belongs to the latent rows [begin, end): RGB [s (end - begin), s w, 3],
/// s = vae.config().scale().
std::optional<std::vector<uint8_t>> decode_picture_rows(const WanVaeDecoder& vae, const float* latents,
                                                        int64_t h, int64_t w, int64_t begin, int64_t end,
                                                        const Compute& compute, int64_t strip = 0,
                                                        const std::function<bool()>& stop = {});

}  // namespace wandistill
