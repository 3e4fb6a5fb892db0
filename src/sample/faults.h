// Faults for tests of what happens when something fails.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace wandistill {

/// Read from the environment variable WANDISTILL_FAULT, a comma-separated list of
///   fail:PROMPT         drawing this prompt throws
///   nan:PROMPT          its latents come out as NaN
///   batch:SIZE          drawing more prompts than this at once throws
///   delay:RANK:SECONDS  the rank sleeps before its first prompt
///   slow:RANK:FACTOR    its denoising steps take FACTOR times as long
///   step:RANK:SECONDS   it sleeps after every denoising step
///   decode:RANK:SECONDS  it sleeps before every part of a decode (WanVaeDecoder::decode_rows)
///   kill:RANK           it is killed (SIGKILL) at its first denoising step
/// Not meant for users: it is in no help text.
class Faults {
 public:
  /// Error where the variable cannot be understood.
  explicit Faults(int rank);

  /// Before a rank's first prompt.
  void at_start() const;
  /// Throws if the prompt is to fail.
  void before(int64_t prompt) const;
  /// Throws if a batch of so many prompts is to fail.
  void before_batch(int64_t prompts) const;
  /// Overwrites latents if they are to be NaN.
  void spoil(int64_t prompt, int64_t count, float* latents) const;
  /// Before a part of a decode.
  void in_decode() const;
  /// After a denoising step that took so many seconds.
  void after_step(double seconds) const;

 private:
  struct Fault {
    std::string kind;
    int64_t target;  // prompt, rank or size
    double amount;   // seconds or factor
  };
  std::vector<Fault> faults_;
  int rank_;
};

}  // namespace wandistill
