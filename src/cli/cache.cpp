// `wandistill cache`: the cache of teacher trajectories filled, and cache verify, merge, stats.
#include "src/cli/data_folder.h"
#include "src/cli/subcommands.h"
#include "src/cli/usage_error.h"

namespace wandistill::cli {
namespace {

void declare_wanted(OptionSet& set, std::string* data_path, int64_t* repetitions) {
  set.add("data_path", data_path, "FILE",
          "prompts that should be in it, one per line: names those that are missing")
      ->unset_means("nothing is looked for");
  set.add("repetitions", repetitions, "N", "trajectories that there should be of each")->limits(at_least(1));
}

Prepared prepare_verify(const std::vector<std::string>& arguments) {
  VerifyOptions options;
  OptionSet set(
      "cache verify DIR [options]",
      "Reads a teacher cache whole and names every record that is damaged, and every one that is missing.\n"
      "Exit code 3 if there are any. With several ranks the shards are dealt over them.");
  set.group("Options");
  set.add("cache_dir", &options.cache_dir, "DIR", "the cache; required");
  set.positional("cache_dir");
  declare_wanted(set, &options.data_path, &options.repetitions);
  set.add("repair", &options.repair,
          "remove what is damaged and keep the rest of its shards; `cache` or `train` makes it anew");
  if (!set.parse(arguments)) return {set.help(), nullptr};
  require_option("cache_dir", options.cache_dir);
  return {"", [options](Session& session) { return run_cache_verify(session, options); }};
}

Prepared prepare_merge(const std::vector<std::string>& arguments) {
  MergeOptions options;
  OptionSet set(
      "cache merge --from DIR DIR ... --cache_dir DIR",
      "Writes the union of teacher caches into one, each record once, in order, in full shards: the same\n"
      "records give the same files. Every record is verified. With several ranks the shards are dealt over\n"
      "them; the same command goes on where it was stopped.");
  set.group("Options");
  set.add("from", &options.from, "DIR",
          "the caches; where two have a record, the first one's is taken; required");
  set.add("cache_dir", &options.cache_dir, "DIR", "receives the union: a new folder; required");
  set.add("shard_mb", &options.shard_mb, "N", "MiB in a shard at most, if a record is not larger")
      ->limits(between(1, 1 << 20));
  if (!set.parse(arguments)) return {set.help(), nullptr};
  require_option("cache_dir", options.cache_dir);
  if (options.from.empty())
    usage_error("--from is missing; wandistill cache merge --help says what it takes");
  return {"", [options](Session& session) { return run_cache_merge(session, options); }};
}

Prepared prepare_stats(const std::vector<std::string>& arguments) {
  StatsOptions options;
  OptionSet set(
      "cache stats DIR [options]",
      "Shows what is in a teacher cache: settings, prompts, trajectories, points, bytes, number type and\n"
      "what it cost, and what is missing.");
  set.group("Options");
  set.add("cache_dir", &options.cache_dir, "DIR", "the cache; required");
  set.positional("cache_dir");
  declare_wanted(set, &options.data_path, &options.repetitions);
  if (!set.parse(arguments)) return {set.help(), nullptr};
  require_option("cache_dir", options.cache_dir);
  return {"", [options](Session& session) { return run_cache_stats(session, options); }};
}

}  // namespace

CacheLine::CacheLine(const std::filesystem::path& data)
    : set("cache --cache_dir DIR [options]\n       wandistill cache verify|merge|stats --help",
          "Fills a cache of teacher trajectories, which train --cache_dir DIR then takes as its own. Any "
          "number of\n"
          "ranks (mpirun -n N wandistill cache ...) and of jobs may fill one folder, one after the other or "
          "at once:\n"
          "they divide what is missing.") {
  FillOptions& o = options;
  o.teacher.teacher_path = embedded(data, "tiny-wan");
  o.student_config = embedded(data, "student_tiny.json");
  o.data_path = embedded(data, "prompts_shapes.txt");
  set.group("What to draw");
  set.add("data_path", &o.data_path, "FILE", "prompts, one per line, UTF-8")
      ->help_default("DATA/prompts_shapes.txt");
  set.add("student_config", &o.student_config, "FILE",
          "the student that this is for: says the pictures' size")
      ->help_default("DATA/student_tiny.json");
  set.add("image_size", &image_size, "N",
          "height and width in pixels (default: as the student's config says)")
      ->limits(at_least(1))
      ->unset_means("as the student's config says");
  set.add("seed", &o.seed, "S", "of the noise; the same as train's");
  declare_teacher(set, o.teacher);
  declare_cache(set, o.cache, "the folder that is filled; required");
  set.group("Run");
  set.add(
      "dry_run", &o.dry_run,
      "say what it will take and check files, sizes, disk, memory and devices for it; writes nothing, exit "
      "code 1 if something is wrong");
  declare_device(set, &o.device);
  declare_compute_dtype(set, &o.compute_dtype);
  declare_time_margin(set, &o.time_margin);
  set.add("fence_timeout", &o.fence_timeout, "SECONDS", "how long ranks may be waited for")
      ->limits(at_least(0.001));
}

bool CacheLine::parse(const std::vector<std::string>& arguments) {
  if (!set.parse(arguments)) return false;
  apply_compute_dtype(options.compute_dtype, {{"teacher_dtype", &options.teacher.teacher_dtype}});
  require_option("cache_dir", options.cache.cache_dir);
  require_option("teacher_path", options.teacher.teacher_path);
  require_option("data_path", options.data_path);
  options.height = options.width = image_size;
  if (image_size == 0) require_option("student_config", options.student_config);
  return true;
}

Prepared prepare_cache(const std::vector<std::string>& arguments) {
  const std::string first = arguments.empty() ? "" : arguments.front();
  const auto rest = [&] { return std::vector<std::string>(arguments.begin() + 1, arguments.end()); };
  if (first == "verify") return prepare_verify(rest());
  if (first == "merge") return prepare_merge(rest());
  if (first == "stats") return prepare_stats(rest());
  CacheLine line(find_data_folder());
  if (!line.parse(arguments)) return {line.set.help(), nullptr};
  const auto run = [options = line.options, listing = line.set.listing()](Session& session) {
    print_opening(session, "cache", listing);
    return run_cache(session, options);
  };
  return {"", run};
}

}  // namespace wandistill::cli
