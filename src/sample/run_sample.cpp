// `wandistill sample` and `wandistill decode`: pictures from a folder.
#include <algorithm>

#include "wandistill/commands.h"
#include "wandistill/distribution.h"
#include "wandistill/error.h"
#include "wandistill/fence.h"
#include "wandistill/file.h"
#include "wandistill/h5.h"
#include "wandistill/json.h"
#include "wandistill/pipeline.h"
#include "wandistill/progress.h"
#include "wandistill/prompts.h"
#include "wandistill/sampler.h"

namespace wandistill {
namespace fs = std::filesystem;
namespace {

constexpr double kFenceTimeout = 3600;
constexpr int64_t kDefaultImageSize = 1024;

/// "FILE.h5:dataset" with latents [C, 1, h, w] or [n, C, 1, h, w].
class LatentsFile {
 public:
  LatentsFile(const std::string& place, const char* option) {
    const size_t colon = place.rfind(':');
    if (colon == std::string::npos || colon == 0 || colon + 1 == place.size())
      fail("--", option, " ", place, ": expected FILE.h5:DATASET");
    file_.emplace(H5File::open_read(place.substr(0, colon)));
    dataset_ = place.substr(colon + 1);
    shape_ = file_->shape(dataset_);
    if (shape_.size() == 4) shape_.insert(shape_.begin(), 1);
    if (shape_.size() != 5 || shape_[2] != 1)
      fail(place, " has shape ", shape_text(file_->shape(dataset_)),
           "; expected [C, 1, h, w] or [n, C, 1, h, w]");
  }
  int64_t count() const { return shape_[0]; }
  int64_t channels() const { return shape_[1]; }
  int64_t height() const { return shape_[3]; }
  int64_t width() const { return shape_[4]; }
  std::vector<float> read(int64_t index) const {
    const int64_t size = channels() * height() * width();
    std::vector<float> out(size_t(size), 0.0f);
    if (file_->shape(dataset_).size() == 5)
      file_->read_rows(dataset_, index, 1, out.data());
    else
      file_->read(dataset_, file_->shape(dataset_), out.data());
    return out;
  }

 private:
  std::optional<H5File> file_;
  std::string dataset_;
  Shape shape_;
};

std::string picture_name(int rank, int64_t index_within_rank) {
  char name[64];
  std::snprintf(name, sizeof name, "rank_%d_sample_%02ld.png", rank, long(index_within_rank));
  return name;
}

/// One `wandistill sample` on all ranks.
class SampleJob {
 public:
  SampleJob(Session& session, const SampleOptions& options)
      : session_(session), options_(options), queue_{session.threads()} {}

  int run() {
    session_.collectively([&] { open(); });
    Progress progress("sample, share of rank 0:", int64_t(mine_.size()), "pictures", session_.is_root());
    session_.collectively([&] {
      GuidedVelocity velocity(model_->guided(guidance_, guidance_2_, &negative_));
      PictureSampler sampler(velocity, settings_, model_->vae(), h_, w_);
      for (size_t i = 0; i < mine_.size(); ++i) {
        draw(sampler, mine_[i], model_->encode(prompts_[size_t(mine_[i])], queue_),
             picture_name(session_.rank(), int64_t(i)));
        progress.advance(1);
      }
    });
    progress.finish();
    fence(session_, "sample", kFenceTimeout);
    leave_records();
    return 0;
  }

 private:
  void open() {
    model_.emplace(options_.model);
    prompts_ = options_.prompt_file.empty() ? options_.prompts : read_prompts(options_.prompt_file);
    mine_ = strided_slice(int64_t(prompts_.size()), session_.rank(), session_.world_size());
    const bool teacher = model_->two_experts();
    guidance_ = options_.guidance >= 0 ? options_.guidance : teacher ? 4 : 1;
    guidance_2_ = options_.guidance_2 >= 0 ? options_.guidance_2
                  : options_.guidance >= 0 ? guidance_
                  : teacher                ? 3
                                           : 1;
    settings_ = {parse_sampler(options_.sampler), options_.steps, model_->scheduler()};
    const auto [height, width] =
        model_->index().image_size.value_or(std::pair(kDefaultImageSize, kDefaultImageSize));
    std::tie(h_, w_) = model_->latent_size(options_.height ? options_.height : height,
                                           options_.width ? options_.width : width);
    if (!options_.noise.empty()) {
      noise_.emplace(options_.noise, "noise");
      if (noise_->channels() != model_->vae_config().z_dim || noise_->height() != h_ || noise_->width() != w_)
        fail("--noise ", options_.noise, " has latents of ", noise_->channels(), " x ", noise_->height(),
             " x ", noise_->width(), "; a picture of this size needs ", model_->vae_config().z_dim, " x ", h_,
             " x ", w_);
      if (noise_->count() != 1 && noise_->count() < int64_t(prompts_.size()))
        fail("--noise ", options_.noise, " has ", noise_->count(), " rows for ", prompts_.size(),
             " prompts; expected one for all, or one for each");
    }
    if (guidance_ > 1) negative_ = model_->encode(options_.negative_prompt, queue_);
    make_directories(options_.out);
  }

