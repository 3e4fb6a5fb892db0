#include "wandistill/h5.h"

#include <unistd.h>

#include <atomic>
#include <cmath>
#include <functional>
#include <numeric>
#include <thread>

#include "file_limit.h"
#include "temporary_folder.h"
#include "wandistill/file.h"

namespace wandistill::testing {
namespace {

namespace {

std::vector<float> ramp(int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  std::iota(values.begin(), values.end(), 0.5f);
  return values;
}

}  // namespace

TEST_CASE("h5: numbers of every type, shape and depth of group come back") {
  const TemporaryFolder folder;
  const std::vector<float> floats = ramp(2 * 7 * 5);
  const std::vector<int32_t> ints = {-1, 2, 3};
  const std::vector<int64_t> longs = {int64_t{1} << 60, -5};
  const std::vector<uint64_t> seeds = {~uint64_t{0}};
  const std::vector<uint8_t> bytes = {0, 255, 7};
  {
    H5File file = H5File::create(folder / "a.h5");
    file.write("deep/er/floats", {2, 7, 5}, floats.data());
    file.write("deep/ints", {3}, ints.data());
    file.write("longs", {1, 2}, longs.data());
    file.write("seeds", {1}, seeds.data());
    file.write("bytes", {3}, bytes.data());
    file.write_scalar("step", int64_t{12345678901});
    file.write_scalar("loss", 0.25);
    file.write<float>("empty", {0, 4}, nullptr);
    file.close();
  }
  const H5File file = H5File::open_read(folder / "a.h5");
  CHECK(file.list("") ==
        std::vector<std::string>{"bytes", "deep", "empty", "longs", "loss", "seeds", "step"});
  CHECK(file.list("deep") == std::vector<std::string>{"er", "ints"});
  CHECK(file.exists("deep/er/floats"));
  CHECK_FALSE(file.exists("deep/none/floats"));
  CHECK(file.is_group("deep/er"));
  CHECK_FALSE(file.is_group("loss"));
  CHECK(file.shape("deep/er/floats") == Shape{2, 7, 5});
  CHECK(file.shape("loss").empty());
  const auto [shape, values] = file.read<float>("deep/er/floats");
  CHECK(shape == Shape{2, 7, 5});
  CHECK(values == floats);
  CHECK(file.read<int32_t>("deep/ints").second == ints);
  CHECK(file.read<int64_t>("longs").second == longs);
  CHECK(file.read<uint64_t>("seeds").second == seeds);
  CHECK(file.read<uint8_t>("bytes").second == bytes);
  CHECK(file.read_scalar_int64("step") == 12345678901);
  CHECK(file.read_scalar_double("loss") == 0.25);
  CHECK(file.read<float>("empty").second.empty());
  CHECK(file.read<double>("deep/ints").second == std::vector<double>{-1, 2, 3});
}

TEST_CASE("h5: text comes back as it was, what h5py writes included") {
  const TemporaryFolder folder;
  const std::vector<std::string> texts = {"", "a cat", "caf\u00e9 \u732b"};
  {
    H5File file = H5File::create(folder / "a.h5");
    file.write_string("info/config", "{\"a\": 1}");
    file.write_strings("prompts", texts);
    file.write_strings("none", {});
    file.close();
  }
  const H5File file = H5File::open_read(folder / "a.h5");
  CHECK(file.read_string("info/config") == "{\"a\": 1}");
  CHECK(file.read_strings("prompts") == texts);
  CHECK(file.read_strings("none").empty());

  const H5File golden = H5File::open_read("tests/golden/tiny-wan.h5");
  const std::vector<std::string> prompts = golden.read_strings("prompts");
  REQUIRE(prompts.size() == 4);
  CHECK(prompts[0] == "a large red star on the left of a blue background");
  CHECK(prompts[2] == "Caf\u00e9 &amp; cr\u00e8me:   two  spaces, 100% \u201cquoted\u201d");
  CHECK(prompts[3].empty());
  CHECK(golden.read_string("student/config").starts_with("{\"patch_size\": [1, 2, 2]"));
  CHECK(golden.read_scalar_double("sample/guidance") == 4);
  CHECK(golden.read_scalar_int64("sample/steps") == 10);
  CHECK(golden.shape("dit/latents") == Shape{3, 16, 1, 12, 12});
  for (const double beta : golden.read<double>("student/betas").second) CHECK((beta > 0 && beta < 1));
}

TEST_CASE("h5: numbers of 16 bits are kept as they are, and others can read them") {
  const TemporaryFolder folder;
  const std::vector<float> values{0, -1.5f, 3.140625f, 65280, 1.0f / 1024};  // exact in both types
  std::vector<bf16> brain;
  std::vector<fp16> half;
  for (const float value : values) {
    brain.push_back(to_bf16(value));
    half.push_back(to_fp16(value));
  }
  {
    H5File file = H5File::create(folder / "a.h5");
    file.write<bf16>("brain", {5}, brain.data());
    file.create_extendible<fp16>("half", {1}, 2);
    file.append_rows<fp16>("half", 5, half.data());
    file.close();
  }
  const H5File file = H5File::open_read(folder / "a.h5");
  const auto back = file.read<bf16>("brain").second;
  fp16 row{};
  file.read_rows<fp16>("half", 2, 1, &row);
  CHECK(row.bits == half[2].bits);
  for (size_t i = 0; i < values.size(); ++i) CHECK(back[i].bits == brain[i].bits);
  CHECK(file.read<float>("brain").second == values);  // HDF5's own conversion
  CHECK(file.read<float>("half").second == values);
}

TEST_CASE("h5: the same contents are the same bytes at any time") {
  const TemporaryFolder folder;
  const auto write = [&](const std::string& name) {
    H5File file = H5File::create(folder / name);
    file.write_string("group/text", "a cat");
    file.write_strings("texts", {"a", "", "long"});
    file.create_extendible<float>("rows", {3});
    const std::vector<float> rows = ramp(6);
    file.append_rows<float>("rows", 2, rows.data());
    file.close();
    return read_file(folder / name);
  };
  const std::string first = write("a.h5");
  usleep(1100000);  // HDF5's clock counts seconds
  CHECK(write("b.h5") == first);
}

TEST_CASE("h5: rows are appended and read piecewise, over a reopening too") {
  const TemporaryFolder folder;
  for (const int64_t width : {1, 7, 129, 100000}) {
    CAPTURE(width);
    const std::vector<float> rows = ramp(7 * width);
    {
      H5File file = H5File::create(folder / "a.h5");
      file.create_extendible<float>("cache/latents", {width});
      file.create_extendible_strings("cache/prompt");
      file.append_rows("cache/latents", 2, rows.data());
      file.append_string("cache/prompt", "one");
      CHECK(file.shape("cache/latents") == Shape{2, width});
      file.close();
    }
    {
      H5File file = H5File::open_write(folder / "a.h5");
      file.append_rows("cache/latents", 5, rows.data() + 2 * width);
      file.append_rows<float>("cache/latents", 0, nullptr);
      file.append_string("cache/prompt", "zw\u00f6lf");
      file.flush();
      file.close();
    }
    const H5File file = H5File::open_read(folder / "a.h5");
    CHECK(file.read<float>("cache/latents").second == rows);
    CHECK(file.read_strings("cache/prompt") == std::vector<std::string>{"one", "zw\u00f6lf"});
    CHECK(file.read_string_rows("cache/prompt", 1, 1) == std::vector<std::string>{"zw\u00f6lf"});
    std::vector<float> part(static_cast<size_t>(3 * width));
    file.read_rows("cache/latents", 3, 3, part.data());
    CHECK(std::equal(part.begin(), part.end(), rows.begin() + 3 * width));
    check_mentions(error_of([&] { file.read_rows("cache/latents", 5, 3, part.data()); }),
                   {"a.h5", "'cache/latents'", "expected rows 5 to 7"});
  }
}

TEST_CASE("h5: a wrong name, shape or type is an error that says so") {
  const TemporaryFolder folder;
  H5File file = H5File::create(folder / "a.h5");
  const std::vector<float> values = ramp(6);
  file.write("x", {2, 3}, values.data());
  file.write_string("s", "text");
  std::vector<float> out(6);
  check_mentions(error_of([&] {
                   file.read("x", {3, 2}, out.data());
                 }),
                 {"a.h5", "'x'", "expected shape [3, 2]", "found [2, 3]"});
  check_mentions(error_of([&] { file.read<float>("group/y"); }), {"a.h5", "'group/y'", "no such dataset"});
  check_mentions(error_of([&] { file.read<int32_t>("x"); }),
                 {"'x'", "expected whole numbers", "floating point"});
  check_mentions(error_of([&] { file.read<float>("s"); }), {"'s'", "expected numbers", "text"});
  check_mentions(error_of([&] { file.read_string("x"); }), {"'x'", "expected one text", "[2, 3]"});
  check_mentions(error_of([&] { file.read_strings("x"); }), {"'x'", "expected a list of texts"});
  check_mentions(error_of([&] { file.list("none"); }), {"'none'", "no such group"});
  check_mentions(error_of([&] { file.write("x", {2, 3}, values.data()); }), {"'x'", "cannot create"});
  check_mentions(error_of([&] { file.append_rows("x", 1, values.data()); }), {"'x'", "cannot append rows"});
}

TEST_CASE("h5: missing, foreign, truncated and damaged files are refused by name") {
  const TemporaryFolder folder;
  check_mentions(error_of([&] { H5File::open_read(folder / "none.h5"); }), {"none.h5", "No such file"});
  check_mentions(error_of([&] { H5File::open_read(folder.path()); }), {"found a folder"});
  check_mentions(error_of([&] { H5File::create(folder / "none/a.h5"); }),
                 {"none/a.h5", "cannot create this file"});
  put(folder / "text.h5", "this is no HDF5 file");
  check_mentions(error_of([&] { H5File::open_read(folder / "text.h5"); }),
                 {"text.h5", "cannot open as an HDF5 file"});

  const auto path = folder / "a.h5";
  const std::vector<float> values = ramp(10000);
  write_h5_atomically(path, [&](H5File& file) {
    file.write("x", {100, 100}, values.data());
    file.write_string("config", "learning rate = 0.002");
    file.create_extendible<float>("rows", {100}, 7);
    file.append_rows("rows", 90, values.data() + 1000);
  });
  const std::string whole = read_file(path);
  put(path, whole.substr(0, whole.size() / 2));
  check_mentions(error_of([&] { H5File::open_read(path); }),
                 {"a.h5", "cannot open as an HDF5 file", "truncated"});

  // One flipped bit in the middle of what is `bytes` long and starts like `from`.
  const auto flip = [&](const void* from, size_t bytes) {
    std::string damaged = whole;
    const size_t place = damaged.rfind(std::string(static_cast<const char*>(from), bytes));
    REQUIRE(place != std::string::npos);
    damaged[place] = static_cast<char>(damaged[place] ^ 1);
    put(path, damaged);
  };
  flip(&values[500], 16);
  for (const auto& read :
       std::vector<std::function<void(const H5File&)>>{[](const H5File& file) { file.read<float>("x"); },
                                                       [](const H5File& file) { file.read<double>("x"); }})
    check_mentions(error_of([&] { read(H5File::open_read(path)); }),
                   {"a.h5", "'x'", "the data is damaged", "checksum"});
  flip("rate", 4);
  check_mentions(error_of([&] { H5File::open_read(path).read_string("config"); }),
                 {"a.h5", "'config'", "the data is damaged", "checksum"});
  flip(&values[5000], 16);
  float row[100];
  check_mentions(error_of([&] { H5File::open_read(path).read_rows("rows", 40, 1, row); }),
                 {"a.h5", "'rows'", "cannot read", "checksum"});
  put(path, whole);
  CHECK(H5File::open_read(path).read<float>("x").second == values);
}

TEST_CASE("h5: threads read and write different files at the same time") {
  const TemporaryFolder folder;
  const std::vector<float> values = ramp(20000);
  write_h5_atomically(folder / "read.h5", [&](H5File& file) {
    file.create_extendible<float>("rows", {100}, 1);
    file.append_rows("rows", 200, values.data());
  });
  std::atomic<bool> done = false;
  std::thread writer([&] {
    for (int i = 0; i < 20; ++i)
      write_h5_atomically(folder / "written.h5", [&](H5File& file) {
        for (int k = 0; k < 20; ++k) file.write("group/" + std::to_string(k), {200, 100}, values.data());
      });
    done = true;
  });
  const H5File file = H5File::open_read(folder / "read.h5");
  int64_t wrong = 0, refused = 0;
  for (int64_t i = 0; !done; i = (i + 1) % 200) {
    float row[100];
    file.read_rows("rows", i, 1, row);
    wrong += std::equal(row, row + 100, values.begin() + 100 * i) ? 0 : 1;
    refused +=
        error_of([&] { file.read<float>("none"); }).find("'none': there is no such") == std::string::npos;
  }
  writer.join();
  CHECK(wrong == 0);
  CHECK(refused == 0);
  CHECK(H5File::open_read(folder / "written.h5").read<float>("group/19").second == values);
}

TEST_CASE("h5: a disk that fills up is an error, and the old file survives") {
  const TemporaryFolder folder;
  const std::vector<float> values = ramp(1000000);
  const auto path = folder / "checkpoint.h5";
  write_h5_atomically(path, [](H5File& file) { file.write_scalar("step", int64_t{1}); });
  for (const rlim_t limit_bytes : {0, 500, 3000, 100000, 3900000}) {
    CAPTURE(limit_bytes);
    const std::string error = error_of([&] {
      const FileSizeLimit limit(limit_bytes);
      write_h5_atomically(path, [&](H5File& file) {
        file.write("group/x", {1000, 1000}, values.data());
        file.write_string("config", "{}");
      });
    });
    check_mentions(error, {path.string() + ": cannot write: File too large"});
    CHECK(H5File::open_read(path).read_scalar_int64("step") == 1);
    CHECK(folder.count() == 1);
  }
}

}  // namespace
}  // namespace wandistill::testing
