#include "wandistill/loss_curve.h"

#include <algorithm>
#include <fstream>
#include <string>
#include <utility>

#include "wandistill/json.h"

namespace wandistill {
namespace {

std::optional<double> number(const Json& line, const char* key) {
  const auto found = line.find(key);
  if (found == line.end() || !found->is_number()) return std::nullopt;  // not finite: null
  return found->get<double>();
}

/// Puts the lines of metrics.jsonl together as they come.
class CurveReader {
 public:
  void take(const Json& line) {
    if (!line.is_object() || !line.contains("step") || !line["step"].is_number_integer()) return;
    const auto step = line["step"].get<int64_t>();
    if (line.contains("epoch") && line["epoch"].is_number_integer()) {
      point(step).epoch = line["epoch"].get<int64_t>();
      point(step).validation_error = number(line, "validation_error");
    } else {
      point(step) = {.epoch = 0, .step = step, .loss = number(line, "loss"), .validation_error = {}};
    }
  }

  /// With every step's epoch: that of the next line that ended one.
  std::vector<LossPoint> finish() && {
    int64_t last = 0;
    for (const LossPoint& p : points_) last = std::max(last, p.epoch);
    int64_t epoch = last + 1;
    for (auto p = points_.rbegin(); p != points_.rend(); ++p) {
      if (p->epoch > 0) epoch = p->epoch;
      p->epoch = epoch;
    }
    return std::move(points_);
  }

 private:
  /// The point of this step, which becomes the last one: later ones were discarded by a resumed run.
  LossPoint& point(int64_t step) {
    while (!points_.empty() && points_.back().step > step) points_.pop_back();
    if (points_.empty() || points_.back().step < step) points_.emplace_back().step = step;
    return points_.back();
  }

  std::vector<LossPoint> points_;
};

/// The mean of the values that are there.
class Mean {
 public:
  void add(const std::optional<double>& value) {
    if (!value) return;
    sum_ += *value;
    ++count_;
  }
  std::optional<double> value() const {
    if (count_ == 0) return std::nullopt;
    return sum_ / static_cast<double>(count_);
  }

 private:
  double sum_ = 0;
  int64_t count_ = 0;
};

/// Stretches of equally many steps, each as its mean at its last step.
std::vector<LossPoint> thin(const std::vector<LossPoint>& points, int64_t most) {
  const auto count = static_cast<int64_t>(points.size());
  std::vector<LossPoint> thinned;
  for (int64_t block = 0, at = 0; block < most; ++block) {
    Mean loss, validation_error;
    for (const int64_t end = (block + 1) * count / most; at < end; ++at) {
      loss.add(points[static_cast<size_t>(at)].loss);
      validation_error.add(points[static_cast<size_t>(at)].validation_error);
    }
    const LossPoint& last = points[static_cast<size_t>(at - 1)];
    thinned.push_back({last.epoch, last.step, loss.value(), validation_error.value()});
  }
  return thinned;
}

}  // namespace

std::vector<LossPoint> loss_curve(const std::filesystem::path& metrics, int64_t most_points) {
  CurveReader reader;
  std::ifstream in(metrics);
  for (std::string line; std::getline(in, line);)
    reader.take(Json::parse(line, nullptr, /*allow_exceptions=*/false));
  std::vector<LossPoint> points = std::move(reader).finish();
  if (static_cast<int64_t>(points.size()) <= most_points) return points;
  return thin(points, most_points);
}

}  // namespace wandistill
