#include <doctest/doctest.h>

#include "src/cli/config_file.h"
#include "src/cli/data_folder.h"
#include "src/cli/subcommands.h"
#include "src/cli/usage_error.h"
#include "temporary_folder.h"
#include "wandistill/file.h"

namespace wandistill {
namespace {

using cli::SampleLine;
using cli::TrainLine;
using testing::check_mentions;
using testing::error_of;
using testing::TemporaryFolder;
using Words = std::vector<std::string>;

/// The error of `train --output_dir out <words>`.
std::string train_error(Words words) {
  words.insert(words.begin(), {"--output_dir", "out"});
  return error_of([&] { TrainLine("data").parse(words); });
}

std::string sample_error(Words words) {
  words.insert(words.begin(), {"--model", "m", "--out", "out"});
  return error_of([&] { SampleLine().parse(words); });
}

}  // namespace

TEST_CASE("cli: train takes its defaults from the struct and the embedded data") {
  TrainLine line("some/data");
  REQUIRE(line.parse({"--output_dir", "out"}));
  const TrainOptions defaults;
  CHECK(line.options.teacher.teacher_path == "some/data/tiny-wan");
  CHECK(line.options.student_config == "some/data/student_tiny.json");
  CHECK(line.options.data_path == "some/data/prompts_shapes.txt");
  CHECK(line.options.output_dir == "out");
  CHECK(line.options.batch_size == defaults.batch_size);
  CHECK(line.options.lr == defaults.lr);
  CHECK(line.options.sample_prompts.empty());
  CHECK_FALSE(line.options.save_samples);
}

TEST_CASE("cli: cache fills what train with the same options reads") {
  cli::CacheLine line("some/data");
  REQUIRE(line.parse({"--cache_dir", "C", "--cache_dtype", "bfloat16"}));
  TrainLine train("some/data");
  REQUIRE(train.parse({"--output_dir", "O"}));
  CHECK(line.options.teacher.teacher_path == train.options.teacher.teacher_path);
  CHECK(line.options.teacher.teacher_steps == train.options.teacher.teacher_steps);
  CHECK(line.options.student_config == train.options.student_config);
  CHECK(line.options.data_path == train.options.data_path);
  CHECK(line.options.seed == train.options.seed);
  CHECK(line.options.cache.repetitions == train.options.cache.repetitions);
  CHECK(line.options.cache.cache_dtype == "bfloat16");
  CHECK(line.options.height == 0);
  cli::CacheLine sized("some/data");
  REQUIRE(sized.parse({"--cache_dir", "C", "--image_size", "64"}));
  CHECK(sized.options.height == 64);
  CHECK(sized.options.width == 64);
  check_mentions(error_of([&] { cli::CacheLine("data").parse({}); }), {"--cache_dir is missing"});
  check_mentions(error_of([&] {
                   cli::CacheLine("data").parse({"--cache_dir", "C", "--lease_seconds", "0"});
                 }),
                 {"lease_seconds", "0.5"});
  check_mentions(error_of([] {
                   cli::prepare({"cache", "merge", "--cache_dir", "C"});
                 }),
                 {"--from is missing"});
  check_mentions(error_of([] { cli::prepare({"cache", "verify"}); }), {"--cache_dir is missing"});
}

TEST_CASE("cli: auto stands for the number 0, in both directions") {
  TrainLine line("data");
  REQUIRE(line.parse({"--output_dir", "O", "--sample_batch", "3", "--vae_tile_rows", "auto"}));
  CHECK(line.options.pictures.sample_batch == 3);
  CHECK(line.options.pictures.vae_tile_rows == 0);
  CHECK(line.set.effective_config().find("vae_tile_rows = auto") != std::string::npos);
  CHECK(line.set.help().find("--sample_batch N|auto (=auto)") != std::string::npos);
  check_mentions(train_error({"--sample_batch", "0"}), {"sample_batch", "0", "at least 1"});
  check_mentions(train_error({"--sample_batch", "some"}), {"sample_batch", "some"});
}

TEST_CASE("cli: the line of the manual") {
  TrainLine line("data");
  REQUIRE(line.parse({"--teacher_path",
                      "T",
                      "--student_config",
                      "S",
                      "--data_path",
                      "D",
                      "--output_dir",
                      "O",
                      "--distributed",
                      "--save_samples",
                      "--sample_prompts",
                      "A cat",
                      "A dog",
                      "A bird",
                      "A fish",
                      "--lr",
                      "2e-4",
                      "--seed",
                      "18446744073709551615",
                      "--negative_prompt",
                      "",
                      "--batch_size=7"}));
  CHECK(line.options.teacher.teacher_path == "T");
  CHECK(line.options.student_config == "S");
  CHECK(line.options.data_path == "D");
  CHECK(line.options.output_dir == "O");
  CHECK(line.options.distributed);
  CHECK(line.options.save_samples);
  CHECK(line.options.sample_prompts == Words{"A cat", "A dog", "A bird", "A fish"});
  CHECK(line.options.lr == 2e-4);
  CHECK(line.options.seed == UINT64_MAX);
  CHECK(line.options.teacher.negative_prompt.empty());
  CHECK(line.options.batch_size == 7);
}

TEST_CASE("cli: the command line wins over the configuration file") {
  const TemporaryFolder folder;
  const std::string file = folder / "run.ini";
  testing::put(file,
               "# a run\n"
               "output_dir = from file   # with a remark\n"
               "lr = 0.5\n"
               "batch_size=3\r\n"
               "\n"
               "save_samples = yes\n"
               "sample_prompts = A cat\n"
               "sample_prompts = \"say \\\"cheese\\\" # not a remark\"\n"
               "negative_prompt = no#remark\n");
  TrainLine line("data");
  REQUIRE(line.parse({"--config", file, "--lr", "0.25"}));
  CHECK(line.options.output_dir == "from file");
  CHECK(line.options.lr == 0.25);
  CHECK(line.options.batch_size == 3);
  CHECK(line.options.save_samples);
  CHECK(line.options.sample_prompts == Words{"A cat", "say \"cheese\" # not a remark"});
  CHECK(line.options.teacher.negative_prompt == "no#remark");

  TrainLine other("data");
  REQUIRE(other.parse({"--sample_prompts", "A dog", "--config", file}));
  CHECK(other.options.sample_prompts == Words{"A dog"});
}

TEST_CASE("cli: unknown names are refused with the nearest known one") {
  check_mentions(train_error({"--bach_size", "3"}),
                 {"unknown option --bach_size", "did you mean 'batch_size'?"});
  check_mentions(train_error({"--batch", "3"}), {"unknown option --batch"});  // no abbreviations
  check_mentions(train_error({"stray"}), {"'stray'"});
  check_mentions(error_of([] { cli::prepare({"trian"}); }), {"'trian'", "did you mean 'train'?"});

  const TemporaryFolder folder;
  const std::string file = folder / "run.ini";
  testing::put(file, "lr = 1\n\nsample_step = 3\n");
  check_mentions(train_error({"--config", file}),
                 {file + ":3: ", "'sample_step'", "did you mean 'sample_steps'?"});
  testing::put(file, "config = other.ini\n");
  check_mentions(train_error({"--config", file}), {file + ":1: ", "unknown option 'config'"});
  check_mentions(train_error({"--config", folder / "none.ini"}), {"none.ini", "No such file"});
}

TEST_CASE("cli: values of the wrong type or out of range are refused by name") {
  check_mentions(train_error({"--batch_size", "0"}), {"--batch_size: 0", "at least 1"});
  check_mentions(train_error({"--batch_size", "1e3"}), {"--batch_size: '1e3'", "whole number"});
  check_mentions(train_error({"--batch_size", "99999999999999999999"}), {"--batch_size:"});
  check_mentions(train_error({"--seed", "-1"}), {"--seed: '-1'"});
  check_mentions(train_error({"--lr", "fast"}), {"--lr: 'fast' is not a number"});
  check_mentions(train_error({"--lr", "nan"}), {"--lr: nan"});
  check_mentions(train_error({"--lr", ""}), {"--lr: ''"});
  check_mentions(train_error({"--ema_decay", "1.5"}), {"--ema_decay: 1.5", "from 0 to"});
  check_mentions(train_error({"--init", "pcs"}),
                 {"--init: 'pcs'", "slice, pca, random", "did you mean 'pca'?"});
  check_mentions(train_error({"--save_samples=maybe"}), {"--save_samples: 'maybe'", "true nor false"});
  check_mentions(train_error({"--lr", "1", "--lr", "2"}), {"--lr is given more than once"});
  check_mentions(train_error({"--lr"}), {"--lr", "missing"});
  check_mentions(train_error({"--device", "gpu"}), {"--device", "gpu", "simt"});
  check_mentions(error_of([] { TrainLine("data").parse({}); }), {"--output_dir is missing"});
  check_mentions(error_of([] { TrainLine("").parse({"--output_dir", "o"}); }), {"--teacher_path is missing"});

  const TemporaryFolder folder;
  const std::string file = folder / "run.ini";
  for (const auto& [text, parts] : std::vector<std::pair<std::string, Words>>{
           {"lr = 1\nbatch_size = many\n", {":2: batch_size: 'many' is not a whole number"}},
           {"lr = 1\nlr = 2\n", {":2: lr is given more than once"}},
           {"save_samples\n", {":1: expected `name = value`"}},
           {"= 3\n", {":1: expected `name = value`"}},
           {"init = \"pca\n", {":1: the closing quote is missing"}},
           {"init = \"pca\" slice\n", {":1: text after the closing quote"}},
           {"init = \"p\\ca\"\n", {":1: ", "backslash"}}}) {
    testing::put(file, text);
    const std::string error = train_error({"--config", file});
    for (const std::string& part : parts) check_mentions(error, {file, part});
  }
}

TEST_CASE("cli: --compute_dtype stands for the dtypes of all transformers") {
  for (const std::string name : {"bf16", "bfloat16"}) {
    TrainLine train("data");
    REQUIRE(train.parse({"--output_dir", "out", "--compute_dtype", name}));
    CHECK(train.options.student_dtype == "bfloat16");
    CHECK(train.options.teacher.teacher_dtype == "bfloat16");
    SampleLine sample;
    REQUIRE(sample.parse({"--model", "m", "--out", "out", "--prompt", "x", "--compute_dtype", name}));
    CHECK(sample.options.dtype == "bfloat16");
    cli::CacheLine cache("data");
    REQUIRE(cache.parse({"--cache_dir", "c", "--compute_dtype", name}));
    CHECK(cache.options.teacher.teacher_dtype == "bfloat16");
  }
  check_mentions(train_error({"--compute_dtype", "float16"}),
                 {"--compute_dtype", "float16", "float32", "bf16"});
  check_mentions(train_error({"--compute_dtype", "float32", "--student_dtype", "bfloat16"}),
                 {"--student_dtype bfloat16 contradicts --compute_dtype float32"});
  check_mentions(train_error({"--compute_dtype", "bf16", "--teacher_dtype", "float16"}),
                 {"--teacher_dtype float16 contradicts --compute_dtype bf16"});
}

TEST_CASE("cli: the effective configuration reads back to the same options") {
  const TemporaryFolder folder;
  const std::string file = folder / "run.ini";
  TrainLine line("data");
  REQUIRE(line.parse({"--output_dir", " odd # \"name\" ", "--lr", "0.1", "--sample_prompts", "a\nb", "c\\d",
                      "--save_samples", "--negative_prompt", "", "--ema_decay", "0.3333333333333333",
                      "--max_minutes", "2.5"}));
  testing::put(file, line.set.effective_config());
  TrainLine again("elsewhere");
  REQUIRE(again.parse({"--config", file}));
  CHECK(again.set.effective_config() == line.set.effective_config());
  CHECK(again.options.output_dir == " odd # \"name\" ");
  CHECK(again.options.sample_prompts == Words{"a\nb", "c\\d"});
  CHECK(again.options.ema_decay == line.options.ema_decay);
  CHECK(again.options.teacher.teacher_path == "data/tiny-wan");
  CHECK(again.options.max_minutes == 2.5);
}

TEST_CASE("cli: the listing marks what is not the default") {
  TrainLine line("data");
  REQUIRE(line.parse({"--output_dir", "o", "--lr", "0.5"}));
  check_mentions(line.set.listing(), {"\n* lr ", "\n  batch_size ", "(no limit)"});
}

TEST_CASE("cli: help fits the screen, names every option once and needs nothing else") {
  const std::string help = cli::prepare({"train", "--help"}).text;
  size_t start = 0;
  while (start < help.size()) {
    const size_t end = help.find('\n', start);
    CHECK(end - start <= 100);
    start = end + 1;
  }
  for (const char* option :
       {"--teacher_path", "--num_steps", "--sample_prompts", "--gradient_checkpointing", "--config"}) {
    const size_t first = help.find(std::string("  ") + option + " ");
    CAPTURE(option);
    REQUIRE(first != std::string::npos);
    CHECK(help.find(std::string("\n  ") + option + " ", first + 1) == std::string::npos);
  }
  CHECK_FALSE(cli::prepare({"sample", "--help"}).run);
  CHECK_FALSE(cli::prepare({}).run);
  CHECK(cli::prepare({"--version"}).text.starts_with("wandistill "));
  CHECK(cli::prepare({"inspect", "some/path"}).run);
  CHECK(cli::prepare({"decode", "--model", "m", "--latents", "f.h5:x", "--out", "o", "--normalised=false"})
            .run);
}

TEST_CASE("cli: sample's prompts and sizes") {
  SampleLine line;
  REQUIRE(line.parse({"--model", "m", "--prompt", "A", "B", "--image_size", "96", "--out", "o"}));
  CHECK(line.options.prompts == Words{"A", "B"});
  CHECK(line.options.height == 96);
  CHECK(line.options.width == 96);
  CHECK(line.options.guidance < 0);  // as the model's kind says
  check_mentions(sample_error({}), {"--prompt", "--prompt_file"});
  check_mentions(sample_error({"--prompt", "A", "--prompt_file", "f"}), {"both"});
  check_mentions(sample_error({"--prompt", "A", "--image_size", "96", "--width", "64"}),
                 {"--image_size 96", "64"});
  check_mentions(sample_error({"--prompt", "A", "--height", "64"}), {"--height", "--width"});
  check_mentions(sample_error({"--prompt", "A", "--guidance", "-3"}), {"--guidance: -3", "at least 0"});
  check_mentions(error_of([] { cli::prepare({"inspect"}); }), {"--path is missing"});
  check_mentions(error_of([] { cli::prepare({"inspect", "a", "b"}); }), {"more than one path"});
}

TEST_CASE("cli: the data folder is found in a build tree and where it is installed") {
  const TemporaryFolder folder;
  CHECK(cli::find_data_folder(folder / "bin/wandistill").empty());
  make_directories(folder / "share/wandistill/data/tiny-wan");
  testing::put(folder / "share/wandistill/data/tiny-wan/model_index.json", "{}");
  CHECK(cli::find_data_folder(folder / "bin/wandistill") == folder / "share/wandistill/data");
  make_directories(folder / "data/tiny-wan");
  testing::put(folder / "data/tiny-wan/model_index.json", "{}");
  CHECK(cli::find_data_folder(folder / "bin/wandistill") == folder / "data");
}

}  // namespace wandistill
