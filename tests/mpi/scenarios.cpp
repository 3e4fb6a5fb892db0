// Jobs that end abnormally on purpose; tests/mpi/run.sh checks exit code, message and time.
#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <thread>

#include "mpi_test.h"
#include "wandistill/device_collectives.h"
#include "wandistill/fence.h"
#include "wandistill/gradient_buckets.h"

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

/// Ends well unless a fault is injected.
int sums(Session& session) {
  for (int i = 0; i < 20; ++i) session.sum(1.0);
  return 0;
}

const char* const kWork = "prompt 5, denoising step 3 of 10";

/// The rank does not come for longer than any test waits.
void is_late(Session& session) {
  session.board().post(kWork, true);
  sleep_ms(60000);
}

int fence_timeout(Session& session) {
  session.set_collective_timeout(0.5);
  if (session.rank() == session.world_size() - 1) is_late(session);
  fence(session, "samples of epoch 10");
  return 0;
}

/// The others must end the job without rank 0.
int root_late(Session& session) {
  session.set_collective_timeout(0.5);
  if (session.is_root()) is_late(session);
  fence(session, "samples of epoch 10");
  return 0;
}

int sum_timeout(Session& session) {
  session.set_collective_timeout(0.5);
  if (session.rank() == session.world_size() - 1) is_late(session);
  session.sum(1.0);
  return 0;
}

int gradients_timeout(Session& session) {
  session.set_collective_timeout(0.5);
  float gradient = 1;
  GradientBuckets buckets(session, &gradient, {{0, 1}}, 1);
  if (session.rank() == session.world_size() - 1) is_late(session);
  buckets.wait();
  return 0;
}

int device_timeout(Session& session) {
  session.set_collective_timeout(0.5);
  const auto device = make_simt_device({});
  const auto stream = device->make_stream();
  const auto collectives = make_device_collectives(session, *device);
  const auto done = device->make_event();
  DeviceBuffer<float> x(*stream, 1);
  stream->fill(x.data(), 0, 4);
  collectives->all_reduce_sum(x.data(), 1, *stream);
  stream->record(*done);
  if (session.rank() == session.world_size() - 1) is_late(session);
  collectives->wait(*done, "training step 5");
  return 0;
}

/// A rank that is late, but comes.
int fence_notice(Session& session) {
  if (session.rank() == session.world_size() - 1) {
    session.board().post(kWork, true);
    sleep_ms(900);
  }
  fence(session, "samples of epoch 10", 0.4);  // the notice after twice that time finds the same
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
  if (name == "root_late") return run_session(argc, argv, root_late);
  if (name == "sum_timeout") return run_session(argc, argv, sum_timeout);
  if (name == "gradients_timeout") return run_session(argc, argv, gradients_timeout);
  if (name == "device_timeout") return run_session(argc, argv, device_timeout);
  if (name == "fence_notice") return run_session(argc, argv, fence_notice);
  if (name == "mpi_error") return run_session(argc, argv, mpi_error);
  if (name == "sums") return run_session(argc, argv, sums);
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
