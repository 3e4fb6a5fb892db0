#include "wandistill/flow_schedule.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "wandistill/error.h"
#include "wandistill/json.h"

namespace wandistill {
namespace {

/// The sigmas in float64, without the final 0. Each expression in the reference's order of operations.
std::vector<double> flow_sigmas_double(int64_t steps, double shift) {
  if (steps < 1) fail("sampling steps: ", steps, " is too few, at least 1 is needed");
  if (!(shift > 0)) fail("flow shift: ", shift, " must be above 0");
  std::vector<double> sigmas(static_cast<size_t>(steps));
  const double stride = (1.0 / 1000 - 1.0) / static_cast<double>(steps);
  for (int64_t i = 0; i < steps; ++i) sigmas[i] = shift_sigma(static_cast<double>(i) * stride + 1.0, shift);
  if (std::abs(sigmas[0] - 1) < 1e-6) sigmas[0] -= 1e-6;
  return sigmas;
}

void allowed_bool(const JsonObject& config, const std::string& key, bool otherwise, bool allowed) {
  const bool value = config.get_bool_or(key, otherwise);
  if (value != allowed) {
    config.refuse(key, cat(value ? "true" : "false", " is not supported, only ", allowed ? "true" : "false"));
  }
}

void allowed_string(const JsonObject& config, const std::string& key, const std::string& otherwise,
                    const std::string& allowed, const std::string& why = "") {
  const std::string value = config.get_string_or(key, otherwise);
  if (value != allowed) {
    config.refuse(key, cat("\"", value, "\" is not supported, only \"", allowed, "\"", why));
  }
}

}  // namespace

double shift_sigma(double sigma, double shift) {
  return shift * sigma / (1 + (shift - 1) * sigma);
}

std::vector<float> flow_sigmas(int64_t steps, double shift) {
  const std::vector<double> exact = flow_sigmas_double(steps, shift);
  std::vector<float> sigmas(exact.begin(), exact.end());
  sigmas.push_back(0);
  return sigmas;
}

std::vector<int64_t> flow_integer_timesteps(int64_t steps, double shift) {
  std::vector<int64_t> timesteps;
  for (const double sigma : flow_sigmas_double(steps, shift)) {
    timesteps.push_back(static_cast<int64_t>(sigma * 1000));
  }
  return timesteps;
}

std::vector<SchedulePoint> flow_schedule(int64_t steps, double shift) {
  std::vector<SchedulePoint> points;
  for (const float sigma : flow_sigmas(steps, shift)) {
    points.push_back({1 - sigma, sigma, static_cast<float>(static_cast<double>(sigma) * 1000)});
  }
  return points;
}

std::vector<SchedulePoint> linear_schedule(int64_t steps) {
  if (steps < 1) fail("sampling steps: ", steps, " is too few, at least 1 is needed");
  std::vector<SchedulePoint> points;
  for (int64_t i = 0; i < steps; ++i) {
    const double abar = std::clamp(static_cast<double>(i) / static_cast<double>(steps), 1e-3, 1 - 1e-3);
    points.push_back({static_cast<float>(std::sqrt(abar)), static_cast<float>(std::sqrt(1 - abar)),
                      static_cast<float>(1000 * (1 - abar))});
  }
  points.push_back({1, 0, 0});
  return points;
}

// A key that is absent means what it means to diffusers: the default in UniPCMultistepScheduler.__init__.
SchedulerConfig SchedulerConfig::load(const std::string& model_folder) {
  const JsonObject file =
      JsonObject::load(std::filesystem::path(model_folder) / "scheduler" / "scheduler_config.json");
  const std::string kind = file.get_string("_class_name");
  if (kind != "UniPCMultistepScheduler") {
    file.refuse("_class_name", cat("\"", kind, "\" is not supported, only \"UniPCMultistepScheduler\""));
  }
  allowed_string(file, "prediction_type", "epsilon", "flow_prediction");
  allowed_string(file, "solver_type", "bh2", "bh2", " (bh1 divides by zero at the final sigma 0)");
  allowed_string(file, "final_sigmas_type", "zero", "zero");
  allowed_bool(file, "use_flow_sigmas", false, true);
  allowed_bool(file, "predict_x0", true, true);
  for (const char* key : {"use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas",
                          "use_dynamic_shifting", "thresholding"}) {
    allowed_bool(file, key, false, false);
  }
  for (const char* key : {"shift_terminal", "solver_p"}) {
    if (!file.is_null(key)) file.refuse(key, "is set; only null is supported");
  }
  const int64_t train_timesteps = file.get_int_or("num_train_timesteps", 1000);
  if (train_timesteps != 1000) {
    file.refuse("num_train_timesteps", cat(train_timesteps, " is not supported, only 1000"));
  }

  SchedulerConfig config;
  config.flow_shift = file.get_double_or("flow_shift", 1);
  if (!(config.flow_shift > 0)) file.refuse("flow_shift", cat(config.flow_shift, " must be above 0"));
  config.solver_order = file.get_int_or("solver_order", 2);
  if (config.solver_order < 1 || config.solver_order > 3) {
    file.refuse("solver_order", cat(config.solver_order, " is not supported, only 1, 2 and 3"));
  }
  config.lower_order_final = file.get_bool_or("lower_order_final", true);
  if (!config.lower_order_final && config.solver_order > 1) {
    file.refuse("lower_order_final", cat("false with solver_order ", config.solver_order,
                                         " divides by zero at the final sigma 0; it must be true"));
  }
  config.disable_corrector = file.get_ints_or("disable_corrector", {});
  return config;
}

}  // namespace wandistill
