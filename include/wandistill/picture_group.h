// Ranks that draw one picture together: the two guided passes on the group's two halves, the tokens of a pass
// split over a half.
#pragma once

#include <cstdint>
#include <vector>

#include "wandistill/session.h"
#include "wandistill/token_split.h"

namespace wandistill {

/// Every member holds the whole latents and ends each step with the same velocity, bit for bit that of a rank
/// alone. Unless said otherwise the functions are collective over the members, in the same order on each; no
/// other rank takes part.
class PictureGroup {
 public:
  /// members: distinct ranks, the first being the leader; the constructor waits until all have come, any()
  /// as the session's collectives do. guided: each step has a conditional and
  /// an unconditional pass; two members or more share them, the first half (the larger) taking the
  /// conditional one. tokens: of the picture; where they are too few for all members, the last ones compute
  /// nothing.
  PictureGroup(const Session& session, const std::vector<int>& members, bool guided, int64_t tokens);
  ~PictureGroup();
  PictureGroup(const PictureGroup&) = delete;
  PictureGroup& operator=(const PictureGroup&) = delete;

  /// The member's place in `members`; the leader's is 0.
  int rank() const { return rank_; }
  int size() const { return size_; }
  bool is_leader() const { return rank_ == 0; }
  MPI_Comm comm() const { return comm_; }

  bool guided() const { return guided_; }
  int64_t tokens() const { return tokens_; }
  /// The two guided passes are on two halves; then this member's is pass() (0 conditional, 1 unconditional).
  bool splits_passes() const { return guided_ && size_ > 1; }
  int pass() const { return pass_; }
  /// This member's tokens of its pass; null where it computes all of them.
  const TokenSplit* split() const { return split_.gather ? &split_ : nullptr; }

  /// passes [2, n], this member's pass filled in: fills in the other. Where the passes are split.
  void exchange_passes(float* passes, int64_t n) const;
  /// The leader's values; on every member.
  void broadcast(std::vector<float>* values) const;
  /// Every member's bytes one after the other; on the leader.
  std::vector<uint8_t> gather(const std::vector<uint8_t>& bytes) const;
  /// True on every member if it was on any.
  bool any(bool value) const;

 private:
  const Session& session_;
  std::vector<int> members_;
  MPI_Comm comm_ = MPI_COMM_NULL, half_ = MPI_COMM_NULL;  // half_: the members of the same pass
  int rank_ = 0, size_ = 1, pass_ = 0, first_unconditional_ = 0;
  bool guided_;
  int64_t tokens_;
  TokenSplit split_;
};

}  // namespace wandistill
