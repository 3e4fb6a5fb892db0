// The pictures between epochs: all ranks draw the sample prompts, then meet.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "src/sample/samples_folder.h"
#include "wandistill/picture_round.h"
#include "wandistill/pipeline.h"
#include "wandistill/session.h"

namespace wandistill {

class EpochSamples {
 public:
  /// Encodes the prompts, each on one rank, and gives the embeddings to all: prompts go to any rank later,
  /// when the text encoder is gone. A prompt that cannot be encoded is missing from every round. Collective.
  /// The folder must exist; metrics: the file that the page's curve is drawn from.
  EpochSamples(Session& session, Pipeline& pipeline, const TrainOptions& options,
               std::vector<std::string> prompts, std::filesystem::path folder, std::filesystem::path metrics,
               int64_t h, int64_t w, const StopSignals& stop, const Compute& compute);

  /// Training goes on after this many epochs: pictures of later ones go, they are drawn again. -1: it starts
  /// anew, and only the teacher's stay. For rank 0.
  void start_after(int64_t epoch);

  /// What drew the pictures, for their file names and their PNG text.
  struct Label {
    int64_t epoch = 0, step = 0;
    bool teacher = false;  // named teacher_rank_R_sample_NN.png
    /// "12" or "teacher"
    std::string text() const;
  };
  /// Draws the pictures and waits for all ranks; then rank 0 brings manifest.jsonl and index.html up to date.
  /// Collective; the same result on every rank.
  RoundResult draw(const GuidedModel& model, const SamplingSettings& settings, const Label& label);
  /// True on every rank if the pictures are all there, drawn for these prompts, sizes and seed. Collective.
  bool have(const Label& label) const;

  const std::filesystem::path& folder() const { return folder_.path(); }
  /// Of the teacher's own pictures. For rank 0.
  std::vector<PictureRecord> teacher_records() const;

  /// contact_sheet.png: prompts down, epochs across (at most `columns`), the teacher's own picture last. For
  /// rank 0.
  void write_contact_sheet(int64_t columns) const;
  std::filesystem::path contact_sheet() const { return folder_.path() / "contact_sheet.png"; }
  std::filesystem::path page() const { return folder_.path() / "index.html"; }

 private:
  /// On rank 0: records, stale files, page. What fails is reported.
  void keep_records(const Label& label, const RoundResult& result);
  uint64_t seed(const Label& label) const;

  Session& session_;
  Pipeline& pipeline_;
  const TrainOptions& options_;
  std::vector<std::string> prompts_;
  std::vector<TextEmbedding> texts_;  // by prompt; no tokens: see problems_
  std::vector<std::string> problems_;
  std::vector<double> costs_;  // seconds by prompt in the last round
  SamplesFolder folder_;       // kept up to date on rank 0
  std::filesystem::path metrics_;
  int64_t h_, w_;  // of the latents
  const StopSignals& stop_;
  const Compute& compute_;
};

}  // namespace wandistill
