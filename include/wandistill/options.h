// What the command line decides: one struct per subcommand. src/cli declares each option once, with its help
// text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace wandistill {

/// --teacher_placement, and the names that other programs have for it.
struct PlacementOptions {
  std::string teacher_placement = "auto";  // teacher_placement.h
  std::string teacher_device_strategy;     // cpu | balanced | gpu0 | auto; empty: not given
  bool teacher_on_cpu = false;
};

/// Where the teacher's weights are and how it samples.
struct TeacherOptions {
  std::string teacher_path;  // folder in the diffusers layout, or a name in the local Hugging Face cache
  std::string teacher_dtype = "float32";
  int64_t teacher_steps = 25;
  std::string teacher_sampler = "ddim";  // ddim | unipc
  double guidance = 4.0;                 // high-noise expert
  double guidance_2 = 3.0;               // low-noise expert
  std::string negative_prompt;
  double flow_shift = 0;       // 0: as the folder's scheduler says
  double boundary_ratio = -1;  // negative: as the folder says
};

/// The cache of the teacher's trajectories and how it is filled.
struct CacheOptions {
  std::string cache_dir;
  int64_t repetitions = 1;           // trajectories per prompt, each from its own noise
  int64_t teacher_batch = 8;         // prompts that the teacher denoises at once
  std::string cache_dtype = "auto";  // auto | float32 | bfloat16 | float16
  int64_t shard_mb =
      256;  // of a shard of trajectories or texts at most, if a batch is not larger; 2^20 bytes
  PlacementOptions placement;
  double lease_seconds = 180;  // a claim of a job that has not been heard of for so long is void
};

/// How rounds of pictures are drawn, between epochs and by `wandistill sample`.
struct PictureOptions {
  std::string sample_distribution = "strided";  // strided | block | dynamic
  int64_t sample_batch = 0;                     // prompts that a rank denoises at once; 0: by free memory
  std::string sample_split = "auto";            // auto | off
  std::string vae_dtype = "float32";            // float32 | bfloat16 | float16
  int64_t vae_tile_rows = 0;                    // latent rows decoded at once; 0: by free memory
  std::string conv = "own";                     // the VAE decoder's convolution: own | cudnn
  int64_t png_compression = 6;                  // 0..9
  double fence_timeout = 3600;                  // seconds, of the fence and of collectives
};

/// `wandistill train`
struct TrainOptions {
  TeacherOptions teacher;
  CacheOptions cache;  // its cache_dir may be empty: output_dir/cache
  PictureOptions pictures;
  std::string student_config;
  std::string data_path;  // a text file, one prompt per line
  std::string output_dir;
  std::string device = "auto";            // auto | cpu | cuda | simt
  std::string student_dtype = "float32";  // of weights and activations on a device: float32 | bfloat16
  std::string compute_dtype;              // not empty: sets teacher_dtype and student_dtype
  bool dry_run = false;                   // plans and checks, and writes nothing
  double time_margin = 2;                 // minutes, of stop_before_the_end
  bool distributed = false;               // accepted: the world size is MPI's
  uint64_t seed = 0;

  std::string init = "pca";  // slice | pca | random
  int64_t num_epochs = 100;
  int64_t num_steps = 0;    // optimizer steps at most; 0: no limit
  double max_minutes = 0;   // training time at most, the schedule follows it; 0: no limit
  int64_t batch_size = 32;  // global: all ranks together, per optimizer step
  int64_t micro_batch = 0;  // samples of a rank per forward pass; 0: its whole share
  bool gradient_checkpointing = false;
  double lr = 2e-3;
  int64_t warmup_steps = 50;
  double min_lr_ratio = 0.02;
  double weight_decay = 0.01;
  double beta1 = 0.9, beta2 = 0.95, adam_eps = 1e-8;
  double clip = 1.0;
  double ema_decay = 0.999;
  int64_t zero = 0;                          // 1: the ranks share the optimizer's state (shard.h)
  std::string sigma_weighting = "relative";  // uniform | relative
  double renoise_weight = 0.0;               // lambda of the re-noised x0 term
  double validation_fraction = 0.05;
  int64_t max_nonfinite = 10;  // skipped updates in a row that end the run

  bool save_samples = false;
  std::vector<std::string> sample_prompts;  // empty: the first 4 of the data
  int64_t sample_interval = 1;              // epochs
  int64_t sample_steps = 10;
  uint64_t sample_seed = 1;
  bool sample_seed_per_epoch = false;  // epoch e draws with sample_seed + e
  bool strict_samples = false;         // a missing picture ends the run
  std::string sample_dir;              // empty: output_dir/samples

