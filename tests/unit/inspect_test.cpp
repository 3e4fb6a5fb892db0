#include "wandistill/inspect.h"

#include <doctest/doctest.h>

#include "temporary_folder.h"
#include "wandistill/h5.h"

namespace wandistill {

using testing::check_mentions;
using testing::error_of;
using testing::TemporaryFolder;

TEST_CASE("inspect: a teacher's folder and one component of it") {
  const std::string text = describe_model_folder("data/tiny-wan");
  check_mentions(text, {"WanPipeline, two experts, boundary at sigma 0.875, 96 x 96 pixels",
                        "UMT5EncoderModel", "2,472,448 parameters", "123 tensors in 2 files, BF16+F32",
                        "num_attention_heads 3", "flow_shift 3.0", "z_dim 16"});
  check_mentions(describe_model_folder("data/tiny-wan/vae"), {"AutoencoderKLWan", "F16", "base_dim 16"});

  const TemporaryFolder folder;
  check_mentions(error_of([&] { describe_model_folder(folder.path()); }),
                 {folder.path().string(), "model_index.json"});
}

TEST_CASE("inspect: the tree of an HDF5 file") {
  const TemporaryFolder folder;
  H5File file = H5File::create(folder / "a.h5");
  const std::vector<float> numbers(12, 0.5f);
  file.write<float>("ema/blocks.0.weight", {3, 4}, numbers.data());
  file.write<float>("sigmas", {3}, numbers.data());
  file.write_scalar<int64_t>("step", -7);
  file.write_scalar<uint64_t>("seed", UINT64_MAX);
  file.write_string("config", "lr = 1\nseed = 2\n");
  file.write_strings("prompts", {"a cat", "a dog"});
  file.write_strings("many", std::vector<std::string>(9, "x"));
  file.close();
  const std::string text = describe_h5(folder / "a.h5");
  check_mentions(text,
                 {"\n  ema/\n    blocks.0.weight  float32 [3, 4]\n", "sigmas  float32 [3] = 0.5, 0.5, 0.5\n",
                  "step  int64 = -7\n", "seed  uint64 = 18446744073709551615\n",
                  "config  text =\n      lr = 1\n      seed = 2\n",
                  "prompts  text [2]\n      a cat\n      a dog\n", "many  text [9]\n", "      ...\n"});
  check_mentions(error_of([&] { describe_h5(testing::put(folder / "b.h5", "no HDF5")); }), {"b.h5"});
}

}  // namespace wandistill
