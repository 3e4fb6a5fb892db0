// Why it is done this way: measured on the tiny teacher (hidden 192 to 128, 3 heads to 2, 576 to 384 units, 4
// layers kept), the error ||v_s - v_t||^2 / ||v_t||^2 against the guided velocity on 60 held-out captions, at
// the start and after 600 steps of AdamW (batch 32, lr 2e-3, cosine; 2,000 captions). One run each; the only
// two that differed in nothing but the order of the data ended 0.005 apart.
//
//   initialisation                                              start   600 steps
//   random                                                      1.09    0.49
//   slice                                                       0.96    0.24
//   pca                                                         0.70    0.18
//   pca, 16 calibration points in place of 64                           0.20
//   pca, 192 calibration points                                         0.17
// and, of an earlier version of the same:
//   pca, from the low-noise expert                              0.72    0.18
//   pca, from the high-noise expert                             0.73    0.17
//   pca, experts averaged, each measured at its own sigmas      0.72    0.20
//   the same, unconditional pictures measured as well           0.74    0.20
//   the same, each layer's weights refitted by ridge regression
//     to the teacher's stream, block after block                0.58    0.20
//   the same, modulations left out of the weights               0.92    not trained
//
// So the principal directions are worth having. The least squares start better and end the same: left out.
#include "wandistill/projection.h"

#include <algorithm>
#include <cmath>

#include "src/model/projection_reduce.h"
#include "wandistill/error.h"
#include "wandistill/philox.h"

namespace wandistill {
namespace {

void refuse_misfit(const WanConfig& teacher, const WanConfig& student) {
  const auto check = [](const char* what, int64_t has, int64_t student_has, bool fits, const char* right) {
    if (!fits)
      fail("the student's weights cannot be projected from the teacher's: ", what, " is ", student_has,
           ", the teacher's is ", has, "; it must be ", right, " (--init random has no such limits)");
  };
  const auto at_most = [&](const char* what, int64_t has, int64_t wants) {
    check(what, has, wants, wants <= has, "at most that");
  };
  const auto same = [&](const char* what, int64_t has, int64_t wants) {
    check(what, has, wants, wants == has, "the same");
  };
  at_most("the number of layers", teacher.layers, student.layers);
  at_most("the hidden size", teacher.hidden(), student.hidden());
  at_most("the number of heads", teacher.heads, student.heads);
  at_most("the head dim", teacher.head_dim, student.head_dim);
  at_most("the feed-forward width", teacher.ffn_dim, student.ffn_dim);
  same("the width of the text embeddings", teacher.text_dim, student.text_dim);
  same("the width of the timestep embedding", teacher.freq_dim, student.freq_dim);
  same("the number of input channels", teacher.in_channels, student.in_channels);
  same("the number of output channels", teacher.out_channels, student.out_channels);
  same("the patch height", teacher.patch_height, student.patch_height);
  same("the patch width", teacher.patch_width, student.patch_width);
}

void refuse_bad(const Calibration& calibration, const WanConfig& teacher) {
  const size_t n = calibration.timesteps.size();
  if (n == 0) fail("the teacher's weights cannot be projected without calibration inputs");
  const int64_t size = teacher.in_channels * calibration.height * calibration.width;
  if (calibration.texts.size() != n || int64_t(calibration.latents.size()) != int64_t(n) * size)
    fail("internal error: calibration with ", n, " timesteps, ", calibration.texts.size(), " texts and ",
         calibration.latents.size(), " latent values, ", size, " per picture");
}

bool contains(const std::string& name, const char* part) {
  return name.find(part) != std::string::npos;
}

/// As diffusers leaves a fresh WanTransformer3DModel: PyTorch's uniform +-1 / sqrt(fan in) for weights and
/// biases, normal / sqrt(C) for the tables, 1 and 0 for the norms.
Buffer<float> random_weights(const ParameterLayout& layout, uint64_t seed) {
  Buffer<float> weights(layout.total());
  int64_t fan_in = 1;
  uint64_t stream = 0;
  for (const ParameterInfo& p : layout.parameters()) {
    float* at = weights.data() + p.offset;
    const bool bias = p.name.ends_with(".bias");
    if (contains(p.name, "scale_shift_table")) {
      fill_gaussian(seed, stream++, 0, p.size, at);
      const float scale = 1 / std::sqrt(float(p.shape.back()));
      for (int64_t i = 0; i < p.size; ++i) at[i] *= scale;
    } else if (contains(p.name, "norm")) {
      std::fill(at, at + p.size, bias ? 0.0f : 1.0f);
    } else {
      if (!bias) fan_in = p.size / p.shape[0];  // a bias follows its weight
      fill_uniform(seed, stream++, 0, p.size, at);
      const float bound = 1 / std::sqrt(float(fan_in));
      for (int64_t i = 0; i < p.size; ++i) at[i] = (2 * at[i] - 1) * bound;
    }
  }
  return weights;
}

}  // namespace

InitKind parse_init(const std::string& name) {
  if (name == "slice") return InitKind::kSlice;
  if (name == "pca") return InitKind::kPca;
  if (name == "random") return InitKind::kRandom;
  fail("unknown initialisation '", name, "'; expected slice, pca or random");
}

Buffer<float> initial_student(InitKind kind, const WanTransformer& teacher, const WanWeights& expert,
                              const WanTransformer& student, double projection_factor,
                              const Calibration& calibration, uint64_t seed, const Queue& queue,
                              Session* session) {
  if (kind == InitKind::kRandom) return random_weights(student.layout(), seed);
  refuse_misfit(teacher.config(), student.config());
  refuse_bad(calibration, teacher.config());
  const TeacherStatistics statistics =
      measure_teacher(teacher, expert, chosen_layers(teacher.config().layers, student.config().layers),
                      calibration, session, queue);
  Buffer<float> weights = reduce_teacher(kind, teacher, expert, statistics, student, calibration, queue);
  for (const ParameterInfo& p : student.layout().parameters())
    if (p.name.ends_with(".weight") && !contains(p.name, "norm"))
      for (int64_t i = p.offset; i < p.offset + p.size; ++i) weights[i] *= float(projection_factor);
  return weights;
}

}  // namespace wandistill
