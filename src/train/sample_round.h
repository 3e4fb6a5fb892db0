// The pictures between epochs: every rank draws its slice of the sample prompts, then all meet.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "wandistill/pipeline.h"
#include "wandistill/sampler.h"
#include "wandistill/session.h"

namespace wandistill {

class SampleRound {
 public:
  /// Encodes this rank's prompts (prompt i is drawn by rank i mod W). folder must exist.
  SampleRound(Session& session, Pipeline& pipeline, std::vector<std::string> prompts,
              std::filesystem::path folder, int64_t height, int64_t width, uint64_t seed, const Queue& queue);

  /// What drew the pictures, for their file names and their PNG text.
  struct Label {
    int64_t epoch = 0, step = 0;
    bool teacher = false;  // named teacher_rank_R_sample_NN.png
  };
  /// Draws this rank's pictures and waits for all ranks. A prompt that fails is reported with rank, prompt
  /// and reason, and the others are drawn. Collective; returns the number of pictures missing on all ranks.
  int64_t draw(const GuidedModel& model, const SamplingSettings& settings, const Label& label);
  /// True on every rank if every rank has the teacher's pictures already, drawn for these prompts and this
  /// seed.
  bool have_teacher_pictures() const;

  /// samples/contact_sheet.png: prompts down, epochs across (at most `columns`), the teacher's own picture
  /// last. For one rank; reads the PNG text of what is in the folder.
  void write_contact_sheet(int64_t columns) const;
  std::filesystem::path contact_sheet() const { return folder_ / "contact_sheet.png"; }

 private:
  std::filesystem::path file(const Label& label, int64_t index_within_rank) const;

  Session& session_;
  Pipeline& pipeline_;
  std::vector<std::string> prompts_;
  std::vector<int64_t> mine_;         // indices into prompts_
  std::vector<TextEmbedding> texts_;  // of mine_
  std::filesystem::path folder_;
  int64_t h_, w_;
  uint64_t seed_;
  Queue queue_;
};

}  // namespace wandistill
