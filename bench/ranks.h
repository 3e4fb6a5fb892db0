// Students on ranks of one core each, started under mpirun by the program that reports on them.
#pragma once

#include <cstdio>
#include <string>
#include <thread>

#include "bench/student.h"
#include "wandistill/error.h"
#include "wandistill/json.h"
#include "wandistill/session.h"

namespace wandistill::bench {

constexpr int64_t kPromptTokens = 20;

struct Size {
  const char* name;
  WanConfig config;
  int64_t batch, side;  // of a rank
};

inline const Size kSizes[] = {{"tiny",
                               {.heads = 2,
                                .head_dim = 64,
                                .layers = 4,
                                .ffn_dim = 384,
                                .in_channels = 16,
                                .out_channels = 16,
                                .text_dim = 96,
                                .freq_dim = 256},
                               16,
                               16},
                              {"small",
                               {.heads = 8,
                                .head_dim = 64,
                                .layers = 8,
                                .ffn_dim = 2048,
                                .in_channels = 16,
                                .out_channels = 16,
                                .text_dim = 4096,
                                .freq_dim = 256},
                               4,
                               32}};

inline const Size& size_of(const std::string& name) {
  for (const Size& size : kSizes)
    if (name == size.name) return size;
  throw CollectiveError(cat("no size '", name, "'"));
}

/// The shell's words for a command on this many ranks of one core each, bound to it where there are so many:
/// each has it for all that it does, so that one rank is a fair measure for several.
inline std::string on_ranks(int ranks, const std::string& command) {
  const char* const binding = ranks <= int(std::thread::hardware_concurrency()) ? "core" : "none";
  return cat("taskset -c 0-", ranks - 1, " bash -c 'source scripts/mpi_env.sh; OMP_NUM_THREADS=1 ",
             "OMPI_MCA_hwloc_base_binding_policy=", binding, " run_ranks ", ranks, " ", command,
             " < /dev/null'");
}

/// The line of JSON that `self worker ARGUMENTS` prints on this many ranks. Error if a rank ends with one;
/// then what they said is in build/ranks.log.
inline Json start_ranks(const std::string& self, int ranks, const std::string& arguments) {
  const std::string command = on_ranks(ranks, cat(self, " worker ", arguments, " 2> build/ranks.log"));
  std::FILE* pipe = popen(command.c_str(), "r");
  if (!pipe) fail("cannot start ", command);
  std::string text;
  for (char part[4096]; const size_t count = std::fread(part, 1, sizeof part, pipe);)
    text.append(part, count);
  if (pclose(pipe) != 0) fail(ranks, " ranks ended with an error; see build/ranks.log");
  return Json::parse(text);
}

}  // namespace wandistill::bench
