#include "src/sample/prompt_dealer.h"

#include <algorithm>
#include <numeric>

#include "wandistill/error.h"
#include "wandistill/rank_board.h"

namespace wandistill {
namespace {

constexpr double kNoticeSeconds = 5;

}  // namespace

PromptDealer::PromptDealer(Session& session, int64_t n, const DealSettings& settings)
    : session_(session),
      dynamic_(settings.distribution == Distribution::kDynamic && session.world_size() > 1),
      batch_(settings.batch),
      most_ranks_(settings.most_ranks) {
  WD_REQUIRE(settings.batch >= 1 && (settings.costs.empty() || int64_t(settings.costs.size()) == n));
  WD_REQUIRE(kTickets + session.world_size() <= session.board().slot_count());
  session.board().reset_slots(session);
  if (!dynamic_) {
    plan(settings, n);
    return;
  }
  order_.resize(size_t(n));
  std::iota(order_.begin(), order_.end(), 0);
  if (!settings.costs.empty())
    std::stable_sort(order_.begin(), order_.end(), [&](int64_t a, int64_t b) {
      return settings.costs[size_t(a)] > settings.costs[size_t(b)];
    });
  whole_ = settings.most_ranks > 1 ? n - n % session.world_size() : n;
}

void PromptDealer::plan(const DealSettings& settings, int64_t n) {
  const int world = session_.world_size();
  std::vector<std::vector<int64_t>> slices;
  for (int rank = 0; rank < world; ++rank)
    slices.push_back(settings.distribution == Distribution::kBlock ? block_slice(n, rank, world)
                                                                   : strided_slice(n, rank, world));
  for (const Turn& turn : plan_turns(slices, settings.most_ranks)) {
    if (std::find(turn.ranks.begin(), turn.ranks.end(), session_.rank()) == turn.ranks.end()) continue;
    const bool alone = turn.ranks.size() == 1;
    if (alone && !planned_.empty() && planned_.back().ranks.size() == 1 &&
        int64_t(planned_.back().prompts.size()) < batch_)
      planned_.back().prompts.push_back(turn.prompt);
    else
      planned_.push_back({{turn.prompt}, turn.ranks});
  }
}

std::optional<Assignment> PromptDealer::next() {
  if (dynamic_) {
    if (auto assignment = take_from_counter()) return assignment;
    return join_group();
  }
  if (planned_.empty()) return std::nullopt;
  Assignment assignment = std::move(planned_.front());
  planned_.pop_front();
  return assignment;
}

std::optional<Assignment> PromptDealer::take_from_counter() {
  if (joined_) return std::nullopt;
  RankBoard& board = session_.board();
  // Smaller batches towards the end, so that no rank holds several while others have none.
  const int64_t left = whole_ - board.load(kNextPrompt), W = session_.world_size();
  const int64_t count = std::clamp<int64_t>((left + W - 1) / W, 1, batch_);
  const int64_t begin = board.fetch_add(kNextPrompt, count), end = std::min(begin + count, whole_);
  if (begin >= end) return std::nullopt;
  return Assignment{{order_.begin() + begin, order_.begin() + end}, {session_.rank()}};
}

/// Ticket t of W belongs to group t * groups / W: the ranks that come first do not wait for the last.
std::optional<Assignment> PromptDealer::join_group() {
  const int64_t groups = int64_t(order_.size()) - whole_, W = session_.world_size();
  if (joined_ || groups == 0) return std::nullopt;
  joined_ = true;
  RankBoard& board = session_.board();
  const int64_t ticket = board.fetch_add(kNextTicket, 1), group = ticket * groups / W;
  const int64_t first = (group * W + groups - 1) / groups,
                next_first = ((group + 1) * W + groups - 1) / groups;
  const int64_t end = std::min(next_first, first + most_ranks_);
  if (ticket >= end) return std::nullopt;  // enough have come before
  board.store(kTickets + ticket, session_.rank() + 1);
  Assignment assignment{{order_[size_t(whole_ + group)]}, {}};
  for (int64_t t = first; t < end; ++t) {
    int64_t rank = 0;
    session_.wait_until([&] { return (rank = board.load(kTickets + t)) != 0; },
                        "ranks to draw the last pictures with", {.notice_seconds = kNoticeSeconds});
    assignment.ranks.push_back(int(rank) - 1);
  }
  return assignment;
}

}  // namespace wandistill
