#include "wandistill/fence.h"

#include <chrono>
#include <thread>

namespace wandistill {

double fence(const Session& session, const std::string& what, double timeout_seconds) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const auto waited = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  MPI_Request request;
  WD_MPI(MPI_Ibarrier(session.comm(), &request));
  int arrived = 0;
  WD_MPI(MPI_Test(&request, &arrived, MPI_STATUS_IGNORE));
  while (!arrived) {
    if (waited() > timeout_seconds) {
      session.abort(cat("fence after ", what, ": waited ", waited(),
                        " s, and not every rank has come (limit ", timeout_seconds,
                        " s); the job ends here"));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    WD_MPI(MPI_Test(&request, &arrived, MPI_STATUS_IGNORE));
  }
  return waited();
}

}  // namespace wandistill
