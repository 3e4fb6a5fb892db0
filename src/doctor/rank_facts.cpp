#include "src/doctor/rank_facts.h"

#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include "src/comm/nccl_collectives.h"
#include "wandistill/crc32c.h"
#include "wandistill/device_ops.h"
#include "wandistill/file.h"
#include "wandistill/gpu.h"
#include "wandistill/h5.h"
#include "wandistill/launcher.h"

namespace wandistill {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(RankFacts, host, local_rank, threads, cores, host_cores,
                                                launcher, launched_size, thread_level, versions, gpus,
                                                gpu_names, gpu_problem, driver, shm_bytes, shm_free,
                                                locked_bytes, files, infiniband)

namespace {

/// Of the file that runs: a copy with one other byte is another program.
std::string program_checksum() {
  const std::string program = read_file("/proc/self/exe");
  char text[9];
  std::snprintf(text, sizeof text, "%08x", crc32c(program.data(), program.size()));
  return text;
}

/// "Open MPI v4.1.4": what stands in front of the build's details.
std::string mpi_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  WD_MPI(MPI_Get_library_version(text, &length));
  const std::string all(text, static_cast<size_t>(length));
  return all.substr(0, all.find_first_of(",\n"));
}

std::string thread_level() {
  int level = 0;
  WD_MPI(MPI_Query_thread(&level));
  return level == MPI_THREAD_MULTIPLE     ? "MPI_THREAD_MULTIPLE"
         : level == MPI_THREAD_SERIALIZED ? "MPI_THREAD_SERIALIZED"
         : level == MPI_THREAD_FUNNELED   ? "MPI_THREAD_FUNNELED"
                                          : "MPI_THREAD_SINGLE";
}

int64_t limit(__rlimit_resource resource) {
  rlimit limits{};
  if (::getrlimit(resource, &limits) != 0 || limits.rlim_cur == RLIM_INFINITY) return -1;
  return static_cast<int64_t>(limits.rlim_cur);
}

}  // namespace

std::string RankFacts::version(const std::string& library) const {
  const auto entry = versions.find(library);
  return entry == versions.end() || entry->second.empty() ? "none" : entry->second;
}

RankFacts own_facts(const Session& session) {
  RankFacts facts;
  facts.host = session.host();
  facts.local_rank = session.local_rank();
  facts.threads = session.threads();
  facts.cores = session.cores();
  facts.host_cores = static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
  facts.launcher = launcher_name();
  facts.launched_size = launched_size();
  facts.thread_level = thread_level();
  const CudaFacts cuda = cuda_facts();
  facts.versions = {{"wandistill", WANDISTILL_VERSION},
                    {"program's CRC-32C", program_checksum()},
                    {"MPI", mpi_version()},
                    {"HDF5", h5_version()},
                    {"CUDA", cuda.runtime},
                    {"NCCL", nccl_version()},
                    {"cuDNN", cudnn_version()}};
  facts.gpus = cuda_device_ids();
  facts.gpu_names = cuda.names;
  facts.gpu_problem = cuda.problem;
  facts.driver = cuda.driver;
  struct statvfs room {};
  if (::statvfs("/dev/shm", &room) == 0) {
    facts.shm_bytes = static_cast<int64_t>(room.f_blocks) * static_cast<int64_t>(room.f_frsize);
    facts.shm_free = static_cast<int64_t>(room.f_bavail) * static_cast<int64_t>(room.f_frsize);
  }
  facts.locked_bytes = limit(RLIMIT_MEMLOCK);
  facts.files = limit(RLIMIT_NOFILE);
  std::error_code none;
  const std::filesystem::path adapters = "/sys/class/infiniband";
  facts.infiniband = std::filesystem::exists(adapters, none) && !std::filesystem::is_empty(adapters, none);
  return facts;
}

std::vector<RankFacts> gather_facts(const Session& session) {
  using nlohmann::json;
  const json own = own_facts(session);
  std::vector<RankFacts> all;
  for (const std::string& text : session.gather(own.dump(-1, ' ', false, json::error_handler_t::replace)))
    all.push_back(json::parse(text).get<RankFacts>());
  return all;
}

Json to_json(const RankFacts& facts) {
  return Json(nlohmann::json(facts));
}

}  // namespace wandistill
