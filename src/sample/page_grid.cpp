#include "src/sample/page_grid.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "src/sample/html.h"
#include "wandistill/error.h"

namespace wandistill {
namespace {

using html::escape;

/// "epoch 12", "teacher".
std::string epoch_name(const std::string& epoch) {
  return epoch == "teacher" ? epoch : "epoch " + epoch;
}

/// What hovering shows: a line that says which picture it is, then how it came about.
std::string facts(const PictureRecord& r) {
  std::string text = r.epoch.empty() ? cat("prompt ", r.prompt_index) : epoch_name(r.epoch);
  if (r.step > 0) text += ", step " + html::grouped(r.step);
  text += cat("\nseed ", r.seed, ", drawn by rank ", r.rank);
  if (r.helpers > 0) text += " with " + html::counted(r.helpers, "helper");
  if (r.batch > 1) text += cat(" in a batch of ", r.batch);
  if (!r.file.empty())
    text += cat("\ndenoise ", html::seconds(r.denoise_seconds), ", decode ", html::seconds(r.decode_seconds),
                ", write ", html::seconds(r.write_seconds));
  if (r.fence_wait_seconds > 0) text += ", then waited " + html::seconds(r.fence_wait_seconds);
  return text + "\n" + (r.file.empty() ? r.error : r.file);
}

/// A picture as link to its file, or a grey box with the reason. id: of the place on the page.
std::string picture(const PictureRecord& r, const std::string& id, const PictureSize& size) {
  if (r.file.empty())
    return cat("<div class=missing title=\"", escape(facts(r)), "\"><b>no picture</b> ", escape(r.error),
               "</div>");
  const std::string file = html::link(r.file);
  return cat("<a class=shot id=\"", id, "\" href=\"", file, "\" title=\"", escape(facts(r)), "\"><img src=\"",
             file, "\" alt=\"prompt ", r.prompt_index,
             r.epoch.empty() ? "" : ", " + escape(epoch_name(r.epoch)), "\" width=", size.width,
             " height=", size.height, " loading=lazy decoding=async></a>");
}

std::string prompt_text(const PictureGrid::Row& row) {
  const std::string prompt = escape(row.prompt->prompt);
  return cat("<div class=prompt dir=auto title=\"", prompt, "\">", prompt, "</div><div class=soft>prompt ",
             row.prompt->prompt_index, " · ",
             row.one_seed ? cat("seed ", row.prompt->seed) : "a seed per epoch", "</div>");
}

/// The step of each column's weights, as far as its records say.
std::vector<int64_t> steps_of(const PictureGrid& grid) {
  std::vector<int64_t> steps(grid.epochs.size(), 0);
  for (const PictureGrid::Row& row : grid.rows)
    for (size_t c = 0; c < steps.size(); ++c)
      if (row.cells[c] != nullptr) steps[c] = std::max(steps[c], row.cells[c]->step);
  return steps;
}

std::string column_class(const std::string& epoch) {
  return epoch == "teacher" ? " class=teacher" : "";
}

std::string table_head(const PictureGrid& grid) {
  const std::vector<int64_t> steps = steps_of(grid);
  std::string out = "<thead><tr><th class=label>prompt</th>\n";
  for (size_t c = 0; c < grid.epochs.size(); ++c) {
    out += cat("<th", column_class(grid.epochs[c]), ">", escape(epoch_name(grid.epochs[c])));
    if (grid.epochs[c] != "teacher") out += cat("<div class=soft>step ", html::grouped(steps[c]), "</div>");
    out += "</th>\n";
  }
  return out + "</tr></thead>\n";
}

}  // namespace

PictureGrid make_grid(const std::vector<PictureRecord>& records) {
  // A run that goes on with other prompts has several with the same index.
  using RowKey = std::pair<int64_t, std::string>;
  std::map<RowKey, size_t> row_of;
  std::set<std::string> names;
  for (const PictureRecord& record : records) {
    row_of.emplace(RowKey(record.prompt_index, record.prompt), 0);
    names.insert(record.epoch);
  }
  size_t rows = 0;
  for (auto& [key, row] : row_of) row = rows++;

  PictureGrid grid;
  grid.epochs.assign(names.begin(), names.end());
  std::ranges::sort(grid.epochs, [](const std::string& a, const std::string& b) {
    if ((a == "teacher") != (b == "teacher")) return b == "teacher";
    return epoch_before(a, b);
  });
  std::map<std::string, size_t> column_of;
  for (size_t c = 0; c < grid.epochs.size(); ++c) column_of[grid.epochs[c]] = c;

  grid.rows.assign(rows, {nullptr, true, std::vector<const PictureRecord*>(grid.epochs.size(), nullptr)});
  for (const PictureRecord& record : records) {
    PictureGrid::Row& row = grid.rows[row_of.at(RowKey(record.prompt_index, record.prompt))];
    if (row.prompt == nullptr) row.prompt = &record;
    row.one_seed = row.one_seed && row.prompt->seed == record.seed;
    row.cells[column_of.at(record.epoch)] = &record;
  }
  return grid;
}

PictureSize shown_size(int64_t width, int64_t height, int64_t limit) {
  WD_REQUIRE(width > 0 && height > 0);
  const int64_t side = std::max(width, height), factor = limit / side;
  if (factor > 0) return {width * factor, height * factor, factor > 1};
  const auto shrunk = [&](int64_t x) { return std::max<int64_t>(1, x * limit / side); };
  return {shrunk(width), shrunk(height), false};
}

std::string grid_table(const PictureGrid& grid, const PictureSize& size) {
  std::string out = "<div class=scroll tabindex=0><table class=grid>\n" + table_head(grid) + "<tbody>\n";
  for (size_t i = 0; i < grid.rows.size(); ++i) {
    const PictureGrid::Row& row = grid.rows[i];
    out += "<tr class=row><th class=label>" + prompt_text(row) + "</th>\n";
    for (size_t c = 0; c < grid.epochs.size(); ++c) {
      out += cat("<td", column_class(grid.epochs[c]), ">");
      if (row.cells[c] != nullptr)
        out += picture(*row.cells[c], cat("p", i, "-", escape(grid.epochs[c])), size);
      else
        out += "<div class=missing>not drawn</div>";
      out += "</td>\n";
    }
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string gallery(const PictureGrid& grid, const PictureSize& size) {
  std::string out = "<div class=\"gallery row\">\n";
  for (size_t i = 0; i < grid.rows.size(); ++i)
    out += cat("<figure>", picture(*grid.rows[i].cells.front(), cat("p", i), size), "<figcaption>",
               prompt_text(grid.rows[i]), "</figcaption></figure>\n");
  return out + "</div>\n";
}

}  // namespace wandistill
