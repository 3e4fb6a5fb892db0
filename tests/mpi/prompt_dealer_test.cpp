#include "src/sample/prompt_dealer.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "mpi_test.h"

namespace wandistill {
namespace {

/// What every rank was dealt, as (rank that leads or helps, prompt), gathered on all ranks.
struct Dealt {
  int64_t rank, prompt, ranks, leads;
};

std::vector<Dealt> deal(int64_t n, const DealSettings& settings, int slow_rank = -1) {
  Session& session = test_session();
  PromptDealer dealer(session, n, settings);
  std::vector<Dealt> own;
  while (const auto assignment = dealer.next()) {
    CHECK(std::find(assignment->ranks.begin(), assignment->ranks.end(), session.rank()) !=
          assignment->ranks.end());
    CHECK((assignment->ranks.size() == 1 || assignment->prompts.size() == 1));
    CHECK(int64_t(assignment->prompts.size()) <= settings.batch);
    for (int64_t prompt : assignment->prompts)
      own.push_back({session.rank(), prompt, int64_t(assignment->ranks.size()),
                     assignment->ranks.front() == session.rank()});
    std::this_thread::sleep_for(std::chrono::milliseconds(session.rank() == slow_rank ? 60 : 5));
  }
  return session.gather(own);
}

/// How often each prompt was led.
std::vector<int64_t> led(int64_t n, const std::vector<Dealt>& all) {
  std::vector<int64_t> count(size_t(n), 0);
  for (const Dealt& d : all) count[size_t(d.prompt)] += d.leads;
  return count;
}

TEST_CASE("prompt dealer: each prompt once, in all modes, batches and with groups [any ranks]") {
  const int W = test_session().world_size();
  for (const Distribution mode : {Distribution::kStrided, Distribution::kBlock, Distribution::kDynamic})
    for (int64_t n : {0, 1, 2, 3, 5, 8, 13})
      for (int64_t batch : {1, 3})
        for (int64_t most_ranks : {1, 2, 4}) {
          const auto all = deal(n, {.distribution = mode, .batch = batch, .most_ranks = most_ranks});
          CHECK(led(n, all) == std::vector<int64_t>(size_t(n), 1));
          for (const Dealt& d : all) {
            CHECK(d.ranks <= most_ranks);
            // Strided: where and by whom it is led does not depend on helpers.
            if (mode == Distribution::kStrided && d.leads) CHECK(d.rank == d.prompt % W);
          }
        }
}

TEST_CASE("prompt dealer: a slow rank gets fewer prompts in dynamic mode [3 ranks]") {
  NEEDS_RANKS(3);
  const auto all = deal(12, {.distribution = Distribution::kDynamic}, 1);
  std::vector<int64_t> count(3, 0);
  for (const Dealt& d : all) ++count[size_t(d.rank)];
  CHECK(count[1] < count[0]);
  CHECK(count[1] < count[2]);
}

TEST_CASE("prompt dealer: dynamic deals long prompts first and splits the last ones [2 ranks]") {
  NEEDS_RANKS(2);
  const auto all =
      deal(5, {.distribution = Distribution::kDynamic, .most_ranks = 2, .costs = {1, 2, 9, 4, 3}});
  std::vector<int64_t> helped;
  for (const Dealt& d : all)
    if (d.ranks == 2) helped.push_back(d.prompt);
  CHECK(helped == std::vector<int64_t>{0, 0});  // the shortest, by both ranks
  for (int64_t rank : {0, 1}) {
    const auto first = std::find_if(all.begin(), all.end(), [&](const Dealt& d) { return d.rank == rank; });
    CHECK((first->prompt == 2 || first->prompt == 3));
  }
}

}  // namespace
}  // namespace wandistill
