// `wandistill sample` and `wandistill decode`: pictures from a folder.
#include <algorithm>
#include <map>
#include <sstream>

#include "src/sample/samples_folder.h"
#include "wandistill/commands.h"
#include "wandistill/dry_run.h"
#include "wandistill/error.h"
#include "wandistill/fault.h"
#include "wandistill/fence.h"
#include "wandistill/file.h"
#include "wandistill/h5.h"
#include "wandistill/hash.h"
#include "wandistill/job_sizes.h"
#include "wandistill/json.h"
#include "wandistill/picture_round.h"
#include "wandistill/pipeline.h"
#include "wandistill/preflight.h"
#include "wandistill/progress.h"
#include "wandistill/prompts.h"
#include "wandistill/sampler.h"

namespace wandistill {
namespace fs = std::filesystem;
namespace {

constexpr int kIncomplete = 3;  // a picture is missing
constexpr int kStopped = 85;    // by a signal

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

/// One `wandistill sample` on all ranks.
class SampleJob {
 public:
  SampleJob(Session& session, const SampleOptions& options)
      : session_(session),
        options_(options),
        device_(session, options.device, options.pictures.conv),
        compute_(device_.compute()) {}

  int run() {
    stop_before_the_end(session_, options_.time_margin, &stop_);
    session_.collectively([&] { open(); });
    model_->load_text_encoder(&session_);
    session_.collectively([&] { negative_ = model_->encode(options_.negative_prompt); });
    model_->load_experts(&session_, TeacherPlacement::kAuto,
                         model_->bytes_beside(1, guidance_ > 1, h_, w_, 2 * kTextPositions));
    session_.collectively([&] { describe_round(); });
    find_pictures();
    Progress progress("sample:", int64_t(prompts_.size() - round_.there.size()), "pictures",
                      session_.is_root());
    const RoundResult result = draw_pictures(session_, round_, options_.pictures, stop_, compute_,
                                             session_.is_root() ? &progress : nullptr);
    progress.finish();
    leave_records(result);
    return result.missing() == 0 ? 0 : result.stopped ? kStopped : kIncomplete;
  }

 private:
  void open() {
    model_.emplace(options_.model, compute_, parse_dtype(options_.dtype));
    model_->set_schedule(options_.flow_shift, options_.boundary_ratio);
    prompts_ = options_.prompt_file.empty() ? options_.prompts : read_prompts(options_.prompt_file);
    const bool teacher = model_->two_experts();
    guidance_ = options_.guidance >= 0 ? options_.guidance : teacher ? 4 : 1;
    guidance_2_ = options_.guidance_2 >= 0 ? options_.guidance_2
                  : options_.guidance >= 0 ? guidance_
                  : teacher                ? 3
                                           : 1;
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
    make_directories(options_.out);
  }

  void describe_round() {
    round_.what = "sample";
    round_.model = model_->guided(guidance_, guidance_2_, &negative_);
    round_.sampling = {parse_sampler(options_.sampler), options_.steps, model_->scheduler()};
    round_.vae = &model_->vae(parse_vae_dtype(options_.pictures.vae_dtype));
    round_.h = h_;
    round_.w = w_;
    round_.prompts = prompts_;
    round_.text = [this](int64_t prompt) { return model_->encode(prompts_[size_t(prompt)]); };
    round_.noise = [this](int64_t prompt) {
      if (noise_) return noise_->read(noise_->count() == 1 ? 0 : prompt);
      std::vector<float> x(size_t(model_->vae_config().z_dim * h_ * w_), 0.0f);
      picture_noise(options_.seed, prompt, int64_t(x.size()), x.data());
      return x;
    };
    if (!options_.save_latents.empty())
      round_.keep_latents = [this](int64_t prompt, const std::vector<float>& x0) { latents_[prompt] = x0; };
    round_.folder = options_.out;
    round_.file_name = picture_file_name;
    round_.seed = options_.seed;
    round_.png_text = {{"sampler", options_.sampler},
                       {"steps", cat(options_.steps)},
                       {"guidance", cat(guidance_)},
                       {"Software", "wandistill " WANDISTILL_VERSION}};
  }

  /// What a picture depends on, and whether it is kept at all.
  std::string settings_text() const {
    const SampleOptions& o = options_;
    std::string text =
        cat(model_->fingerprint(), "\n", o.flow_shift, " ", o.boundary_ratio, " ", guidance_, " ",
            guidance_2_, " ", o.sampler, " ", o.steps, " ", o.seed, " ", h_, " ", w_, " ", o.device, " ",
            o.dtype, " ", o.pictures.vae_dtype, "\n", o.noise, "\n", o.negative_prompt, "\n");
    for (const std::string& prompt : prompts_) text += prompt + "\n";
    return cat(fnv1a(text));
  }

  /// If a signal stopped the same command before: what it drew is not drawn again, but where latents are
  /// wanted too. Collective.
  void find_pictures() {
    if (!options_.save_latents.empty()) return;
    std::string lines;
    session_.collectively([&] {
      if (!session_.is_root() || !fs::exists(unfinished()) ||
          JsonObject::load(unfinished()).get_string_or("settings", "") != settings_text())
        return;
      const int64_t scale = model_->vae_config().scale();
      SamplesFolder folder(options_.out, h_ * scale, w_ * scale);
      folder.load();
      for (const PictureRecord& record : folder.records())
        if (!record.file.empty() && folder.has_picture(record.file)) lines += to_json_line(record) + "\n";
    });
    session_.broadcast(&lines);
    std::istringstream in(lines);
    for (std::string line; std::getline(in, line);) round_.there.push_back(parse_json_line(line, "rank 0"));
  }
  fs::path unfinished() const { return fs::path(options_.out) / "unfinished.json"; }

