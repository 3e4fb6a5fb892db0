// Prompt text to token ids: the SentencePiece model of a teacher folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace wandistill {

/// Encodes as T5TokenizerFast does: special tokens written out in the text (</s>, <pad>, <unk>, <extra_id_n>)
/// become their ids, the text between them goes through SentencePiece, </s> ends every prompt. Encoding is
/// const and thread-safe.
class Tokenizer {
 public:
  /// A tokenizer folder (with spiece.model) or the model file itself. Error where it is missing or damaged.
  explicit Tokenizer(const std::filesystem::path& folder_or_model);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;

  /// At most max_length ids, the last one always </s>. The prompt should have gone through clean_prompt.
  std::vector<int32_t> encode(std::string_view prompt, int64_t max_length = 512) const;
  int64_t vocabulary_size() const;
  int32_t eos_id() const { return eos_; }
  int32_t pad_id() const { return pad_; }

 private:
  std::unique_ptr<sentencepiece::SentencePieceProcessor> model_;
  std::vector<std::pair<std::string, int32_t>> special_;  ///< literal text, id; longest first
  int32_t eos_ = 1, pad_ = 0;
};

}  // namespace wandistill
