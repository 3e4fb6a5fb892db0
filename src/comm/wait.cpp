// Waiting for other ranks: gives the core away, says for whom, and ends.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <thread>

#include "pause.h"
#include "ranks_text.h"
#include "wandistill/fault.h"
#include "wandistill/progress.h"
#include "wandistill/session.h"

namespace wandistill {
namespace {

constexpr double kLongestNoticeSeconds = 60;
// After the limit the other ranks leave rank 0 this time to speak: it may be the late one.
constexpr double kGraceSeconds = 5;
constexpr size_t kReportedRanks = 16, kNoticedRanks = 4;

/// Of the ranks that `own` waits for, `expected` (empty: all), those that do not wait themselves; if all do,
/// those that wait for something else.
std::vector<RankStatus> late_ranks(const std::vector<RankStatus>& all, int own, const std::string& what,
                                   const std::vector<int>& expected) {
  const auto waits = [](const RankStatus& s) { return s.text.rfind(RankBoard::kWaiting, 0) == 0; };
  std::vector<RankStatus> late, elsewhere;
  for (const RankStatus& s : all) {
    if (s.rank == own) continue;
    if (!expected.empty() && std::find(expected.begin(), expected.end(), s.rank) == expected.end()) continue;
    if (!waits(s)) {
      late.push_back(s);
    } else if ((RankBoard::kWaiting + what).rfind(s.text, 0) != 0) {  // the board may have cut it
      elsewhere.push_back(s);
    }
  }
  return late.empty() ? elsewhere : late;
}

std::string names(const std::vector<RankStatus>& late) {
  std::vector<int> ranks;
  for (const RankStatus& s : late) ranks.push_back(s.rank);
  return ranks.empty() ? "a message: every rank has come" : ranks_text(ranks);
}

std::string rounded(double seconds, int digits) {
  char text[40];
  std::snprintf(text, sizeof(text), "%.*f", digits, seconds);
  return text;
}

/// "rank 1 (prompt 5, denoising step 3 of 10), rank 2 (...) and 3 more".
std::string notice(const std::vector<RankStatus>& late) {
  if (late.empty()) return names(late);
  std::string text;
  for (size_t i = 0; i < std::min(late.size(), kNoticedRanks); ++i)
    text += cat(i == 0 ? "" : ", ", "rank ", late[i].rank, " (", late[i].text, ")");
  if (late.size() > kNoticedRanks) text += cat(" and ", late.size() - kNoticedRanks, " more");
  return text;
}

std::string report(const std::vector<RankStatus>& late) {
  std::string text = names(late);
  for (size_t i = 0; i < std::min(late.size(), kReportedRanks); ++i)
    text += cat("\n  rank ", late[i].rank, ": ", late[i].text, " (", rounded(late[i].seconds, 1), " s ago)");
  if (late.size() > kReportedRanks) text += cat("\n  and ", late.size() - kReportedRanks, " more");
  return text;
}

}  // namespace

void Session::wait(MPI_Request* request, const std::string& what, const Patience& patience) const {
  wait_until(
      [request] {
        int done = 0;
        WD_MPI(MPI_Test(request, &done, MPI_STATUS_IGNORE));
        return done != 0;
      },
      what, patience);
}

void Session::wait_until(const std::function<bool()>& done, const std::string& what,
                         const Patience& patience) const {
  check_mpi(fault_strikes("collective") ? MPI_ERR_OTHER : MPI_SUCCESS, what.c_str(), __FILE__, __LINE__);
  const double say_after = std::min(patience.say_seconds, collective_timeout_ / 2);
  const double limit = collective_timeout_ + (is_root() ? 0 : kGraceSeconds);
  double next_notice = patience.notice_seconds;
  bool said = false;
  for (WaitClock clock; !done(); clock.pause()) {
    const double waited = clock.seconds();
    if (waited >= limit) give_up(what, waited, patience.ranks);
    if (!said && waited >= say_after) {
      board_->post(RankBoard::kWaiting + what, true);
      said = true;
    }
    if (is_root() && waited >= next_notice) {
      print_line(cat(what, ": ", rounded(waited, waited < 10 ? 1 : 0), " s, still waiting for ",
                     notice(late_ranks(board_->read(), rank_, what, patience.ranks))));
      next_notice += std::min(next_notice, kLongestNoticeSeconds);
    }
  }
  if (said) board_->post("past " + what, true);
}

void Session::give_up(const std::string& what, double waited, const std::vector<int>& ranks) const {
  const std::vector<RankStatus> all = board_->read();
  // One rank reports and ends the job; should it not come to that, the next one does.
  double pause = 0;
  if (all.empty()) {
    pause = std::min(kGraceSeconds, 0.1 * rank_);
  } else if (!board_->first_to_report()) {
    pause = kGraceSeconds;
  }
  std::this_thread::sleep_for(std::chrono::duration<double>(pause));
  abort(cat(what, ": waited ", rounded(waited, 1), " s (limit ", collective_timeout_,
            " s, --fence_timeout) for ",
            all.empty() ? "a rank; rank 0 does not answer, so which one and what it does is not known"
                        : report(late_ranks(all, rank_, what, ranks))));
}

}  // namespace wandistill