  /// manifest.jsonl and index.html beside the pictures, and the latents of all ranks.
  void leave_records(const RoundResult& result) {
    std::vector<int64_t> prompts;
    std::vector<float> values;
    for (const auto& [prompt, x0] : latents_) {
      prompts.push_back(prompt);
      values.insert(values.end(), x0.begin(), x0.end());
    }
    const std::vector<int64_t> all_prompts = session_.gather(prompts);
    const std::vector<float> all_values = session_.gather(values);
    session_.collectively([&] {
      if (!session_.is_root()) return;
      const int64_t scale = model_->vae_config().scale();
      SamplesFolder folder(options_.out, h_ * scale, w_ * scale);
      folder.add(result.records);
      folder.write("Pictures by " + fs::path(options_.model).filename().string(), {});
      if (!options_.save_latents.empty()) save_latents(all_prompts, all_values);
      if (result.stopped && result.missing() > 0)
        write_json(unfinished(), {{"settings", settings_text()}});
      else
        fs::remove(unfinished());
    });
    if (session_.is_root())
      print_line(cat(int64_t(prompts_.size()) - result.missing(),
                     " pictures, index.html and manifest.jsonl in ", options_.out));
  }

  /// values: latents [C, h, w] of each of `prompts`. A picture that is missing has NaN.
  void save_latents(const std::vector<int64_t>& prompts, const std::vector<float>& values) const {
    const int64_t C = model_->vae_config().z_dim, size = C * h_ * w_, n = int64_t(prompts_.size());
    std::vector<float> ordered(size_t(n * size), std::numeric_limits<float>::quiet_NaN());
    for (size_t row = 0; row < prompts.size(); ++row)
      std::copy_n(values.begin() + int64_t(row) * size, size, ordered.begin() + prompts[row] * size);
    write_h5_atomically(options_.save_latents, [&](H5File& file) {
      file.create_extendible<float>("latents", {C, 1, h_, w_}, 1);
      file.append_rows<float>("latents", n, ordered.data());
      file.write_strings("prompts", prompts_);
    });
  }

  Session& session_;
  const SampleOptions& options_;
  const ComputeDevice device_;
  const Compute& compute_;
  StopSignals stop_;
  std::optional<Pipeline> model_;
  std::optional<LatentsFile> noise_;
  std::vector<std::string> prompts_;
  double guidance_ = 1, guidance_2_ = 1;
  TextEmbedding negative_;
  int64_t h_ = 0, w_ = 0;
  PictureRound round_;
  std::map<int64_t, std::vector<float>> latents_;  // by prompt, of the pictures that this rank wrote
};

}  // namespace

int run_sample(Session& session, const SampleOptions& options) {
  if (options.dry_run) return dry_run_sample(session, options);
  session.set_collective_timeout(options.pictures.fence_timeout);
  preflight(session, options.device, {options.out});
  return SampleJob(session, options).run();
}

int run_decode(Session& session, const DecodeOptions& options) {
  const ComputeDevice device(session, options.device, options.conv);
  const Compute& compute = device.compute();
  StopSignals stop;
  stop_before_the_end(session, options.time_margin, &stop);
  const auto stops = [&] {
    fault_point("decode");
    return stop_everywhere(session, stop);
  };
  int64_t count = 0, done = 0;
  session.collectively([&] {
    const WanVaeDecoder vae(resolve_model_folder(options.model) / "vae", parse_vae_dtype(options.vae_dtype),
                            compute);
    const LatentsFile latents(options.latents, "latents");
    count = latents.count();
    if (latents.channels() != vae.config().z_dim)
      fail("--latents ", options.latents, " has ", latents.channels(), " channels; the vae of ",
           options.model, " takes ", vae.config().z_dim);
    make_directories(options.out);
    const int64_t rows = options.vae_tile_rows
                             ? options.vae_tile_rows
                             : vae.strip_rows(latents.height(), latents.width(),
                                              compute.memory_budget(session), compute.threads);
    const std::vector<int64_t> mine = strided_slice(count, session.rank(), session.world_size());
    for (size_t i = 0; i < mine.size() && !stop_everywhere(session, stop); ++i) {
      std::vector<float> x = latents.read(mine[i]);
      if (!options.normalised)
        normalise_latents(vae.config(), latents.height(), latents.width(), x.data(), x.data());
      const std::optional<Image> image =
          decode_picture(vae, x.data(), latents.height(), latents.width(), compute, rows, stops);
      if (!image) break;
      write_png(fs::path(options.out) / picture_file_name(session.rank(), int64_t(i)), image->width,
                image->height, image->rgb.data(),
                {{"latents", options.latents}, {"Software", "wandistill " WANDISTILL_VERSION}});
      ++done;
    }
  });
  done = session.sum(done);
  if (session.is_root()) print_line(cat(done, " pictures in ", options.out));
  return done == count ? 0 : kStopped;
}

}  // namespace wandistill
