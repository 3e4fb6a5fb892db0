#include "wandistill/tokenizer.h"

#include "temporary_folder.h"
#include "wandistill/file.h"
#include "wandistill/h5.h"
#include "wandistill/text_cleaning.h"

namespace wandistill::testing {
namespace {
using Ids = std::vector<int32_t>;

TEST_CASE("tokenizer: the golden file's ids") {
  const Tokenizer tokenizer("data/tiny-wan/tokenizer");
  const H5File golden = H5File::open_read("tests/golden/tiny-wan.h5");
  const auto [shape, expected] = golden.read<int32_t>("text/ids");
  REQUIRE(shape == Shape{4, 512});
  const std::vector<std::string> prompts = golden.read_strings("prompts");
  for (size_t i = 0; i < prompts.size(); ++i) {
    CAPTURE(prompts[i]);
    Ids ids = tokenizer.encode(clean_prompt(prompts[i]));
    CHECK(ids.back() == tokenizer.eos_id());
    ids.resize(512, tokenizer.pad_id());
    CHECK(ids == Ids(expected.begin() + static_cast<int64_t>(i) * 512,
                     expected.begin() + static_cast<int64_t>(i + 1) * 512));
  }
}

TEST_CASE("tokenizer: special tokens written out, as transformers does") {
  const Tokenizer tokenizer("data/tiny-wan/tokenizer/spiece.model");
  // Expected values: AutoTokenizer of transformers 5.24 on data/tiny-wan.
  CHECK(tokenizer.encode("a red star") == Ids{260, 400, 405, 1});
  CHECK(tokenizer.encode("a</s>red") == Ids{260, 1, 400, 1});
  CHECK(tokenizer.encode("a </s> b") == Ids{260, 1, 263, 1});
  CHECK(tokenizer.encode("<pad> <unk>x") == Ids{0, 2, 259, 363, 1});
  CHECK(tokenizer.encode("</s> </s>") == Ids{1, 1, 1});
  CHECK(tokenizer.encode("< /s>") == Ids{259, 63, 259, 344, 285, 65, 1});
  CHECK(tokenizer.encode("Z\u00fcrich \u732b") ==
        Ids{259, 93, 198, 191, 318, 310, 332, 259, 234, 143, 174, 1});
  CHECK(tokenizer.encode("") == Ids{1});
}

TEST_CASE("tokenizer: <extra_id_n> and others that the tokenizer's config adds") {
  const TemporaryFolder folder;
  std::filesystem::copy("data/tiny-wan/tokenizer/spiece.model", folder / "spiece.model");
  put(folder / "tokenizer_config.json",
      R"({"added_tokens_decoder": {"1": {"content": "</s>"}, "420": {"content": "<extra_id_1>"},
          "421": {"content": "<extra_id_12>"}}})");
  const Tokenizer tokenizer(folder.path());
  CHECK(tokenizer.encode("a<extra_id_12> red <extra_id_1></s>") == Ids{260, 421, 400, 420, 1, 1});
  put(folder / "tokenizer_config.json", R"({"added_tokens_decoder": {"x": {"content": "</s>"}}})");
  check_mentions(error_of([&] { Tokenizer(folder.path()); }),
                 {"tokenizer_config.json", "added_tokens_decoder", "found x"});
}

TEST_CASE("tokenizer: long prompts are cut, the end token stays") {
  const Tokenizer tokenizer("data/tiny-wan/tokenizer");
  std::string text;
  for (int i = 0; i < 600; ++i) text += "red ";
  const Ids ids = tokenizer.encode(text);
  CHECK(ids.size() == 512);
  CHECK(ids[510] == 400);
  CHECK(ids[511] == 1);
  CHECK(tokenizer.encode(text, 5) == Ids{400, 400, 400, 400, 1});
  CHECK(tokenizer.encode("red", 1) == Ids{1});
  text.resize(511 * 4);
  CHECK(tokenizer.encode(text).size() == 512);
  text.resize(510 * 4);
  CHECK(tokenizer.encode(text).size() == 511);
}

TEST_CASE("tokenizer: missing and damaged models are named") {
  const TemporaryFolder folder;
  check_mentions(error_of([&] { Tokenizer(folder.path()); }), {"spiece.model", "missing"});
  put(folder / "spiece.model", "nonsense");
  check_mentions(error_of([&] { Tokenizer(folder.path()); }), {"spiece.model", "damaged"});
  const std::string whole = read_file("data/tiny-wan/tokenizer/spiece.model");
  put(folder / "spiece.model", whole.substr(0, whole.size() / 2));
  check_mentions(error_of([&] { Tokenizer(folder.path()); }), {"spiece.model", "damaged"});
}

}  // namespace
}  // namespace wandistill::testing
