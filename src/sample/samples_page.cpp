#include "wandistill/samples_page.h"

#include <algorithm>
#include <map>
#include <set>

#include "src/sample/html.h"
#include "src/sample/page_curve.h"
#include "src/sample/page_grid.h"
#include "src/sample/page_style.h"
#include "wandistill/error.h"

namespace wandistill {
namespace {

constexpr int64_t kGridLimit = 144, kGalleryLimit = 256;  // CSS pixels, of a picture's longer side

/// What one round took.
struct Round {
  int64_t step = 0, pictures = 0, missing = 0;
  std::set<int> ranks;
  double work_seconds = 0, fence_wait_seconds = 0;  // of all ranks; of the rank that waited longest

  void add(const PictureRecord& r) {
    step = std::max(step, r.step);
    ++(r.file.empty() ? missing : pictures);
    if (r.rank >= 0) ranks.insert(r.rank);
    work_seconds += r.work_seconds();
    fence_wait_seconds = std::max(fence_wait_seconds, r.fence_wait_seconds);
  }
};

/// "12 prompts · 7 epochs · 83 pictures by 4 ranks in 12.3 s of work · 1 missing".
std::string summary(const PictureGrid& grid, const std::vector<PictureRecord>& records, bool training) {
  Round all;
  for (const PictureRecord& record : records) all.add(record);
  std::string text = html::counted(static_cast<int64_t>(grid.rows.size()), "prompt");
  const auto is_epoch = [](const std::string& epoch) { return epoch != "teacher"; };
  if (training) text += " · " + html::counted(std::ranges::count_if(grid.epochs, is_epoch), "epoch");
  text += cat(" · ", html::counted(all.pictures, "picture"), " by ",
              html::counted(static_cast<int64_t>(all.ranks.size()), "rank"), " in ",
              html::seconds(all.work_seconds), " of work");
  if (all.missing > 0) text += cat(" · <b>", html::grouped(all.missing), " missing</b>");
  return "<p class=summary>" + text + "</p>\n";
}

/// One line per round, the newest first, the teacher's last.
std::string rounds_table(const PictureGrid& grid, const std::vector<PictureRecord>& records) {
  std::map<std::string, Round> rounds;
  for (const PictureRecord& record : records) rounds[record.epoch].add(record);
  std::vector<std::string> order(grid.epochs.rbegin(), grid.epochs.rend());
  if (!order.empty() && order.front() == "teacher")
    std::rotate(order.begin(), order.begin() + 1, order.end());
  std::string out =
      "<div class=rounds tabindex=0><table>\n<thead><tr><th>epoch</th><th>step</th><th>pictures</th>"
      "<th>missing</th><th>ranks</th><th>work, all ranks</th><th>longest wait</th></tr></thead>\n<tbody>\n";
  for (const std::string& epoch : order) {
    const Round& round = rounds.at(epoch);
    out +=
        cat("<tr><td>", html::escape(epoch), "</td><td>", epoch == "teacher" ? "" : html::grouped(round.step),
            "</td><td>", html::grouped(round.pictures), "</td><td>",
            round.missing > 0 ? cat("<b>", round.missing, "</b>") : "0", "</td><td>", round.ranks.size(),
            "</td><td>", html::seconds(round.work_seconds), "</td><td>",
            html::seconds(round.fence_wait_seconds), "</td></tr>\n");
  }
  return out + "</tbody></table></div>\n";
}

std::string document(const std::string& title, const PictureSize& size, const std::string& body) {
  const std::string name = html::escape(title);
  std::string out = "<!DOCTYPE html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n";
  out += "<meta name=viewport content='width=device-width, initial-scale=1'>\n";
  out += "<meta name=generator content='wandistill " WANDISTILL_VERSION "'>\n";
  out += "<link rel=icon href='data:,'>\n";  // none; or browsers ask a server for one
  out += cat("<title>", name, "</title>\n<style>", kPageStyle);
  out += cat(":root { --width: ", size.width, "px; --height: ", size.height, "px; }\n");
  if (size.enlarged) out += ".shot img { image-rendering: pixelated; }\n";
  out += cat("</style>\n</head>\n<body>\n<h1>", name, "</h1>\n", body);
  return out + cat(kPageDialog, "<script>", kPageScript, "</script>\n</body>\n</html>\n");
}

}  // namespace

std::string samples_page(const SamplesPage& page) {
  const PictureGrid grid = make_grid(page.records);
  const bool training =
      std::ranges::any_of(grid.epochs, [](const std::string& epoch) { return !epoch.empty(); });
  const PictureSize size =
      shown_size(page.picture_width, page.picture_height, training ? kGridLimit : kGalleryLimit);
  std::string body = summary(grid, page.records, training);
  if (training)
    body += cat("<div class=overview>\n", curve_figure(page.curve), rounds_table(grid, page.records),
                "</div>\n", grid_table(grid, size));
  else
    body += curve_figure(page.curve) + gallery(grid, size);
  return document(page.title, size, body);
}

}  // namespace wandistill
