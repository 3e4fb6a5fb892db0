// What bin/bench/warm keeps warm: one computation on inputs that another program made too.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "wandistill/buffer.h"
#include "wandistill/compute.h"
#include "wandistill/json.h"
#include "wandistill/safetensors.h"

namespace wandistill::bench {

/// The tensors of FOLDER/inputs.safetensors.
class Inputs {
 public:
  explicit Inputs(const std::filesystem::path& folder) : files_(folder, "inputs") {}
  const Shape& shape(const std::string& name) const { return files_.info(name).shape; }
  Buffer<float> read(const std::string& name) const {
    Buffer<float> out(element_count(shape(name)));
    files_.read(name, shape(name), out.data());
    return out;
  }
  /// text [sum of tokens, Dt] cut by text_tokens [B].
  std::vector<TextEmbedding> texts() const {
    const Buffer<float> tokens = read("text_tokens"), rows = read("text");
    const int64_t width = shape("text")[1];
    std::vector<TextEmbedding> out;
    const float* from = rows.data();
    for (const float count : tokens) {
      const float* to = from + int64_t(count) * width;
      out.push_back({int64_t(count), {from, to}});
      from = to;
    }
    return out;
  }

 private:
  SafetensorsFolder files_;
};

struct Output {
  std::string name;
  std::vector<float> values;
};

class Subject {
 public:
  virtual ~Subject() = default;
  virtual void run() = 0;
  /// What the peer's are compared with; asked for once, before the first run().
  virtual std::vector<Output> results() = 0;
  /// Of one run, by the formula (wandistill/flops.h).
  virtual double flop() const = 0;
};

/// model: the folder of a component or of a pipeline in the diffusers layout.
std::unique_ptr<Subject> make_student_step(const std::filesystem::path& model, const Inputs& inputs,
                                           const Queue& queue);
/// With products of bfloat16.
std::unique_ptr<Subject> make_student_step_bf16(const std::filesystem::path& model, const Inputs& inputs,
                                                const Queue& queue);
std::unique_ptr<Subject> make_transformer_forward(const std::filesystem::path& model, const Inputs& inputs,
                                                  const Queue& queue);
std::unique_ptr<Subject> make_text_encoder(const std::filesystem::path& model, const Inputs& inputs,
                                           const Queue& queue);
std::unique_ptr<Subject> make_vae_decode(const std::filesystem::path& model, const Inputs& inputs,
                                         const Queue& queue);
std::unique_ptr<Subject> make_ddim_sampling(const std::filesystem::path& model, const Inputs& inputs,
                                            const Queue& queue);

}  // namespace wandistill::bench
