// The loss curve out of metrics.jsonl: resumed runs, damaged lines, thinning.
#include "wandistill/loss_curve.h"

#include <doctest/doctest.h>

#include "tests/unit/temporary_folder.h"

namespace wandistill {
namespace {

using testing::put;
using testing::TemporaryFolder;

std::string step_line(int64_t step, double loss) {
  return cat("{\"step\":", step, ",\"loss\":", loss, ",\"skipped\":false}\n");
}
std::string epoch_line(int64_t epoch, int64_t step, const std::string& validation_error) {
  return cat("{\"epoch\":", epoch, ",\"step\":", step, ",\"loss\":9,\"validation_error\":", validation_error,
             "}\n");
}

TEST_CASE("loss curve: steps with their epochs, validation where an epoch ended") {
  const TemporaryFolder folder;
  CHECK(loss_curve(folder / "metrics.jsonl").empty());
  const auto curve = loss_curve(put(
      folder / "metrics.jsonl",
      "{\"teacher_seconds\":9.5}\n" + step_line(1, 0.5) + "{\"step\":2,\"loss\":null,\"skipped\":true}\n" +
          epoch_line(1, 2, "0.75") + step_line(3, 0.25) + epoch_line(2, 3, "null") + step_line(4, 0.125)));
  REQUIRE(curve.size() == 4);
  for (int64_t i = 0; i < 4; ++i) CHECK(curve[size_t(i)].step == i + 1);
  CHECK(curve[0].loss == 0.5);
  CHECK(!curve[1].loss);
  CHECK(curve[3].loss == 0.125);
  CHECK(!curve[0].validation_error);
  CHECK(curve[1].validation_error == 0.75);
  CHECK(!curve[2].validation_error);
  CHECK(curve[0].epoch == 1);
  CHECK(curve[1].epoch == 1);
  CHECK(curve[2].epoch == 2);
  CHECK(curve[3].epoch == 3);
}

TEST_CASE("loss curve: what a resumed run had discarded is left out, and lines cut off") {
  const TemporaryFolder folder;
  const auto curve = loss_curve(put(
      folder / "metrics.jsonl", step_line(1, 1) + step_line(2, 2) + epoch_line(1, 2, "20") + step_line(3, 3) +
                                    step_line(4, 4) + epoch_line(2, 4, "40") + "{\"step\":5,\"lo" + "\n" +
                                    step_line(2, 22) + step_line(3, 33) + "{\"step\":4,\"loss\":4"));
  REQUIRE(curve.size() == 3);
  CHECK(curve[0].loss == 1.0);
  CHECK(curve[1].loss == 22.0);
  CHECK(!curve[1].validation_error);
  CHECK(curve[2].loss == 33.0);
}

TEST_CASE("loss curve: of many steps, means of equal stretches") {
  const TemporaryFolder folder;
  std::string text;
  for (int64_t step = 1; step <= 1001; ++step) {
    text += step_line(step, double(step));
    if (step % 100 == 0) text += epoch_line(step / 100, step, cat(step));
  }
  const auto path = put(folder / "metrics.jsonl", text);
  const auto curve = loss_curve(path);
  REQUIRE(curve.size() == 400);
  double sum = 0;
  int64_t before = 0, validations = 0;
  for (const LossPoint& p : curve) {
    const int64_t steps = p.step - before;  // before + 1 ... p.step, whose mean is theirs
    CHECK((steps == 2 || steps == 3));
    CHECK(p.loss.value() == doctest::Approx(double(before + 1 + p.step) / 2));
    sum += p.loss.value() * double(steps);
    before = p.step;
    if (p.validation_error) ++validations;
  }
  CHECK(before == 1001);
  CHECK(sum == doctest::Approx(1001.0 * 1002 / 2));
  CHECK(validations == 10);
  CHECK(loss_curve(path, 2000).size() == 1001);
  CHECK(loss_curve(path, 1).at(0).loss.value() == doctest::Approx(501));
}

}  // namespace
}  // namespace wandistill
