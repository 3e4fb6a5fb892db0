#include "wandistill/tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <set>

#include "wandistill/error.h"
#include "wandistill/json.h"

namespace wandistill {
namespace {

namespace fs = std::filesystem;

/// Without the spaces at both ends: the reference drops them around special tokens, SentencePiece only if its
/// model says so.
std::string_view stripped(std::string_view text) {
  const size_t begin = text.find_first_not_of(' ');
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(' ') + 1 - begin);
}

}  // namespace

Tokenizer::Tokenizer(const fs::path& folder_or_model)
    : model_(std::make_unique<sentencepiece::SentencePieceProcessor>()) {
  const bool is_folder = fs::is_directory(folder_or_model);
  const fs::path file = is_folder ? folder_or_model / "spiece.model" : folder_or_model;
  if (!fs::is_regular_file(file)) fail(file.string(), ": the tokenizer's SentencePiece model is missing");
  if (const auto status = model_->Load(file.string()); !status.ok())
    fail(file.string(), ": damaged SentencePiece model: ", status.ToString());

  const auto require = [&](const char* piece) {
    const int id = model_->PieceToId(piece);
    if (model_->IdToPiece(id) != piece) fail(file.string(), ": the model has no piece ", piece);
    return id;
  };
  eos_ = require("</s>");
  pad_ = require("<pad>");

  // Control pieces and <extra_id_n> of the model, and what the tokenizer's config adds to them.
  std::set<std::pair<std::string, int32_t>> special;
  for (int id = 0; id < model_->GetPieceSize(); ++id) {
    const std::string& piece = model_->IdToPiece(id);
    if (model_->IsControl(id) || model_->IsUnknown(id) || piece.starts_with("<extra_id_"))
      special.emplace(piece, id);
  }
  const fs::path config = file.parent_path() / "tokenizer_config.json";
  if (is_folder && fs::exists(config)) {
    const JsonObject json = JsonObject::load(config);
    const Json added =
        json.is_null("added_tokens_decoder") ? Json::object() : json.json()["added_tokens_decoder"];
    for (const auto& [id, token] : added.items()) {
      const bool good = !id.empty() && id.size() < 10 && std::all_of(id.begin(), id.end(), ::isdigit) &&
                        token.is_object() && token.contains("content") && token["content"].is_string();
      if (!good)
        json.refuse("added_tokens_decoder", "expected {\"<id>\": {\"content\": \"<token>\"}}, found " + id);
      if (token["content"] != "") special.emplace(token["content"].get<std::string>(), std::stoi(id));
    }
  }
  special_.assign(special.begin(), special.end());
  std::stable_sort(special_.begin(), special_.end(),
                   [](auto& a, auto& b) { return a.first.size() > b.first.size(); });
}

Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;

int64_t Tokenizer::vocabulary_size() const {
  return model_->GetPieceSize();
}

std::vector<int32_t> Tokenizer::encode(std::string_view prompt, int64_t max_length) const {
  WD_REQUIRE(max_length >= 1);
  std::vector<int32_t> ids;
  const auto append_plain = [&](std::string_view text) {
    text = stripped(text);
    if (text.empty()) return;
    std::vector<int> pieces;
    if (const auto status = model_->Encode(text, &pieces); !status.ok())
      fail("cannot tokenize the prompt '", prompt, "': ", status.ToString());
    ids.insert(ids.end(), pieces.begin(), pieces.end());
  };

  size_t plain_start = 0;
  for (size_t at = 0; at < prompt.size();) {
    const auto token = std::find_if(special_.begin(), special_.end(),
                                    [&](auto& s) { return prompt.substr(at).starts_with(s.first); });
    if (token == special_.end()) {
      ++at;
      continue;
    }
    append_plain(prompt.substr(plain_start, at - plain_start));
    ids.push_back(token->second);
    plain_start = at += token->first.size();
  }
  append_plain(prompt.substr(plain_start));

  if (static_cast<int64_t>(ids.size()) > max_length - 1) ids.resize(static_cast<size_t>(max_length - 1));
  ids.push_back(eos_);
  return ids;
}

}  // namespace wandistill
