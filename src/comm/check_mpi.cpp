#include <cstdio>

#include "wandistill/session.h"

namespace wandistill {

void check_mpi(int code, const char* call, const char* file, int line) {
  if (code == MPI_SUCCESS) return;
  char reason[MPI_MAX_ERROR_STRING] = "", host[MPI_MAX_PROCESSOR_NAME] = "";
  int length = 0, rank = -1;
  MPI_Error_string(code, reason, &length);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Get_processor_name(host, &length);
  std::fprintf(stderr, "wandistill: rank %d on %s: %s failed at %s:%d: %s\n", rank, host, call, file, line,
               reason);
  std::fflush(nullptr);
  MPI_Abort(MPI_COMM_WORLD, 1);
}

}  // namespace wandistill
