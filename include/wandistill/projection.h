// The student's first weights: the teacher's, projected onto fewer layers, channels, heads and feed-forward
// units.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "wandistill/wan_transformer.h"

namespace wandistill {

class Session;

/// How a student starts.
/// kSlice: the residual stream keeps its strongest channels.
/// kPca: it keeps the principal directions of its normalised activations (after SliceGPT, Ashkboos et al.
/// 2024,
///   https://arxiv.org/abs/2401.15024, with Wan's modulated norms), turned as near to the strongest channels
///   as they go.
/// Both choose layers evenly, and heads and feed-forward units by what they add to the stream; both fit the
/// time embedding on a grid of timesteps and the text embedding on the calibration prompts by least squares.
/// kRandom: as diffusers initialises, from the seed; the teacher and the calibration are not looked at.
enum class InitKind { kSlice, kPca, kRandom };
/// "slice", "pca" or "random"; else an error naming all three.
InitKind parse_init(const std::string& name);

/// Inputs on which the teacher's activations are measured: a few dozen points of its own trajectories, of all
/// sigmas.
struct Calibration {
  int64_t height = 0, width = 0;            // of the latents
  std::vector<float> latents;               // [n, in_channels, h, w]
  std::vector<float> timesteps;             // [n], 1000 * sigma
  std::vector<const TextEmbedding*> texts;  // [n]
};

/// The student's weights, laid out as student.layout() says; the same on any number of threads. It is
/// computed on the host, from the weights of one expert of the teacher. projection_factor scales the
/// projected matrices (not biases, norms and tables).
///
/// The student may have fewer layers, heads, feed-forward units and a smaller head dim than the teacher; more
/// of any is an error that names it, and so are other text, timestep, latent or patch sizes. Of a wider head,
/// evenly spaced rotary pairs of each axis are kept: each will turn at the student's frequency nearest to its
/// own, not at its own, so that attention to positions starts less exact.
///
/// Cost, besides the two sets of weights: n conditional forwards of the teacher, one picture at a time, a
/// tenth more for measuring, divided over the session's ranks (then it is collective, and every rank has the
/// same weights); then on every rank two eigenvalue decompositions of [C, C], on one thread. For C = 5120
/// these take 3 to 4 minutes each and 1 GB; the measured pass holds about 10 L C + 2 L F floats, 1.1 GB at L
/// = 4096.
Buffer<float> initial_student(InitKind kind, const WanTransformer& teacher, const WanWeights& expert,
                              const WanTransformer& student, double projection_factor,
                              const Calibration& calibration, uint64_t seed, const Queue& queue,
                              Session* session = nullptr);

}  // namespace wandistill
