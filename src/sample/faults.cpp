#include "src/sample/faults.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <limits>
#include <sstream>
#include <thread>

#include "wandistill/error.h"

namespace wandistill {
namespace {

void sleep(double seconds) {
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

}  // namespace

Faults::Faults(int rank) : rank_(rank) {
  const char* variable = std::getenv("WANDISTILL_FAULT");
  std::istringstream list(variable ? variable : "");
  for (std::string item; std::getline(list, item, ',');) {
    std::istringstream fields(item);
    Fault fault{.kind = {}, .target = -1, .amount = 0};
    char colon = 0;
    std::getline(fields, fault.kind, ':');
    const bool timed =
        fault.kind == "delay" || fault.kind == "slow" || fault.kind == "step" || fault.kind == "decode";
    const bool known =
        timed || fault.kind == "fail" || fault.kind == "nan" || fault.kind == "batch" || fault.kind == "kill";
    if (!known || !(fields >> fault.target) || (timed && !(fields >> colon >> fault.amount)))
      fail("WANDISTILL_FAULT: '", item,
           "' is none of fail:PROMPT, nan:PROMPT, batch:SIZE, delay:RANK:SECONDS, ",
           "slow:RANK:FACTOR, step:RANK:SECONDS, decode:RANK:SECONDS, kill:RANK");
    faults_.push_back(fault);
  }
}

void Faults::at_start() const {
  for (const Fault& f : faults_)
    if (f.kind == "delay" && f.target == rank_) sleep(f.amount);
}

void Faults::before(int64_t prompt) const {
  for (const Fault& f : faults_)
    if (f.kind == "fail" && f.target == prompt) fail("a fault was injected here");
}

void Faults::before_batch(int64_t prompts) const {
  for (const Fault& f : faults_)
    if (f.kind == "batch" && prompts > f.target) fail("a fault was injected here");
}

void Faults::spoil(int64_t prompt, int64_t count, float* latents) const {
  for (const Fault& f : faults_)
    if (f.kind == "nan" && f.target == prompt)
      std::fill(latents, latents + count, std::numeric_limits<float>::quiet_NaN());
}

void Faults::in_decode() const {
  for (const Fault& f : faults_)
    if (f.kind == "decode" && f.target == rank_) sleep(f.amount);
}

void Faults::after_step(double seconds) const {
  for (const Fault& f : faults_) {
    if (f.target != rank_) continue;
    if (f.kind == "slow") sleep(seconds * (f.amount - 1));
    if (f.kind == "step") sleep(f.amount);
    if (f.kind == "kill") std::raise(SIGKILL);
  }
}

}  // namespace wandistill
