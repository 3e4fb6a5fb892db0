#include "src/sample/round_report.h"

#include <algorithm>
#include <cstdio>
#include <sstream>

#include "wandistill/error.h"

namespace wandistill {
namespace {

constexpr size_t kRanksListed = 16;

std::string seconds_text(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", seconds);
  return text;
}

std::string waits_text(std::vector<double> waits) {
  if (waits.size() > kRanksListed) {
    std::sort(waits.begin(), waits.end());
    return cat("fence wait ", seconds_text(waits.front()), " to ", seconds_text(waits.back()), " s, median ",
               seconds_text(waits[waits.size() / 2]), " s");
  }
  std::string text = "fence wait by rank";
  for (size_t i = 0; i < waits.size(); ++i) text += cat(i ? ", " : " ", seconds_text(waits[i]));
  return text + " s";
}

/// One record for every prompt: those that no rank has were not begun.
std::vector<PictureRecord> by_prompt(const PictureRound& round, const std::vector<PictureRecord>& found) {
  std::vector<PictureRecord> all(round.prompts.size());
  for (size_t i = 0; i < all.size(); ++i) {
    all[i].prompt = round.prompts[i];
    all[i].prompt_index = int64_t(i);
    all[i].seed = round.seed;
    all[i].epoch = round.epoch;
    all[i].step = round.step;
    all[i].rank = -1;
    all[i].error = "stopped by a signal before it was drawn";
  }
  for (const std::vector<PictureRecord>& records : {round.there, found})
    for (const PictureRecord& record : records) all[size_t(record.prompt_index)] = record;
  return all;
}

}  // namespace

RoundResult report_round(const Session& session, const PictureRound& round,
                         std::vector<PictureRecord> records, const RoundTimes& times) {
  std::string lines;
  for (PictureRecord& record : records) {
    record.fence_wait_seconds = times.fence_wait;
    lines += to_json_line(record) + "\n";
  }
  std::vector<PictureRecord> found;
  const std::vector<std::string> of_ranks = session.gather(lines);
  for (size_t rank = 0; rank < of_ranks.size(); ++rank) {
    std::istringstream in(of_ranks[rank]);
    for (std::string line; std::getline(in, line);)
      found.push_back(parse_json_line(line, cat("rank ", rank)));
  }
  RoundResult result{.records = by_prompt(round, found)};
  const double busy = session.sum(times.busy), seconds = session.max(times.seconds);
  const std::vector<double> waits = session.gather(std::vector<double>{times.fence_wait});
  if (!session.is_root()) return result;
  const int64_t there = int64_t(round.there.size()),
                drawn = int64_t(result.records.size()) - result.missing() - there;
  print_line(cat(round.what, ": ", there ? cat(there, " pictures were there already, ") : "", drawn,
                 " pictures by ", session.world_size(),
                 session.world_size() == 1 ? " rank in " : " ranks in ", seconds_text(seconds), " s, ",
                 seconds_text(busy / std::max(seconds, 1e-9)), " times as fast as one (", seconds_text(busy),
                 " s of work); ", waits_text(waits)));
  if (result.missing() > 0) {
    print_line(cat(round.what, ": ", result.missing(), " MISSING:"));
    for (const PictureRecord& r : result.records)
      if (r.file.empty()) print_line(cat("  prompt ", r.prompt_index, " '", r.prompt, "': ", r.error));
  }
  return result;
}

}  // namespace wandistill
