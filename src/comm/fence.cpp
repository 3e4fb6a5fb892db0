#include "wandistill/fence.h"

namespace wandistill {

double fence(const Session& session, const std::string& what, double notice_seconds,
             const std::function<void()>& meanwhile) {
  const double start = MPI_Wtime();
  MPI_Request request;
  WD_MPI(MPI_Ibarrier(session.comm(), &request));
  const auto all_came = [&] {
    if (meanwhile) meanwhile();
    int done = 0;
    WD_MPI(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
    return done != 0;
  };
  session.wait_until(all_came, "fence after " + what, {0, notice_seconds});
  return MPI_Wtime() - start;
}

}  // namespace wandistill
