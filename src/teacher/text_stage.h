// The stage of the teacher cache that encodes prompts.
#pragma once

#include "src/teacher/cache_shard.h"
#include "src/teacher/cache_stage.h"

namespace wandistill {

class TextStage : public CacheStage {
 public:
  /// prompts: those without an embedding in the cache. They outlive this.
  TextStage(const FillJob& job, const std::vector<std::string>& prompts);

 private:
  void prepare() override { job_.teacher.load_text_encoder(&job_.session); }
  bool present(int64_t piece) const override;
  bool compute(const std::vector<int64_t>& pieces) override;
  int64_t kept_bytes() const override { return bytes_; }
  void write(H5File& file) override;
  void drop() override;

  const std::vector<std::string>& prompts_;
  std::vector<PromptText> records_;
  int64_t bytes_ = 0;
};

}  // namespace wandistill
