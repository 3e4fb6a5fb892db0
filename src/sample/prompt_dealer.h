// Hands a rank its next prompts.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "wandistill/distribution.h"
#include "wandistill/session.h"

namespace wandistill {

/// The slots of the board's window that a round uses.
enum RoundSlot : int {
  kPicturesDone,  // by all ranks
  kNextPrompt,
  kNextTicket,
  kTickets  // kTickets + t: rank + 1 that drew ticket t
};

/// Prompts for one rank to draw as a batch, or one prompt that several ranks draw together.
struct Assignment {
  std::vector<int64_t> prompts;
  std::vector<int> ranks;  // the first leads
  bool operator==(const Assignment&) const = default;
};

/// How a round's prompts are dealt; the same on every rank.
struct DealSettings {
  Distribution distribution = Distribution::kStrided;
  int64_t batch = 1;               // most prompts that a rank draws at once
  int64_t most_ranks = 1;          // that draw one picture together; 1: pictures are not split
  std::vector<double> costs = {};  // seconds by prompt, if known: dynamic deals the longest first
};

/// Deals n prompts over the ranks. Strided and block are planned beforehand. Dynamic takes the next prompts
/// from a counter in the board's window; if pictures may be split, the n mod W last ones go to groups of
/// ranks in the order in which the ranks run out of work.
class PromptDealer {
 public:
  /// Collective: the round's slots start at 0.
  PromptDealer(Session& session, int64_t n, const DealSettings& settings);

  /// What this rank does next; nothing: it is done. Every member of a group gets the group's assignment and
  /// must take part in it. Waits for the other members, as collectives do.
  std::optional<Assignment> next();

 private:
  void plan(const DealSettings& settings, int64_t n);
  std::optional<Assignment> take_from_counter();
  std::optional<Assignment> join_group();

  Session& session_;
  bool dynamic_;
  int64_t batch_, most_ranks_;
  std::deque<Assignment> planned_;
  std::vector<int64_t> order_;  // dynamic: prompts by cost
  int64_t whole_ = 0;           // dynamic: so many of `order_` are drawn by single ranks
  bool joined_ = false;
};

}  // namespace wandistill
