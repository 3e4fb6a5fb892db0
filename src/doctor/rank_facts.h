// What a rank knows of the place that it was started in.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "wandistill/json.h"
#include "wandistill/session.h"

namespace wandistill {

struct RankFacts {
  std::string host;
  int local_rank = 0, threads = 1;
  std::vector<int> cores;  // that it may run on
  int host_cores = 0;      // that the host has

  std::string launcher;   // launcher.h
  int launched_size = 0;  // as there
  std::string thread_level;
  std::map<std::string, std::string> versions;  // by library; of the program its checksum too

  std::vector<std::string> gpus, gpu_names;  // ids and names of those that it sees (gpu.h)
  std::string gpu_problem;                   // why it sees none
  std::string driver;                        // its CUDA version

  int64_t shm_bytes = 0, shm_free = 0;    // of /dev/shm
  int64_t locked_bytes = -1, files = -1;  // limits of the process; -1: none
  bool infiniband = false;                // the host has such an adapter

  /// "none" where there is none.
  std::string version(const std::string& library) const;
};

RankFacts own_facts(const Session& session);
/// Every rank's, by rank. Collective. Ranks of another version of the program may know less.
std::vector<RankFacts> gather_facts(const Session& session);
Json to_json(const RankFacts& facts);

}  // namespace wandistill