  void draw(PictureSampler& sampler, int64_t index, const TextEmbedding& text, const std::string& name) {
    std::vector<float> x(size_t(sampler.latent_count()));
    if (noise_)
      x = noise_->read(noise_->count() == 1 ? 0 : index);
    else
      picture_noise(options_.seed, index, int64_t(x.size()), x.data());
    sampler.denoise(text, x.data(), queue_);
    const Image image = sampler.decode(x.data(), queue_);
    write_png(fs::path(options_.out) / name, image.width, image.height, image.rgb.data(),
              {{"prompt", prompts_[size_t(index)]},
               {"prompt_index", cat(index)},
               {"seed", cat(options_.seed)},
               {"sampler", options_.sampler},
               {"steps", cat(options_.steps)},
               {"guidance", cat(guidance_)},
               {"Software", "wandistill " WANDISTILL_VERSION}});
    if (!options_.save_latents.empty()) latents_.insert(latents_.end(), x.begin(), x.end());
  }

  /// manifest.jsonl beside the pictures, and the latents of all ranks in the order of the prompts.
  void leave_records() {
    const std::vector<float> all = session_.gather(latents_);
    session_.collectively([&] {
      if (!session_.is_root()) return;
      const int W = session_.world_size();
      std::string manifest;
      for (int64_t i = 0; i < int64_t(prompts_.size()); ++i)
        manifest += Json{{"file", picture_name(int(i % W), i / W)},
                         {"prompt", prompts_[size_t(i)]},
                         {"seed", options_.seed},
                         {"rank", i % W}}
                        .dump() +
                    "\n";
      write_file_atomically(fs::path(options_.out) / "manifest.jsonl", manifest);
      if (options_.save_latents.empty()) return;
      const int64_t n = int64_t(prompts_.size()), size = int64_t(all.size()) / std::max<int64_t>(1, n);
      // Gathered by rank; prompt i is row i / W of rank i mod W.
      std::vector<float> ordered(all.size());
      int64_t row = 0;
      for (int rank = 0; rank < W; ++rank)
        for (int64_t i : strided_slice(n, rank, W)) {
          std::copy_n(all.begin() + row * size, size, ordered.begin() + i * size);
          ++row;
        }
      write_h5_atomically(options_.save_latents, [&](H5File& file) {
        file.write<float>("latents", {n, size / (h_ * w_), 1, h_, w_}, ordered.data());
        file.write_strings("prompts", prompts_);
      });
    });
    if (session_.is_root())
      print_line(cat(prompts_.size(), " pictures and manifest.jsonl in ", options_.out));
  }

  Session& session_;
  const SampleOptions& options_;
  Queue queue_;
  std::optional<Pipeline> model_;
  std::optional<LatentsFile> noise_;
  std::vector<std::string> prompts_;
  std::vector<int64_t> mine_;
  double guidance_ = 1, guidance_2_ = 1;
  SamplingSettings settings_;
  TextEmbedding negative_;
  int64_t h_ = 0, w_ = 0;
  std::vector<float> latents_;  // of mine_
};

}  // namespace

int run_sample(Session& session, const SampleOptions& options) {
  return SampleJob(session, options).run();
}

int run_decode(Session& session, const DecodeOptions& options) {
  const Queue queue{session.threads()};
  int64_t count = 0;
  session.collectively([&] {
    const WanVaeDecoder vae(resolve_model_folder(options.model) / "vae");
    const LatentsFile latents(options.latents, "latents");
    count = latents.count();
    if (latents.channels() != vae.config().z_dim)
      fail("--latents ", options.latents, " has ", latents.channels(), " channels; the vae of ",
           options.model, " takes ", vae.config().z_dim);
    make_directories(options.out);
    const std::vector<int64_t> mine = strided_slice(count, session.rank(), session.world_size());
    for (size_t i = 0; i < mine.size(); ++i) {
      std::vector<float> x = latents.read(mine[i]);
      if (!options.normalised)
        normalise_latents(vae.config(), latents.height(), latents.width(), x.data(), x.data());
      const Image image = decode_picture(vae, x.data(), latents.height(), latents.width(), queue);
      write_png(fs::path(options.out) / picture_name(session.rank(), int64_t(i)), image.width, image.height,
                image.rgb.data(),
                {{"latents", options.latents}, {"Software", "wandistill " WANDISTILL_VERSION}});
    }
  });
  if (session.is_root()) print_line(cat(count, " pictures in ", options.out));
  return 0;
}

}  // namespace wandistill
