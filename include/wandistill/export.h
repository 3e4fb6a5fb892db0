// The finished student as a folder that diffusers opens.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "wandistill/wan_transformer.h"

namespace wandistill {

/// What the model card and the configs say about a student.
struct ExportInfo {
  int64_t steps = 10;             ///< sampling steps that it was shown with
  double flow_shift = 1;          ///< of the sigmas it was trained on
  int64_t height = 0, width = 0;  ///< pixels it was trained at
  std::string teacher_name;       ///< as the user gave it
  std::string example_prompt = "a cat";
  std::vector<std::pair<std::string, std::string>> training_facts;  ///< rows of a table: what, value
  std::filesystem::path contact_sheet;                              ///< PNG to put into the card; empty: none
};

/// Writes `folder` as a diffusers WanPipeline with one expert: model_index.json, scheduler/ (the teacher's,
/// made first order without corrector, which is DDIM), transformer/ (weights laid out by student.layout(),
/// float32), text_encoder/, tokenizer/ and vae/ (the teacher's, copied; linked where they are 1 GiB or more
/// together), and README.md, a model card. The folder is built beside its place and renamed when it is
/// complete: on any Error an older one stays as it was and nothing half-written is left. An older folder is
/// replaced only if it is empty or such a model folder.
void export_student(const std::filesystem::path& folder, const std::filesystem::path& teacher_folder,
                    const WanTransformer& student, const float* weights, const ExportInfo& info);

}  // namespace wandistill
