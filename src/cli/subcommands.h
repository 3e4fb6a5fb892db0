// What each subcommand makes of its arguments.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "src/cli/option_set.h"
#include "wandistill/commands.h"
#include "wandistill/options.h"

namespace wandistill::cli {

/// A command line that has been understood: either text to print, or something to run.
struct Prepared {
  std::string text;                  // of --help or --version; nothing is run then
  std::function<int(Session&)> run;  // returns the exit code
};

// One file each (train.cpp, ...). Arguments: what stands behind the subcommand. UsageError where they are
// wrong.
Prepared prepare_train(const std::vector<std::string>& arguments);
Prepared prepare_cache(const std::vector<std::string>& arguments);
Prepared prepare_sample(const std::vector<std::string>& arguments);
Prepared prepare_decode(const std::vector<std::string>& arguments);
Prepared prepare_plan(const std::vector<std::string>& arguments);
Prepared prepare_doctor(const std::vector<std::string>& arguments);
Prepared prepare_inspect(const std::vector<std::string>& arguments);

/// The whole line behind the program's name.
Prepared prepare(const std::vector<std::string>& arguments);

/// The options of `train`. data: the embedded data folder, may be empty.
struct TrainLine {
  explicit TrainLine(const std::filesystem::path& data);
  TrainLine(const TrainLine&) = delete;  // the set points into the options
  /// Sets and checks the options; UsageError where they are wrong. False where --help was given.
  bool parse(const std::vector<std::string>& arguments);

  TrainOptions options;
  OptionSet set;
};

/// The options of `sample`.
struct SampleLine {
  SampleLine();
  SampleLine(const SampleLine&) = delete;
  /// As TrainLine's.
  bool parse(const std::vector<std::string>& arguments);

  SampleOptions options;
  int64_t image_size = 0;  // sets height and width
  OptionSet set;
};

/// The options of `plan`: those of a machine, and all of train's.
struct PlanLine {
  /// data: as TrainLine's.
  explicit PlanLine(const std::filesystem::path& data);
  PlanLine(const PlanLine&) = delete;
  /// As TrainLine's.
  bool parse(const std::vector<std::string>& arguments);

  PlanOptions options;
  OptionSet set;
};

/// The options of `cache` that fill it. data as TrainLine's.
struct CacheLine {
  explicit CacheLine(const std::filesystem::path& data);
  CacheLine(const CacheLine&) = delete;
  /// As TrainLine's.
  bool parse(const std::vector<std::string>& arguments);

  FillOptions options;
  int64_t image_size = 0;  // sets height and width
  OptionSet set;
};

/// Declares all of train's options, the embedded data as their defaults.
void declare_train(OptionSet& set, TrainOptions& options, const std::filesystem::path& data);
/// Declares where the teacher is and how it samples.
void declare_teacher(OptionSet& set, TeacherOptions& options);
/// --flow_shift, --boundary_ratio.
void declare_schedule(OptionSet& set, double* flow_shift, double* boundary_ratio);
/// Declares the cache and how it is filled. Returns its folder's option, whose help is `folder`.
OptionValue* declare_cache(OptionSet& set, CacheOptions& options, const std::string& folder);
/// Declares the options that train and sample have in common for drawing pictures.
void declare_pictures(OptionSet& set, PictureOptions& options);
/// Declares --vae_dtype, --vae_tile_rows and --conv.
void declare_vae(OptionSet& set, std::string* dtype, int64_t* tile_rows, std::string* conv);
/// Declares --device.
void declare_device(OptionSet& set, std::string* device);
/// Declares --compute_dtype.
void declare_compute_dtype(OptionSet& set, std::string* compute_dtype);
/// Where --compute_dtype is given, sets these options to it; UsageError where one of them says something
/// else.
void apply_compute_dtype(const std::string& compute_dtype,
                         const std::vector<std::pair<const char*, std::string*>>& options);
/// Declares --time_margin.
void declare_time_margin(OptionSet& set, double* minutes);
/// UsageError where an option without which nothing can be done is missing.
void require_option(const std::string& name, const std::string& value);
/// Rank 0 prints the effective options with a heading.
void print_opening(const Session& session, const std::string& subcommand, const std::string& listing);

}  // namespace wandistill::cli
