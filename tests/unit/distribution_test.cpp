#include "wandistill/distribution.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace wandistill {
namespace {

using Slices = std::vector<std::vector<int64_t>>;

Slices slices(int64_t prompts, int ranks) {
  Slices all;
  for (int rank = 0; rank < ranks; ++rank) all.push_back(strided_slice(prompts, rank, ranks));
  return all;
}

TEST_CASE("strided slices of prompts over ranks") {
  CHECK(slices(4, 4) == Slices{{0}, {1}, {2}, {3}});
  CHECK(slices(6, 4) == Slices{{0, 4}, {1, 5}, {2}, {3}});
  CHECK(slices(5, 4) == Slices{{0, 4}, {1}, {2}, {3}});
  CHECK(slices(2, 4) == Slices{{0}, {1}, {}, {}});
  CHECK(slices(0, 4) == Slices{{}, {}, {}, {}});
  CHECK(slices(3, 1) == Slices{{0, 1, 2}});
}

TEST_CASE("block slices of prompts over ranks") {
  const auto blocks = [](int64_t prompts, int ranks) {
    Slices all;
    for (int rank = 0; rank < ranks; ++rank) all.push_back(block_slice(prompts, rank, ranks));
    return all;
  };
  CHECK(blocks(4, 4) == Slices{{0}, {1}, {2}, {3}});
  CHECK(blocks(6, 4) == Slices{{0, 1}, {2, 3}, {4, 5}, {}});
  CHECK(blocks(5, 4) == Slices{{0, 1}, {2, 3}, {4}, {}});
  CHECK(blocks(2, 4) == Slices{{0}, {1}, {}, {}});
  CHECK(blocks(0, 3) == Slices{{}, {}, {}});
}

TEST_CASE("ranks without a prompt help in the last round") {
  using Turns = std::vector<Turn>;
  CHECK(plan_turns(slices(6, 4), 4) ==
        Turns{{0, {0}}, {1, {1}}, {2, {2}}, {3, {3}}, {4, {0, 2}}, {5, {1, 3}}});
  CHECK(plan_turns(slices(5, 4), 4) == Turns{{0, {0}}, {1, {1}}, {2, {2}}, {3, {3}}, {4, {0, 1, 2, 3}}});
  CHECK(plan_turns(slices(5, 4), 2) == Turns{{0, {0}}, {1, {1}}, {2, {2}}, {3, {3}}, {4, {0, 1}}});
  CHECK(plan_turns(slices(3, 2), 1) == Turns{{0, {0}}, {1, {1}}, {2, {0}}});
  CHECK(plan_turns({{0, 1}, {2, 3}, {4, 5}, {}}, 4) ==
        Turns{{0, {0, 3}}, {2, {1}}, {4, {2}}, {1, {0, 3}}, {3, {1}}, {5, {2}}});
  CHECK(plan_turns({{}, {}}, 2).empty());
}

TEST_CASE("every prompt has one turn, and no rank two at once") {
  for (int64_t n = 0; n <= 17; ++n)
    for (int world = 1; world <= 7; ++world)
      for (int64_t most : {1, 2, 7}) {
        std::vector<int64_t> turns(size_t(n), 0), round_of(size_t(world), -1);
        for (const Turn& turn : plan_turns(slices(n, world), most)) {
          ++turns[size_t(turn.prompt)];
          CHECK(int64_t(turn.ranks.size()) <= most);
          CHECK(turn.ranks.front() == turn.prompt % world);
          for (int rank : turn.ranks) {
            CHECK(round_of[size_t(rank)] < turn.prompt / world);
            round_of[size_t(rank)] = turn.prompt / world;
          }
        }
        CHECK(turns == std::vector<int64_t>(size_t(n), 1));
      }
}

TEST_CASE("distributions by name") {
  CHECK(parse_distribution("dynamic") == Distribution::kDynamic);
  CHECK_THROWS_WITH(parse_distribution("round"),
                    "unknown distribution 'round'; expected strided, block or dynamic");
}

TEST_CASE("sample file names") {
  CHECK(sample_file_name(10, 1, 0) == "epoch_0010_rank_1_sample_00.png");
  CHECK(sample_file_name(0, 0, 7) == "epoch_0000_rank_0_sample_07.png");
  CHECK(sample_file_name(12345, 128, 100) == "epoch_12345_rank_128_sample_100.png");
  CHECK(sample_file_name(10, 1, 0).starts_with(sample_file_prefix(10)));
  CHECK(!sample_file_name(100, 1, 0).starts_with(sample_file_prefix(10)));
  CHECK(teacher_file_name(3, 1) == "teacher_rank_3_sample_01.png");
}

}  // namespace
}  // namespace wandistill
