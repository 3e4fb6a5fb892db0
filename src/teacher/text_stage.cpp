#include "src/teacher/text_stage.h"

#include "wandistill/error.h"

namespace wandistill {
namespace {

constexpr int64_t kBatch = 32;  // prompts that a rank claims at once

std::vector<std::string> keys(const std::vector<std::string>& prompts) {
  std::vector<std::string> keys;
  for (const std::string& prompt : prompts) keys.push_back(claim_key("text", prompt));
  return keys;
}

}  // namespace

TextStage::TextStage(const FillJob& job, const std::vector<std::string>& prompts)
    : CacheStage(job, "text encoder:", "prompts", cat("text_rank_", job.session.rank()), keys(prompts),
                 kBatch),
      prompts_(prompts) {}

bool TextStage::present(int64_t piece) const {
  return job_.cache.has_text(prompts_[size_t(piece)]);
}

bool TextStage::compute(const std::vector<int64_t>& pieces) {
  std::vector<PromptText> computed;
  for (const int64_t piece : pieces) {
    if (stopped()) return false;
    job_.session.board().post(cat("text encoder, prompt ", computed.size() + 1, " of ", pieces.size()));
    computed.push_back({prompts_[size_t(piece)], job_.teacher.encode(prompts_[size_t(piece)])});
  }
  for (PromptText& record : computed) {
    bytes_ += int64_t(record.text.rows.size() * sizeof(float));
    records_.push_back(std::move(record));
  }
  return true;
}

void TextStage::write(H5File& file) {
  write_texts(file, job_.settings.text_json().dump(), job_.teacher.transformer().config().text_dim, records_);
}

void TextStage::drop() {
  records_.clear();
  bytes_ = 0;
}

}  // namespace wandistill
