// The samples page: every picture once and in its place, missing ones, escaping, curve, gallery.
#include "wandistill/samples_page.h"

#include <doctest/doctest.h>

#include "src/sample/html.h"
#include "src/sample/page_curve.h"
#include "src/sample/page_grid.h"
#include "tests/unit/temporary_folder.h"

namespace wandistill {
namespace {

using testing::check_mentions;

int64_t count(const std::string& text, const std::string& part) {
  int64_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++n;
  return n;
}

/// What stands between the first `begin` and the next `end`.
std::string between(const std::string& text, const std::string& begin, const std::string& end) {
  const size_t from = text.find(begin);
  REQUIRE(from != std::string::npos);
  const size_t to = text.find(end, from);
  REQUIRE(to != std::string::npos);
  return text.substr(from, to - from);
}

/// Every part stands in the text, each after the one before it.
void check_order(const std::string& text, const std::vector<std::string>& parts) {
  size_t at = 0;
  for (const std::string& part : parts) {
    INFO("expected '", part, "' after the parts before it in: ", text);
    const size_t found = text.find(part, at);
    REQUIRE(found != std::string::npos);
    at = found + part.size();
  }
}

PictureRecord record(const std::string& epoch, int64_t prompt_index) {
  return {.file = cat("e", epoch, "p", prompt_index, ".png"),
          .prompt = cat("prompt text ", prompt_index),
          .prompt_index = prompt_index,
          .seed = 42,
          .epoch = epoch,
          .step = epoch == "teacher" || epoch.empty() ? 0 : std::stoll(epoch) * 10,
          .denoise_seconds = 1,
          .decode_seconds = 0.5};
}

SamplesPage page_of(const std::vector<PictureRecord>& records) {
  return {.title = "a title",
          .records = merge_records({}, records),
          .curve = {},
          .picture_width = 96,
          .picture_height = 64};
}

std::string table_of(const std::string& page) {
  return between(page, "<table class=grid>", "</table>");
}

TEST_CASE("samples page: prompts down, epochs across, the teacher last, every picture once") {
  std::vector<PictureRecord> records;
  for (const char* epoch : {"10", "teacher", "2", "0"})
    for (int64_t prompt : {2, 0, 1}) records.push_back(record(epoch, prompt));
  const std::string page = samples_page(page_of(records));
  for (const PictureRecord& r : records) {
    CHECK(count(page, "<img src=\"" + r.file + "\"") == 1);
    CHECK(count(page, "href=\"" + r.file + "\"") == 1);
  }
  const std::string table = table_of(page);
  check_order(table, {"epoch 0", "epoch 2", "step 20", "epoch 10", "step 100", "<th class=teacher>teacher",
                      "<tbody>"});
  std::vector<std::string> order;
  for (const char* prompt : {"0", "1", "2"}) {
    order.insert(order.end(), {cat(">prompt text ", prompt, "</div>"), cat("prompt ", prompt, " · seed 42")});
    for (const char* epoch : {"0", "2", "10"})
      order.push_back(
          cat("<td><a class=shot id=\"p", prompt, "-", epoch, "\" href=\"e", epoch, "p", prompt, ".png\""));
    order.push_back(cat("<td class=teacher><a class=shot id=\"p", prompt, "-teacher\" href=\"eteacherp",
                        prompt, ".png\""));
  }
  check_order(table, order);
  check_order(between(page, "<div class=rounds", "</table>"),
              {"<td>10</td><td>100</td><td>3</td><td>0</td><td>1</td><td>4.50 s</td>", "<td>2</td>",
               "<td>0</td>", "<td>teacher</td><td></td>"});
  check_mentions(page, {"3 prompts · 3 epochs · 12 pictures by 1 rank in 18.0 s of work",
                        "--width: 96px; --height: 64px"});
  CHECK(page.find("<svg") == std::string::npos);
  CHECK(page.find("http") == std::string::npos);  // no network
}

TEST_CASE("samples page: what is missing is grey and says why") {
  PictureRecord failed = record("1", 1);
  failed.file.clear();
  failed.error = "latents are not finite <at step 3>";
  const std::string page = samples_page(page_of({record("1", 0), failed, record("2", 1)}));
  check_mentions(page,
                 {"2 pictures", "<b>1 missing</b>", "<td>1</td><td>10</td><td>1</td><td><b>1</b></td>"});
  const std::string table = table_of(page);
  check_order(table, {"e1p0.png", "not drawn", "prompt text 1",
                      "<b>no picture</b> latents are not finite &lt;at step 3&gt;", "e2p1.png"});
  CHECK(count(table, "class=missing") == 2);
  CHECK(count(table, "<img") == 2);
}

TEST_CASE("samples page: text cannot break out, file names become links") {
  PictureRecord odd = record("1", 0);
  odd.prompt = "<script>\"a\" & 'b' größer 星";
  odd.file = "a b#1?\"ü.png";
  SamplesPage content = page_of({odd});
  content.title = "<i>&";
  const std::string page = samples_page(content);
  CHECK(count(page, "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39; größer 星") == 2);  // text and title
  CHECK(count(page, "<script>") == 1);
  CHECK(count(page, "=\"a%20b%231%3F%22%C3%BC.png\"") == 2);
  CHECK(count(page, "&lt;i&gt;&amp;") == 2);
  CHECK(html::escape("a\x01\x7f\tb\nc") == "a   b\nc");
}

TEST_CASE("samples page: hovering shows who drew a picture, how long it took, and its seed") {
  PictureRecord helped = record("3", 0);
  helped.rank = 5;
  helped.helpers = 1;
  helped.batch = 4;
  helped.write_seconds = 0.012;
  helped.fence_wait_seconds = 250;
  PictureRecord other_seed = record("4", 0);
  other_seed.seed = UINT64_MAX;
  const std::string table = table_of(samples_page(page_of({helped, other_seed})));
  check_mentions(table, {"epoch 3, step 30\nseed 42, drawn by rank 5 with 1 helper in a batch of 4\n"
                         "denoise 1.00 s, decode 0.50 s, write 12 ms, then waited 250 s\ne3p0.png",
                         "seed 18446744073709551615", "prompt 0 · a seed per epoch"});
}

TEST_CASE("samples page: seconds and counts as people write them") {
  CHECK(html::seconds(0) == "0 s");
  CHECK(html::seconds(0.0034) == "3.4 ms");
  CHECK(html::seconds(0.0997) == "100 ms");
  CHECK(html::seconds(1.234) == "1.23 s");
  CHECK(html::seconds(99.7) == "99.7 s");
  CHECK(html::seconds(12345.6) == "12\u00a0346 s");
  CHECK(html::grouped(999) == "999");
  CHECK(html::grouped(1234567) == "1\u00a0234\u00a0567");
  CHECK(html::counted(1, "rank") == "1 rank");
  CHECK(html::counted(1000, "rank") == "1\u00a0000 ranks");
}

TEST_CASE("samples page: prompts that changed at a resume have rows of their own") {
  PictureRecord changed = record("2", 0);
  changed.prompt = "another";
  const PictureGrid grid = make_grid(merge_records({}, {record("1", 0), changed, record("1", 1)}));
  REQUIRE(grid.rows.size() == 3);
  CHECK(grid.rows[0].prompt->prompt == "another");
  CHECK(grid.rows[0].cells[0] == nullptr);
  CHECK(grid.rows[1].prompt->prompt == "prompt text 0");
  CHECK(grid.rows[1].cells[1] == nullptr);
  CHECK(grid.rows[2].prompt->prompt_index == 1);
}

TEST_CASE("samples page: outside of training a gallery") {
  PictureRecord failed = record("", 2);
  failed.file.clear();
  failed.error = "disk full";
  const std::string page = samples_page(page_of({record("", 1), record("", 0), failed}));
  check_order(between(page, "<body>", "<dialog"),
              {"3 prompts · 2 pictures by 1 rank", "<b>1 missing</b>", "ep0.png", "prompt text 0", "ep1.png",
               "prompt text 1", "disk full", "prompt text 2"});
  CHECK(count(page, "<img src=") == 2);
  CHECK(page.find("<table") == std::string::npos);
  CHECK(page.find("epoch 0") == std::string::npos);
  CHECK_NOTHROW(samples_page(page_of({})));
}

TEST_CASE("samples page: small pictures by a whole factor, large ones shrunk") {
  const auto check_size = [](const PictureSize& size, int64_t width, int64_t height, bool enlarged) {
    CHECK(size.width == width);
    CHECK(size.height == height);
    CHECK(size.enlarged == enlarged);
  };
  check_size(shown_size(96, 96, 144), 96, 96, false);
  check_size(shown_size(40, 24, 144), 120, 72, true);
  check_size(shown_size(1024, 512, 144), 144, 72, false);
  check_size(shown_size(5000, 1, 144), 144, 1, false);
}

TEST_CASE("samples page: the curve has both lines, logarithmic where they span much") {
  std::vector<LossPoint> curve{{1, 1, 4.0, {}}, {1, 2, {}, 2.0}, {2, 3, 3.0, {}}, {2, 4, 2.5, 1.0}};
  const std::string linear = curve_figure(curve);
  check_mentions(linear, {"training loss, last 2.5", "validation error, last 1",
                          "epoch 2, step 4: validation error 1", "4 done"});
  CHECK(linear.find("logarithmic") == std::string::npos);
  CHECK(count(linear, "<circle") == 2);
  CHECK(count(between(linear, "<path class=loss", "/>"), "M") == 2);        // a gap at step 2
  CHECK(count(between(linear, "<path class=validation", "/>"), "M") == 1);  // none
  curve[0].loss = 40;
  check_mentions(curve_figure(curve), {"logarithmic scale", ">1</text>", ">20</text>"});
  curve[0].loss = 0;  // has no logarithm
  CHECK(curve_figure(curve).find("logarithmic") == std::string::npos);

  CHECK(curve_figure({}).empty());
  CHECK(curve_figure({{1, 1, {}, {}}}).empty());
  const std::string one = curve_figure({{1, 1, 0.5, {}}});
  CHECK(one.find("validation error, last") == std::string::npos);
  CHECK(one.find("nan") == std::string::npos);
  CHECK(one.find("inf") == std::string::npos);
}

}  // namespace
}  // namespace wandistill
