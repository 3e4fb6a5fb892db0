#include "src/train/sample_round.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <set>

#include "wandistill/contact_sheet.h"
#include "wandistill/distribution.h"
#include "wandistill/error.h"
#include "wandistill/fence.h"
#include "wandistill/progress.h"

namespace wandistill {
namespace fs = std::filesystem;
namespace {

constexpr double kFenceTimeout = 3600;

std::string text_of(const Image& image, const std::string& key) {
  for (const auto& [name, value] : image.text)
    if (name == key) return value;
  return "";
}

}  // namespace

SampleRound::SampleRound(Session& session, Pipeline& pipeline, std::vector<std::string> prompts,
                         fs::path folder, int64_t height, int64_t width, uint64_t seed, const Queue& queue)
    : session_(session),
      pipeline_(pipeline),
      prompts_(std::move(prompts)),
      mine_(strided_slice(int64_t(prompts_.size()), session.rank(), session.world_size())),
      folder_(std::move(folder)),
      seed_(seed),
      queue_(queue) {
  std::tie(h_, w_) = pipeline.latent_size(height, width);
  for (int64_t i : mine_) texts_.push_back(pipeline.encode(prompts_[size_t(i)], queue));
}

fs::path SampleRound::file(const Label& label, int64_t index_within_rank) const {
  if (!label.teacher) return folder_ / sample_file_name(label.epoch, session_.rank(), index_within_rank);
  char name[64];
  std::snprintf(name, sizeof name, "teacher_rank_%d_sample_%02ld.png", session_.rank(),
                long(index_within_rank));
  return folder_ / name;
}

int64_t SampleRound::draw(const GuidedModel& model, const SamplingSettings& settings, const Label& label) {
  const auto start = std::chrono::steady_clock::now();
  GuidedVelocity velocity(model);
  int64_t missing = 0;
  for (size_t i = 0; i < mine_.size(); ++i) {
    const std::string& prompt = prompts_[size_t(mine_[i])];
    try {
      PictureSampler sampler(velocity, settings, pipeline_.vae(), h_, w_);
      std::vector<float> x(size_t(sampler.latent_count()));
      picture_noise(seed_, mine_[i], int64_t(x.size()), x.data());
      sampler.denoise(texts_[i], x.data(), queue_);
      const Image image = sampler.decode(x.data(), queue_);
      write_png(file(label, int64_t(i)), image.width, image.height, image.rgb.data(),
                {{"prompt", prompt},
                 {"prompt_index", cat(mine_[i])},
                 {"seed", cat(seed_)},
                 {"step", cat(label.step)},
                 {"epoch", label.teacher ? "teacher" : cat(label.epoch)},
                 {"Software", "wandistill " WANDISTILL_VERSION}});
    } catch (const std::exception& error) {
      ++missing;
      print_line(cat("rank ", session_.rank(), ": no picture of prompt ", mine_[i], " '", prompt,
                     "': ", error.what()));
    }
  }
  const std::string what =
      label.teacher ? std::string("the teacher's pictures") : cat("samples of epoch ", label.epoch);
  const double waited = fence(session_, what, kFenceTimeout);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double busy = session_.sum(seconds - waited);
  missing = session_.sum(missing);
  if (session_.is_root()) {
    char times[96];
    std::snprintf(times, sizeof times, "%.1f s (%.1f s of work)", seconds, busy);
    print_line(cat(what, ": ", prompts_.size(), " pictures by ", session_.world_size(), " ranks in ", times,
                   missing ? cat("; ", missing, " MISSING, see above") : std::string()));
  }
  return missing;
}

bool SampleRound::have_teacher_pictures() const {
  bool have = true;
  for (size_t i = 0; i < mine_.size() && have; ++i) {
    try {
      const Image image = read_png(file({.teacher = true}, int64_t(i)));
      have = text_of(image, "prompt") == prompts_[size_t(mine_[i])] && text_of(image, "seed") == cat(seed_) &&
             image.height == h_ * pipeline_.vae_config().scale() &&
             image.width == w_ * pipeline_.vae_config().scale();
    } catch (const Error&) {
      have = false;
    }
  }
  return !session_.any(!have);
}

void SampleRound::write_contact_sheet(int64_t columns) const {
  // By prompt and epoch, wherever the pictures come from: an earlier part of the run may have had other
  // ranks.
  std::map<std::string, std::map<std::string, fs::path>> pictures;
  std::set<int64_t> epochs;
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() != ".png" || !(name.starts_with("epoch_") || name.starts_with("teacher_")))
      continue;
    const Image image = read_png(entry.path());
    const std::string epoch = text_of(image, "epoch");
    pictures[text_of(image, "prompt")][epoch] = entry.path();
    if (epoch != "teacher") epochs.insert(std::stoll(epoch));
  }
  // Evenly chosen epochs, the first and the last among them.
  std::vector<int64_t> all(epochs.begin(), epochs.end()), shown;
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
    for (int64_t epoch : shown) row.push_back(pictures[prompt][cat(epoch)]);
    row.push_back(pictures[prompt]["teacher"]);
  }
  wandistill::write_contact_sheet(contact_sheet(), sheet);
}

}  // namespace wandistill
