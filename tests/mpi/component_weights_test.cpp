// Memory that a node's ranks share, and weights that they read together.
#include "wandistill/component_weights.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "mpi_test.h"
#include "tests/unit/temporary_folder.h"
#include "wandistill/pipeline.h"

namespace wandistill {
namespace {

namespace fs = std::filesystem;

/// A folder that rank 0 makes, the same on every rank.
class SharedFolder {
 public:
  SharedFolder() {
    std::string name;
    if (test_session().is_root()) name = own_.emplace().path().string();
    test_session().broadcast(&name);
    path_ = name;
  }
  ~SharedFolder() { test_session().barrier(); }
  const fs::path& path() const { return path_; }

 private:
  std::optional<testing::TemporaryFolder> own_;
  fs::path path_;
};

std::vector<TensorSpec> tensors_of(const SafetensorsFolder& files) {
  std::vector<TensorSpec> specs;
  for (const auto& [name, info] : files.tensors()) specs.push_back({name, info.shape});
  return specs;
}

/// Tensors of many sizes, one of several pieces.
fs::path write_component(const fs::path& folder) {
  if (test_session().is_root()) {
    std::vector<float> values(size_t(2'500'000));
    for (size_t i = 0; i < values.size(); ++i) values[i] = float(i % 1000) / 7 - 50;
    write_safetensors(folder / "model.safetensors", {{"large", {2500, 1000}, values.data()},
                                                     {"one", {1}, values.data() + 5},
                                                     {"rows", {3, 11}, values.data() + 9}});
  }
  test_session().barrier();
  return folder;
}

TEST_CASE("node memory: every rank sees what another wrote [any ranks]") {
  Session& session = test_session();
  const int64_t n = 1000;
  NodeMemory memory(&session, n * session.local_size() * int64_t(sizeof(int)), "a test");
  // Without windows in shared memory every rank has its own.
  const bool windows = std::getenv("OMPI_MCA_osc") == nullptr;
  CHECK(memory.ranks() == (windows ? session.local_size() : 1));
  CHECK(memory.rank() == (windows ? session.local_rank() : 0));
  int* const values = reinterpret_cast<int*>(memory.data());
  CHECK(reinterpret_cast<uintptr_t>(values) % 64 == 0);
  for (int64_t i = 0; i < n; ++i) values[memory.rank() * n + i] = int(memory.rank() * n + i);
  memory.sync();
  session.barrier();
  memory.sync();
  for (int64_t i = 0; i < n * memory.ranks(); ++i) REQUIRE(values[i] == int(i));
  NodeMemory moved = std::move(memory);
  CHECK(moved.data() == reinterpret_cast<char*>(values));
  session.barrier();  // nobody frees it while another reads
}

TEST_CASE("node memory: more than there is is an error that says how much, on every rank [any ranks]") {
  std::string message;
  try {
    NodeMemory(&test_session(), int64_t{1} << 55, "the teacher's experts");
  } catch (const CollectiveError& error) {
    message = error.what();
  }
  for (const char* part : {"the teacher's experts", "36028797.02 GB", "free memory"})
    CHECK(message.find(part) != std::string::npos);
}

TEST_CASE("component weights: the ranks of a node read them together, each part once [any ranks]") {
  const SharedFolder folder;
  const auto files = std::make_shared<const SafetensorsFolder>(write_component(folder.path()), "model");
  const std::vector<TensorSpec> tensors = tensors_of(*files);
  const Compute host(Queue{2});
  for (const auto place : {ComponentWeights::Place::kOps, ComponentWeights::Place::kNode}) {
    const ComponentWeights weights(&test_session(), files, tensors, host, Dtype::kFloat32, place, "a test");
    CHECK(weights.mapped() == (place == ComponentWeights::Place::kOps));
    // All ranks are on one node here.
    const int64_t readers =
        std::getenv("OMPI_MCA_osc") && !weights.mapped() ? test_session().world_size() : 1;
    CHECK(weights.figures().bytes == readers * 4 * (2'500'000 + 1 + 33));
    for (size_t i = 0; i < tensors.size(); ++i) {
      const int64_t count = element_count(tensors[i].shape);
      std::vector<float> expected(size_t(count), 0.0f);
      files->read(tensors[i].name, tensors[i].shape, expected.data());
      CHECK(std::equal(expected.begin(), expected.end(), static_cast<const float*>(weights.at(i))));
    }
    test_session().barrier();
  }
}

TEST_CASE("component weights: what one rank cannot read is every rank's error [any ranks]") {
  const SharedFolder folder;
  const auto files = std::make_shared<const SafetensorsFolder>(write_component(folder.path()), "model");
  test_session().barrier();
  if (test_session().is_root()) fs::resize_file(folder.path() / "model.safetensors", 5'000'000);
  test_session().barrier();
  std::string message;
  try {
    const ComponentWeights weights(&test_session(), files, tensors_of(*files), Compute(Queue{1}),
                                   Dtype::kFloat32, ComponentWeights::Place::kNode, "a test");
  } catch (const CollectiveError& error) {
    message = error.what();
  }
  CHECK(message.find("model.safetensors: ends at byte 5000000") != std::string::npos);
}

}  // namespace
}  // namespace wandistill
