#include "src/doctor/clocks.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "src/doctor/fact_checks.h"
#include "src/plan/units.h"
#include "wandistill/error.h"
#include "wandistill/fault.h"

namespace wandistill {
namespace {

constexpr double kMostSeconds = 1;
constexpr int kExchanges = 5;  // the first wakes the other rank up
constexpr int kTag = 1;

double now() {
  const std::chrono::duration<double> since_1970 = std::chrono::system_clock::now().time_since_epoch();
  return since_1970.count() + (fault_strikes("clock") ? 10 : 0);
}

void send(const Session& session, double value, int to) {
  MPI_Request request;
  WD_MPI(MPI_Isend(&value, 1, MPI_DOUBLE, to, kTag, session.comm(), &request));
  session.wait(&request, "a look at another rank's clock", {.ranks = {to}});
}

double receive(const Session& session, int from) {
  double value = 0;
  MPI_Request request;
  WD_MPI(MPI_Irecv(&value, 1, MPI_DOUBLE, from, kTag, session.comm(), &request));
  session.wait(&request, "a look at another rank's clock", {.ranks = {from}});
  return value;
}

}  // namespace

ClockOffset clock_offset(const std::vector<Exchange>& exchanges) {
  const Exchange& best =
      *std::ranges::min_element(exchanges, {}, [](const Exchange& e) { return e.heard - e.asked; });
  const double half = (best.heard - best.asked) / 2;
  return {best.answered - (best.asked + half), half};
}

Check clocks_check(const std::vector<ClockOffset>& offsets, const std::vector<std::string>& hosts) {
  double least = 0, most = 0, uncertainty = 0;
  Lines found, problems;
  for (size_t rank = 0; rank < offsets.size(); ++rank) {
    const double seconds = offsets[rank].seconds;
    least = std::min(least, seconds);
    most = std::max(most, seconds);
    uncertainty = std::max(uncertainty, offsets[rank].uncertainty);
    if (std::abs(seconds) > kMostSeconds)
      problems.add(cat("the clock of rank ", rank, " (", hosts[rank], ") is ",
                       seconds_text(std::abs(seconds)), seconds > 0 ? " ahead of" : " behind", " rank 0's (",
                       hosts[0], ")"));
  }
  const double bound = most - least + 2 * uncertainty;
  found.add(bound < 1e-3 ? std::string("less than 1 ms apart")
                         : cat("at most ", seconds_text(bound), " apart"));
  return judged(
      "clocks", found, CheckResult::kWarning, problems,
      "let NTP or chrony set the hosts' clocks (chronyc tracking): leases of work would expire early "
      "or late, and logs are out of order");
}

Check check_clocks(const Session& session) {
  std::vector<ClockOffset> offsets{{0, 0}};
  if (!session.is_root()) {
    for (int i = 0; i < kExchanges; ++i) {
      receive(session, 0);
      send(session, now(), 0);
    }
  } else {
    for (int rank = 1; rank < session.world_size(); ++rank) {
      std::vector<Exchange> exchanges;
      for (int i = 0; i < kExchanges; ++i) {
        Exchange e{now(), 0, 0};
        send(session, e.asked, rank);
        e.answered = receive(session, rank);
        e.heard = now();
        exchanges.push_back(e);
      }
      offsets.push_back(clock_offset(exchanges));
    }
  }
  session.broadcast(&offsets);
  return clocks_check(offsets, session.gather(session.host()));
}

}  // namespace wandistill
