// One round of pictures: all ranks draw a list of prompts together and meet at the fence.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "wandistill/distribution.h"
#include "wandistill/options.h"
#include "wandistill/picture_record.h"
#include "wandistill/progress.h"
#include "wandistill/sampler.h"
#include "wandistill/session.h"

namespace wandistill {

/// What is drawn. The functions are called on the rank that draws the prompt (of a group: on its leader);
/// what they throw is the reason why there is no picture of that prompt.
struct PictureRound {
  std::string what;  // "samples of epoch 10", for messages
  GuidedModel model;
  SamplingSettings sampling;
  const WanVaeDecoder* vae = nullptr;
  int64_t h = 0, w = 0;  // of the latents
  std::vector<std::string> prompts;
  std::function<TextEmbedding(int64_t prompt)> text;
  std::function<std::vector<float>(int64_t prompt)> noise;                         // [C, h, w]
  std::function<void(int64_t prompt, const std::vector<float>& x0)> keep_latents;  // may be empty
  std::filesystem::path folder;
  std::function<std::string(int rank, int64_t index_within_rank)> file_name;
  uint64_t seed = 0;  // for the records, as are the next two
  std::string epoch;
  int64_t step = 0;
  std::vector<std::pair<std::string, std::string>> png_text;  // beside prompt, prompt_index and seed
  std::vector<double> costs;         // seconds by prompt of an earlier round, or empty
  std::vector<PictureRecord> there;  // of pictures that an earlier attempt drew: they stay
};

struct RoundResult {
  std::vector<PictureRecord> records;  // by prompt, one for each
  bool stopped = false;                // by a signal: what was not begun is missing
  int64_t missing() const;
};

/// Draws the round. Collective; the result is the same on every rank. A prompt that fails is reported with
/// rank, prompt and reason and its rank goes on. A signal (on any rank) ends the round within one denoising
/// step. `progress`, on rank 0 only, counts the pictures of all ranks; may be null.
RoundResult draw_pictures(Session& session, const PictureRound& round, const PictureOptions& options,
                          const StopSignals& stop, const Compute& compute, Progress* progress = nullptr);

}  // namespace wandistill
