#include <algorithm>

#include "wandistill/error.h"
#include "wandistill/file.h"
#include "wandistill/job_sizes.h"
#include "wandistill/philox.h"
#include "wandistill/progress.h"
#include "wandistill/stage.h"
#include "wandistill/teacher_cache.h"

namespace wandistill {
namespace fs = std::filesystem;
namespace {

/// Trajectories of one shard while they are computed: at most about kShardBytes.
class ShardBuilder {
 public:
  ShardBuilder(fs::path folder, int rank, Json settings, Shape picture, int64_t points, int64_t text_dim)
      : folder_(std::move(folder)),
        rank_(rank),
        settings_(std::move(settings)),
        picture_(std::move(picture)),
        points_(points),
        text_dim_(text_dim),
        size_(element_count(picture_)) {}

  int64_t count() const { return int64_t(prompts_.size()); }
  bool full() const {
    return (count() + 1) * (2 * points_ + 1) * size_ * int64_t(sizeof(float)) > kShardBytes;
  }

  /// Runs the sampler for these items as one batch and keeps the trajectories. False if `stop`, asked after
  /// every denoising step, ended it.
  bool add(const std::vector<CacheItem>& items, const std::vector<TextEmbedding>& texts,
           GuidedVelocity& velocity, const SamplingSettings& sampling, uint64_t seed, const Compute& compute,
           const std::function<bool()>& stop) {
    const Stage stage("teacher");
    const int64_t B = int64_t(items.size()), first = count();
    resize(first + B);
    std::vector<float> x(size_t(B * size_));
    std::vector<const TextEmbedding*> text;
    for (int64_t b = 0; b < B; ++b) {
      fill_gaussian(seed, items[size_t(b)].noise_stream(), 0, size_, x.data() + b * size_);
      text.push_back(&texts[size_t(b)]);
    }
    std::vector<float> sigmas;
    const auto keep = [&](int64_t i, float sigma, const float* at, const GuidedOutput& output) {
      sigmas.push_back(sigma);
      const int64_t n = B * size_;
      Buffer<float> latents(n), cond(n), uncond(output.uncond ? n : 0);
      download(compute, latents.data(), at, n);
      download(compute, cond.data(), output.cond, n);
      if (output.uncond) {
        download(compute, uncond.data(), output.uncond, n);
        ref::guidance(n, output.guidance, cond.data(), uncond.data(), cond.data(), compute.host());
      }
      for (int64_t b = 0; b < B; ++b) {
        const size_t to = size_t(((first + b) * points_ + i) * size_);
        std::copy_n(latents.data() + b * size_, size_, latents_.begin() + int64_t(to));
        std::copy_n(cond.data() + b * size_, size_, velocities_.begin() + int64_t(to));
      }
      return !stop();
    };
    if (!sample_latents(velocity, sampling, text, picture_[1], picture_[2], x.data(), compute, keep)) {
      resize(first);
      return false;
    }
    for (float value : x)
      if (!(std::abs(value) < 1e6f))
        fail("the teacher's latents are not finite for one of the prompts '", items.front().prompt,
             "' ...; check ", "the teacher's weights and --guidance");
    sigmas_ = std::move(sigmas);
    std::copy(x.begin(), x.end(), x0_.begin() + first * size_);
    for (int64_t b = 0; b < B; ++b) {
      prompts_.push_back(items[size_t(b)].prompt);
      repetitions_.push_back(items[size_t(b)].repetition);
      rows_.insert(rows_.end(), texts[size_t(b)].rows.begin(), texts[size_t(b)].rows.end());
      offsets_.push_back(offsets_.back() + texts[size_t(b)].tokens);
    }
    return true;
  }

