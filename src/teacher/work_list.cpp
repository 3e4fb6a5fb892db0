#include "src/teacher/work_list.h"

#include <algorithm>

namespace wandistill {

WorkList::WorkList(Leases& leases, std::vector<std::string> keys, int rank, int world_size,
                   std::function<void()> refresh, std::function<bool(int64_t)> present)
    : leases_(leases), keys_(std::move(keys)), refresh_(std::move(refresh)), present_(std::move(present)) {
  for (int64_t turn = 0; turn < world_size; ++turn) {
    std::vector<int64_t> share;
    for (int64_t i = (rank + turn) % world_size; i < int64_t(keys_.size()); i += world_size)
      share.push_back(i);
    if (turn == 0) own_ = share.size();
    if (turn > 0) std::reverse(share.begin(), share.end());  // where its owner comes last
    waiting_.insert(waiting_.end(), share.begin(), share.end());
  }
}

std::vector<int64_t> WorkList::take(int64_t most) {
  std::vector<int64_t> missing, done;
  do {
    std::vector<int64_t> taken;
    const bool own = own_ > 0;
    for (size_t tries = own ? own_ : waiting_.size(); tries > 0 && int64_t(taken.size()) < most; --tries) {
      const int64_t piece = waiting_.front();
      waiting_.pop_front();
      if (own) --own_;
      if (leases_.claim(keys_[size_t(piece)]))
        taken.push_back(piece);
      else
        waiting_.push_back(piece);
    }
    if (taken.empty() && own) continue;  // with the others' shares
    if (taken.empty()) return {};
    // A claim ends after its piece has come into the folder: whatever was claimed before us is seen now.
    refresh_();
    done.clear();
    for (const int64_t piece : taken) (present_(piece) ? done : missing).push_back(piece);
    release(done);
  } while (missing.empty());
  return missing;
}

void WorkList::release(const std::vector<int64_t>& pieces) {
  for (const int64_t piece : pieces) leases_.release(keys_[size_t(piece)]);
}

WorkList::Others WorkList::others() {
  refresh_();
  std::erase_if(waiting_, [&](int64_t piece) { return present_(piece); });
  Others others;
  std::vector<std::string> keys;
  for (const int64_t piece : waiting_) keys.push_back(keys_[size_t(piece)]);
  const std::vector<Leases::Status> status = leases_.status(keys);
  for (size_t i = 0; i < keys.size(); ++i) {
    const auto& [holder, who] = status[i];
    if (holder == Leases::Holder::kDead) leases_.remove_dead(keys[i]);
    if (holder == Leases::Holder::kDead || holder == Leases::Holder::kNobody) others.free = true;
    if (holder != Leases::Holder::kOtherJob) continue;
    ++others.pieces;
    others.who = who;
  }
  return others;
}

}  // namespace wandistill
