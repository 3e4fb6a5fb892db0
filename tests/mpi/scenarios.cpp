// Jobs that end abnormally on purpose; tests/mpi/run.sh checks exit code, message and time.
#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <thread>

#include "mpi_test.h"
#include "wandistill/fence.h"

namespace wandistill {
namespace {

void sleep_ms(int ms) {
  std::this_thread::sleep_for(std::chrono::milliseconds(ms));
}

int one_rank_throws(Session& session) {
  if (session.rank() == session.world_size() - 1) throw std::runtime_error("out of luck");
  session.barrier();  // the others would wait for ever
  return 0;
}

int collective_error(Session& session) {
  session.collectively([&] {
    if (session.rank() == session.world_size() - 1) fail("no such prompt file");
  });
  return 0;
}

int fence_timeout(Session& session) {
  if (session.rank() == session.world_size() - 1) sleep_ms(60000);
  fence(session, "samples of epoch 10", 0.5);
  return 0;
}

int mpi_error(Session& session) {
  WD_MPI(MPI_Send(nullptr, 0, MPI_BYTE, session.world_size() + 5, 0, session.comm()));
  return 0;
}

/// Steps until a signal came to any rank; every rank says where it stopped.
int stop_signal(Session& session) {
  const StopSignals stop;
  int step = 0;
  if (session.is_root()) {
    std::printf("running\n");
    std::fflush(stdout);
  }
  while (!session.any(stop.requested())) {
    ++step;
    sleep_ms(5);
  }
  const auto steps = session.gather(std::vector<int>{step});
  for (const int other : steps) {
    if (other != step) fail("stopped at step ", step, ", another rank at ", other);
  }
  if (session.is_root()) std::printf("all stopped at one step\n");
  return 0;
}

}  // namespace

int run_scenario(const std::string& name, int argc, char** argv) {
  if (name == "one_rank_throws") return run_session(argc, argv, one_rank_throws);
  if (name == "collective_error") return run_session(argc, argv, collective_error);
  if (name == "fence_timeout") return run_session(argc, argv, fence_timeout);
  if (name == "mpi_error") return run_session(argc, argv, mpi_error);
  if (name == "stop_signal") return run_session(argc, argv, stop_signal);
  if (name == "throw_past_main") {
    Session session(&argc, &argv);
    return one_rank_throws(session);
  }
  if (name == "throw_past_session") {
    try {
      Session session(&argc, &argv);
      return one_rank_throws(session);
    } catch (const std::exception&) {  // too late: the session must have ended the job while it was left
      return 0;
    }
  }
  std::fprintf(stderr, "no scenario \"%s\"\n", name.c_str());
  return 2;
}

}  // namespace wandistill