  int64_t checkpoint_interval = 1;  // epochs
  int64_t keep_checkpoints = 3;     // newest
  int64_t keep_every = 0;           // epochs whose checkpoints stay for good; 0: none
  std::string resume = "auto";      // auto | none | a checkpoint file
};

/// `wandistill cache`
struct FillOptions {
  TeacherOptions teacher;
  CacheOptions cache;
  std::string data_path;          // a text file, one prompt per line
  std::string student_config;     // says the pictures' size
  int64_t height = 0, width = 0;  // pixels; 0: the student's
  std::string device = "auto";
  uint64_t seed = 0;
  bool dry_run = false;         // plans and checks, and writes nothing
  std::string compute_dtype;    // not empty: sets teacher_dtype
  double time_margin = 2;       // minutes, of stop_before_the_end
  double fence_timeout = 3600;  // seconds
};

/// `wandistill cache verify`
struct VerifyOptions {
  std::string cache_dir;
  std::string data_path;    // empty: what is missing is not looked for
  int64_t repetitions = 1;  // that are wanted of each prompt
  bool repair = false;      // removes what is damaged, so that it is made anew
};

/// `wandistill cache merge`
struct MergeOptions {
  std::vector<std::string> from;
  std::string cache_dir;  // receives the union
  int64_t shard_mb = 256;
};

/// `wandistill cache stats`
struct StatsOptions {
  std::string cache_dir;
  std::string data_path;    // empty: what is missing is not looked for
  int64_t repetitions = 1;  // that are wanted of each prompt
};

/// `wandistill sample`
struct SampleOptions {
  PictureOptions pictures;
  std::string model;  // a teacher's or a student's folder
  std::vector<std::string> prompts;
  std::string prompt_file;  // or: one prompt per line
  std::string out;
  bool dry_run = false;  // checks, and writes nothing
  std::string device = "auto";
  std::string dtype = "float32";
  std::string compute_dtype;  // not empty: sets dtype
  int64_t steps = 25;
  std::string sampler = "ddim";  // ddim | unipc
  double guidance = -1;          // negative: 4 for a teacher, 1 for a student
  double guidance_2 = -1;        // negative: 3 for a teacher's default, else as guidance
  std::string negative_prompt;
  double flow_shift = 0;       // 0: as the folder's scheduler says
  double boundary_ratio = -1;  // negative: as the folder says
  uint64_t seed = 0;
  int64_t height = 0, width = 0;  // pixels; 0: the model folder's default
  std::string noise;              // FILE.h5:dataset, [C, 1, h, w] or [n, C, 1, h, w]
  std::string save_latents;       // FILE.h5
  double time_margin = 2;         // minutes, of stop_before_the_end
};

/// `wandistill decode`
struct DecodeOptions {
  std::string model;       // a folder with a vae
  std::string latents;     // FILE.h5:dataset, [C, 1, h, w] or [n, C, 1, h, w]
  bool normalised = true;  // latents as the transformer sees them (false: as the VAE does)
  std::string vae_dtype = "float32";
  int64_t vae_tile_rows = 0;  // latent rows decoded at once; 0: by free memory
  std::string conv = "own";   // own | cudnn
  std::string device = "auto";
  std::string out;
  double time_margin = 2;  // minutes, of stop_before_the_end
};

/// `wandistill plan`. Zero: as the card, the data or the configs say.
struct PlanOptions {
  TrainOptions train;
  std::string card = "h100";               // machine.h
  double gpu_memory = 0, host_memory = 0;  // GB, of a rank's GPU and of a node
  double matmul_tflops = 0;                // achieved by a rank
  double link_gbs = 0;                     // GB/s from the host to a GPU
  int64_t world_size = 1, ranks_per_node = 0;
  int64_t threads = 0;     // of a rank
  int64_t image_size = 0;  // pixels
  int64_t num_prompts = 0, prompt_tokens = 0;
  std::string json;  // receives the plan
};

/// `wandistill doctor`
struct DoctorOptions {
  TrainOptions train;  // of the run that is to come; output_dir may be empty
  bool json = false;   // prints one JSON object in place of the table
};

/// `wandistill inspect`
struct InspectOptions {
  std::string path;  // a teacher, student, cache or checkpoint
};

}  // namespace wandistill