  /// Writes the shard under the first free name and starts the next one.
  void write() {
    if (!count()) return;
    fs::path file;
    do {
      char name[64];
      std::snprintf(name, sizeof name, "shard_rank_%d_%04ld.h5", rank_, long(next_++));
      file = folder_ / name;
    } while (fs::exists(file));
    write_h5_atomically(file, [&](H5File& h5) {
      const int64_t n = count();
      h5.write_string("settings", settings_.dump());
      h5.write_strings("prompt", prompts_);
      h5.write<int64_t>("repetition", {n}, repetitions_.data());
      // Small chunks: a prompt's rows are read without the others'.
      h5.create_extendible<float>("text/rows", {text_dim_}, 16);
      h5.append_rows<float>("text/rows", offsets_.back(), rows_.data());
      h5.write<int64_t>("text/offsets", {n + 1}, offsets_.data());
      h5.write<float>("sigma", {points_}, sigmas_.data());
      // One chunk per point, so that reading a point at random reads nothing else.
      for (const auto& [name, data] :
           {std::pair{"latents", &latents_}, std::pair{"velocity", &velocities_}, std::pair{"x0", &x0_}}) {
        h5.create_extendible<float>(name, picture_, 1);
        h5.append_rows<float>(name, int64_t(data->size()) / size_, data->data());
      }
    });
    prompts_.clear();
    repetitions_.clear();
    rows_.clear();
    offsets_ = {0};
    latents_.clear();
    velocities_.clear();
    x0_.clear();
  }

 private:
  /// For so many trajectories.
  void resize(int64_t n) {
    latents_.resize(size_t(n * points_ * size_));
    velocities_.resize(latents_.size());
    x0_.resize(size_t(n * size_));
  }

  fs::path folder_;
  int rank_;
  Json settings_;
  Shape picture_;  // [C, h, w]
  int64_t points_, text_dim_, size_, next_ = 0;
  std::vector<std::string> prompts_;
  std::vector<int64_t> repetitions_, offsets_{0};
  std::vector<float> rows_, sigmas_, latents_, velocities_, x0_;
};

}  // namespace

bool fill_teacher_cache(Session& session, const fs::path& folder, const CacheSettings& settings,
                        Pipeline& teacher, const std::vector<std::string>& prompts, int64_t repetitions,
                        int64_t batch, const StopSignals& stop, const Compute& compute) {
  std::vector<CacheItem> missing;
  session.collectively([&] {
    make_directories(folder);
    const TeacherCache present(folder, settings);
    for (int64_t repetition = 0; repetition < repetitions; ++repetition)
      for (const std::string& prompt : prompts)
        if (CacheItem item{prompt, repetition}; present.find(item) < 0) missing.push_back(std::move(item));
  });
  const int64_t wanted = int64_t(prompts.size()) * repetitions;
  if (session.is_root())
    print_line(cat("teacher cache ", folder.string(), ": ", wanted - int64_t(missing.size()), " of ", wanted,
                   " trajectories present"));
  session.barrier();  // nobody writes before all have looked
  if (missing.empty()) return true;

  session.collectively([&] {
    const auto [h, w] = teacher.latent_size(settings.height, settings.width);
    const TextEmbedding negative = teacher.encode(settings.negative_prompt);
    GuidedVelocity velocity(teacher.guided(settings.guidance, settings.guidance_2, &negative));
    SamplingSettings sampling{parse_sampler(settings.sampler), settings.steps, teacher.scheduler()};
    sampling.scheduler.flow_shift = settings.flow_shift;
    ShardBuilder shard(folder, session.rank(), settings.to_json(), {teacher.vae_config().z_dim, h, w},
                       settings.steps, teacher.transformer().config().text_dim);
    std::vector<CacheItem> mine;
    for (size_t i = size_t(session.rank()); i < missing.size(); i += size_t(session.world_size()))
      mine.push_back(missing[i]);
    Progress progress("teacher, share of rank 0:", int64_t(mine.size()), "trajectories", session.is_root());
    const auto stops = [&] { return stop_everywhere(session, stop); };
    for (size_t i = 0; i < mine.size() && !stops();) {
      session.board().post(cat("teacher trajectory ", i + 1, " of ", mine.size()));
      std::vector<CacheItem> items;
      std::vector<TextEmbedding> texts;
      for (; i < mine.size() && int64_t(items.size()) < batch; ++i) {
        items.push_back(mine[i]);
        texts.push_back(teacher.encode(mine[i].prompt));
      }
      if (!shard.add(items, texts, velocity, sampling, settings.seed, compute, stops)) break;
      if (shard.full()) shard.write();
      progress.advance(int64_t(items.size()));
    }
    shard.write();
  });
  return !session.any(stop_everywhere(session, stop));
}

}  // namespace wandistill
