#include "src/train/epoch_samples.h"

#include <algorithm>
#include <map>

#include "wandistill/contact_sheet.h"
#include "wandistill/error.h"
#include "wandistill/loss_curve.h"

namespace wandistill {
namespace fs = std::filesystem;

EpochSamples::EpochSamples(Session& session, Pipeline& pipeline, const TrainOptions& options,
                           std::vector<std::string> prompts, fs::path folder, fs::path metrics, int64_t h,
                           int64_t w, const StopSignals& stop, const Compute& compute)
    : session_(session),
      pipeline_(pipeline),
      options_(options),
      prompts_(std::move(prompts)),
      texts_(prompts_.size()),
      problems_(prompts_.size()),
      folder_(std::move(folder), h * pipeline.vae_config().scale(), w * pipeline.vae_config().scale()),
      metrics_(std::move(metrics)),
      h_(h),
      w_(w),
      stop_(stop),
      compute_(compute) {
  for (int64_t i : strided_slice(int64_t(prompts_.size()), session.rank(), session.world_size())) try {
      texts_[size_t(i)] = pipeline.encode(prompts_[size_t(i)]);
    } catch (const std::exception& error) {
      problems_[size_t(i)] = error.what();
    }
  for (size_t i = 0; i < prompts_.size(); ++i) {
    const int root = int(i % size_t(session.world_size()));
    session.broadcast(&texts_[i].tokens, root);
    session.broadcast(&texts_[i].rows, root);
    session.broadcast(&problems_[i], root);
  }
  if (session.is_root()) folder_.load();
}

void EpochSamples::start_after(int64_t epoch) {
  folder_.remove([&](const PictureRecord& r) { return !r.by_teacher() && std::stoll(r.epoch) > epoch; });
}

std::string EpochSamples::Label::text() const {
  return teacher ? "teacher" : cat(epoch);
}

uint64_t EpochSamples::seed(const Label& label) const {
  const bool varies = options_.sample_seed_per_epoch && !label.teacher;
  return options_.sample_seed + (varies ? uint64_t(label.epoch) : 0);
}

RoundResult EpochSamples::draw(const GuidedModel& model, const SamplingSettings& settings,
                               const Label& label) {
  PictureRound round;
  round.what = label.teacher ? std::string("the teacher's pictures") : cat("samples of epoch ", label.epoch);
  round.model = model;
  round.sampling = settings;
  round.vae = &pipeline_.vae(parse_vae_dtype(options_.pictures.vae_dtype));
  round.h = h_;
  round.w = w_;
  round.prompts = prompts_;
  round.text = [this](int64_t prompt) {
    if (!problems_[size_t(prompt)].empty()) fail(problems_[size_t(prompt)]);
    return texts_[size_t(prompt)];
  };
  round.seed = seed(label);
  round.noise = [&](int64_t prompt) {
    std::vector<float> x(size_t(model.transformer->config().out_channels * h_ * w_), 0.0f);
    picture_noise(round.seed, prompt, int64_t(x.size()), x.data());
    return x;
  };
  round.folder = folder_.path();
  round.file_name = [&](int rank, int64_t index) {
    return label.teacher ? teacher_file_name(rank, index) : sample_file_name(label.epoch, rank, index);
  };
  round.epoch = label.text();
  round.step = label.step;
  round.png_text = {
      {"step", cat(label.step)}, {"epoch", label.text()}, {"Software", "wandistill " WANDISTILL_VERSION}};
  if (!label.teacher) round.costs = costs_;
  RoundResult result = draw_pictures(session_, round, options_.pictures, stop_, compute_);
  if (!label.teacher && result.missing() == 0) {
    costs_.clear();
    for (const PictureRecord& r : result.records) costs_.push_back(r.work_seconds());
  }
  if (session_.is_root()) keep_records(label, result);
  return result;
}

void EpochSamples::keep_records(const Label& label, const RoundResult& result) {
  try {
    folder_.add(result.records);
    folder_.remove_others(label.teacher ? "teacher_" : sample_file_prefix(label.epoch), result.records);
    folder_.write(fs::absolute(metrics_).parent_path().filename().string() + ": sample pictures",
                  loss_curve(metrics_));
  } catch (const std::exception& error) {  // a full disk, say: training goes on, as it does without a picture
    print_line(cat("the page of the sample pictures is not up to date: ", error.what()));
  }
}

bool EpochSamples::have(const Label& label) const {
  bool have = true;
  if (session_.is_root()) {
    std::map<int64_t, PictureRecord> found;
    for (const PictureRecord& record : folder_.records())
      if (record.epoch == label.text()) found[record.prompt_index] = record;
    for (size_t i = 0; i < prompts_.size() && have; ++i) {
      const auto record = found.find(int64_t(i));
      have = record != found.end() && !record->second.file.empty() && record->second.prompt == prompts_[i] &&
             record->second.seed == seed(label) && folder_.has_picture(record->second.file);
    }
    have = have && found.size() == prompts_.size();
  }
  session_.broadcast(&have);
  return have;
}

std::vector<PictureRecord> EpochSamples::teacher_records() const {
  std::vector<PictureRecord> records;
  for (const PictureRecord& r : folder_.records())
    if (r.by_teacher()) records.push_back(r);
  return records;
}

void EpochSamples::write_contact_sheet(int64_t columns) const {
  std::map<std::string, std::map<std::string, fs::path>> pictures;  // by epoch and prompt
  std::vector<int64_t> all, shown;
  for (const PictureRecord& record : folder_.records()) {
    if (record.file.empty()) continue;
    if (!record.by_teacher() && !pictures.contains(record.epoch)) all.push_back(std::stoll(record.epoch));
    pictures[record.epoch][record.prompt] = folder_.path() / record.file;
  }
  // Evenly chosen epochs, the first and the last among them.
  std::sort(all.begin(), all.end());
  const int64_t count = std::min<int64_t>(columns, int64_t(all.size()));
  for (int64_t i = 0; i < count; ++i)
    shown.push_back(
        all[size_t(count == 1 ? int64_t(all.size()) - 1 : i * (int64_t(all.size()) - 1) / (count - 1))]);
  ContactSheet sheet;
  sheet.rows = prompts_;
  for (int64_t epoch : shown) sheet.columns.push_back(cat("epoch ", epoch));
  sheet.columns.push_back("teacher");
  for (const std::string& prompt : prompts_) {
    std::vector<fs::path>& row = sheet.cells.emplace_back();
    for (int64_t epoch : shown) row.push_back(pictures[cat(epoch)][prompt]);
    row.push_back(pictures["teacher"][prompt]);
  }
  wandistill::write_contact_sheet(contact_sheet(), sheet);
}

}  // namespace wandistill
