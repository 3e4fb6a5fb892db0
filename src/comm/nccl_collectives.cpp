#include "nccl_collectives.h"

#include <nccl.h>

#include <utility>

#include "src/gpu/cuda_device.h"
#include "wandistill/shard.h"

namespace wandistill {
namespace {

void check_nccl(ncclResult_t status, ncclComm_t comm, const char* call, const char* file, int line) {
  if (status != ncclSuccess)
    fail("NCCL: ", call, ": ", ncclGetErrorString(status), " (", ncclGetLastError(comm), ") at ", file, ":",
         line);
}
#define WD_CHECK_NCCL(comm, call) check_nccl((call), comm, #call, __FILE__, __LINE__)

/// The communicator does not block: what waits for other ranks does so with the session's time-out.
class NcclCollectives : public DeviceCollectives {
 public:
  NcclCollectives(const Session& session, Device& device, ncclUniqueId id)
      : DeviceCollectives(session, device) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    WD_CHECK_NCCL(comm_,
                  settled(ncclCommInitRankConfig(&comm_, session.world_size(), id, session.rank(), &config),
                          "the start of NCCL"));
  }

  ~NcclCollectives() override {
    if (!comm_) return;
    // Ends the kernels that wait for ranks which will not come, so that their streams end too.
    if (unwinding() || settled(ncclCommFinalize(comm_), "the end of NCCL") != ncclSuccess)
      ncclCommAbort(comm_);
    else
      ncclCommDestroy(comm_);
  }

 private:
  void enqueue_sum(float* values, int64_t count, Stream& stream) override {
    sum(values, count, ncclFloat, stream);
  }
  void enqueue_sum(double* values, int64_t count, Stream& stream) override {
    sum(values, count, ncclDouble, stream);
  }
  void sum(void* values, int64_t count, ncclDataType_t type, Stream& stream) {
    WD_CHECK_NCCL(comm_, settled(ncclAllReduce(values, values, static_cast<size_t>(count), type, ncclSum,
                                               comm_, stream_of(stream)),
                                 "NCCL's links for a sum"));
  }

  /// NCCL's pieces are of one size: what is left over is the last rank's, and goes to it by a call of its
  /// own.
  void enqueue_reduce_scatter(float* values, int64_t count, float* own, Stream& stream) override {
    const int64_t each = count / world_size(), rest = count % world_size();
    if (each > 0)
      WD_CHECK_NCCL(comm_, settled(ncclReduceScatter(values, own, static_cast<size_t>(each), ncclFloat,
                                                     ncclSum, comm_, stream_of(stream)),
                                   "NCCL's links for a reduce-scatter"));
    if (rest > 0)
      WD_CHECK_NCCL(comm_, settled(ncclReduce(values + count - rest, own + each, static_cast<size_t>(rest),
                                              ncclFloat, ncclSum, world_size() - 1, comm_, stream_of(stream)),
                                   "NCCL's links for a reduction"));
  }

  void enqueue_gather_pieces(void* all, int64_t count, int64_t element_bytes, Stream& stream) override {
    const int64_t each = count / world_size() * element_bytes, rest = count % world_size() * element_bytes;
    char* const bytes = static_cast<char*>(all);
    if (each > 0) enqueue_gather(bytes + rank() * each, all, each, stream);
    char* const last = bytes + world_size() * each;
    if (rest > 0)
      WD_CHECK_NCCL(comm_, settled(ncclBroadcast(last, last, static_cast<size_t>(rest), ncclUint8,
                                                 world_size() - 1, comm_, stream_of(stream)),
                                   "NCCL's links for a broadcast"));
  }

  void enqueue_gather(const void* own, void* all, int64_t bytes, Stream& stream) override {
    WD_CHECK_NCCL(comm_, settled(ncclAllGather(own, all, static_cast<size_t>(bytes), ncclUint8, comm_,
                                               stream_of(stream)),
                                 "NCCL's links for a gather"));
  }

  void check() const override {
    if (!comm_) fail("NCCL: ended by an earlier error");
    ncclResult_t state = ncclSuccess;
    WD_CHECK_NCCL(comm_, ncclCommGetAsyncError(comm_, &state));
    if (state == ncclSuccess || state == ncclInProgress) return;
    const std::string details = ncclGetLastError(comm_);
    // Now, as what is destroyed before this object waits for the streams, whose kernels may wait for ever.
    ncclCommAbort(std::exchange(comm_, nullptr));
    fail("NCCL: ", ncclGetErrorString(state), " (", details, ") in a collective");
  }

  static cudaStream_t stream_of(Stream& stream) { return dynamic_cast<CudaStream&>(stream).get(); }

  /// A call's result once it is no longer in progress. Only then is the work in the stream: a call may go on
  /// in the background, most of all the first of its kind, which makes links to other ranks.
  ncclResult_t settled(ncclResult_t status, const char* what) const {
    const auto done = [&] {
      if (status == ncclInProgress && ncclCommGetAsyncError(comm_, &status) != ncclSuccess)
        status = ncclInternalError;
      return status != ncclInProgress;
    };
    session_.wait_until(done, what);
    return status;
  }

  mutable ncclComm_t comm_ = nullptr;  // null: ended by an error
};

}  // namespace

std::unique_ptr<DeviceCollectives> make_nccl_collectives(Session& session, Device& device) {
  ncclUniqueId id{};
  session.collectively([&] {
    WD_REQUIRE(dynamic_cast<CudaDevice*>(&device));
    if (session.is_root()) WD_CHECK_NCCL(nullptr, ncclGetUniqueId(&id));
  });
  session.broadcast(&id);
  return std::make_unique<NcclCollectives>(session, device, id);
}

std::string nccl_version() {
  int version = 0;  // 10000 * major + 100 * minor + patch
  WD_CHECK_NCCL(nullptr, ncclGetVersion(&version));
  return cat(version / 10000, ".", version / 100 % 100, ".", version % 100);
}

}  // namespace wandistill
