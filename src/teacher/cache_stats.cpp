// `wandistill cache stats`.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <map>

#include "src/teacher/leases.h"
#include "src/teacher/shard_check.h"
#include "wandistill/commands.h"
#include "wandistill/error.h"
#include "wandistill/prompts.h"

namespace wandistill {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMostNames = 20;

std::string line(std::string what, const std::string& value) {
  what.resize(16, ' ');
  return "  " + what + value + "\n";
}

std::string megabytes(double bytes) {
  char text[40];
  std::snprintf(text, sizeof text, "%.1f MB", bytes / 1e6);
  return text;
}

std::string rounding_text(const TeacherCache& cache) {
  double squares[2] = {0, 0}, most[2] = {0, 0};
  for (int64_t i = 0; i < cache.items(); ++i) {
    const auto [latents, velocity] = cache.rounding(i);
    const double errors[2] = {latents, velocity};
    for (const int kind : {0, 1}) {
      squares[kind] += errors[kind] * errors[kind];
      most[kind] = std::max(most[kind], errors[kind]);
    }
  }
  const double n = double(cache.items());
  return cat("latents ", std::sqrt(squares[0] / n), " (at most ", most[0], "), velocity ",
             std::sqrt(squares[1] / n), " (at most ", most[1], ")");
}

std::string trajectories_text(const TeacherCache& cache) {
  std::map<std::string, int64_t> repetitions;  // of each prompt
  for (int64_t i = 0; i < cache.items(); ++i) ++repetitions[cache.item(i).prompt];
  std::string text = line("prompts", cat(repetitions.size()));
  if (repetitions.empty()) return text;
  const auto fewer = [](const auto& a, const auto& b) { return a.second < b.second; };
  const auto [least, most] = std::minmax_element(repetitions.begin(), repetitions.end(), fewer);
  text +=
      line("trajectories", cat(cache.items(), ", ", least->second,
                               least->second < most->second ? cat(" to ", most->second) : "", " per prompt"));
  text += line("points", cat(cache.items() * cache.points(), ", ", cache.points(),
                             " per trajectory, latents ", shape_text(cache.picture())));
  text += line("stored in", cache.settings()["cache_dtype"].get<std::string>());
  text += line("rounding error", rounding_text(cache));
  if (cache.duplicates() > 0)
    text += line("duplicates", cat(cache.duplicates(), " trajectories, which cache merge leaves out"));
  text += line("settings", cache.settings().dump());
  return text;
}

std::string texts_text(const TeacherCache& cache) {
  int64_t tokens = 0;
  const std::vector<std::string> prompts = cache.texts();
  for (const std::string& prompt : prompts) tokens += cache.tokens(prompt);
  return line("texts",
              cat(prompts.size(), " embeddings, ", tokens, " tokens of ", cache.text_dim(), " numbers"));
}

std::string files_text(const fs::path& folder, const TeacherCache& cache) {
  double bytes = 0;
  for (const fs::path& file : cache.files()) bytes += double(fs::file_size(file));
  int64_t claims = 0;
  for (const auto& entry : fs::directory_iterator(folder)) claims += entry.path().extension() == ".claim";
  return line("shards", cat(cache.shards(), ", ", megabytes(bytes))) +
         (claims > 0 ? line("claimed", cat(claims, " records, by jobs at work or killed ones")) : "");
}

std::string missing_text(const StatsOptions& options, const TeacherCache& cache) {
  const std::vector<CacheItem> wanted = cache_items(read_prompts(options.data_path), options.repetitions);
  int64_t missing = 0;
  std::string names;
  for (const CacheItem& item : wanted) {
    if (cache.find(item) >= 0) continue;
    if (++missing <= kMostNames) names += "    " + item_name(item) + "\n";
  }
  if (missing > kMostNames) names += "    ...\n";
  return line("missing", cat(missing, " of ", wanted.size(), " trajectories")) + names;
}

}  // namespace

int run_cache_stats(Session& session, const StatsOptions& options) {
  session.collectively([&] {
    if (!session.is_root()) return;
    const TeacherCache cache(options.cache_dir);
    if (cache.shards() == 0) fail(options.cache_dir, ": there are no shards of a teacher cache in it");
    const std::string missing = options.data_path.empty() ? "" : missing_text(options, cache);
    std::cout << options.cache_dir << "\n"
              << trajectories_text(cache) << texts_text(cache) << files_text(options.cache_dir, cache)
              << missing << std::flush;
  });
  return 0;
}

}  // namespace wandistill
