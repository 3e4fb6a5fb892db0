#include "wandistill/device_collectives.h"

#include <algorithm>
#include <climits>
#include <exception>

#include "nccl_collectives.h"
#include "src/gpu/simt_device.h"
#include "wandistill/shard.h"

namespace wandistill {

DeviceCollectives::DeviceCollectives(const Session& session, Device& device)
    : session_(session),
      stream_(device.make_stream()),
      last_(device.make_event()),
      exceptions_at_start_(std::uncaught_exceptions()) {}

template <class Enqueue>
void DeviceCollectives::in_order(Stream& stream, Enqueue enqueue) {
  stream.wait(*last_);
  enqueue();
  stream.record(*last_);
}

void DeviceCollectives::all_reduce_sum(float* values, int64_t count, Stream& stream) {
  if (count > 0) in_order(stream, [&] { enqueue_sum(values, count, stream); });
}

void DeviceCollectives::all_reduce_sum(double* values, int64_t count, Stream& stream) {
  if (count > 0) in_order(stream, [&] { enqueue_sum(values, count, stream); });
}

void DeviceCollectives::reduce_scatter_sum(float* values, int64_t count, float* own, Stream& stream) {
  if (count > 0) in_order(stream, [&] { enqueue_reduce_scatter(values, count, own, stream); });
}

void DeviceCollectives::all_gather(const void* own, void* all, int64_t bytes, Stream& stream) {
  if (bytes > 0) in_order(stream, [&] { enqueue_gather(own, all, bytes, stream); });
}

void DeviceCollectives::all_gather_pieces(void* all, int64_t count, int64_t element_bytes, Stream& stream) {
  if (count > 0) in_order(stream, [&] { enqueue_gather_pieces(all, count, element_bytes, stream); });
}

void DeviceCollectives::wait(Event& event, const std::string& what, const Patience& patience) const {
  const auto reached = [&] {
    check();
    return event.reached();
  };
  session_.wait_until(reached, what, patience);
}

bool DeviceCollectives::unwinding() const {
  return std::uncaught_exceptions() > exceptions_at_start_;
}

namespace {

/// A world of one rank, on any device.
class NoCollectives : public DeviceCollectives {
 public:
  NoCollectives(const Session& session, Device& device) : DeviceCollectives(session, device) {}

 private:
  void enqueue_sum(float*, int64_t, Stream&) override {}
  void enqueue_sum(double*, int64_t, Stream&) override {}
  void enqueue_reduce_scatter(float* values, int64_t count, float* own, Stream& stream) override {
    copy(stream, own, values, count);
  }
  void enqueue_gather(const void* own, void* all, int64_t bytes, Stream& stream) override {
    if (own != all) stream.copy(all, own, bytes);
  }
  void enqueue_gather_pieces(void*, int64_t, int64_t, Stream&) override {}
};

constexpr int64_t kLargestMessage = INT_MAX / 2;  // MPI counts are int

/// The SIMT device's: its memory is the host's, and an operation of its stream calls MPI.
class SimtCollectives : public DeviceCollectives {
 public:
  SimtCollectives(const Session& session, Device& device) : DeviceCollectives(session, device) {
    WD_MPI(MPI_Comm_dup(session.comm(), &world_->comm));
  }
  ~SimtCollectives() override {
    if (unwinding()) {
      world_->given_up = true;
      return;
    }
    try {
      last().synchronize();
    } catch (const Error&) {
      // Whoever waited for the work has heard of it.
    }
    MPI_Comm_free(&world_->comm);
  }

 private:
  /// What operations share that may run when the object is gone.
  struct World {
    MPI_Comm comm = MPI_COMM_NULL;  // its own: these run at other times than the main thread's calls
    bool given_up = false;
  };

  /// call() when all ranks are there: a wait with a time-out, as the call is one without.
  template <class Call>
  void enqueue(Stream& stream, Call call) {
    dynamic_cast<SimtStream&>(stream).enqueue([world = world_, &session = session_, call] {
      if (world->given_up) return;
      MPI_Request all_there;
      WD_MPI(MPI_Ibarrier(world->comm, &all_there));
      session.wait(&all_there, "a collective of the devices");
      call(world->comm);
    });
  }

  template <class T>
  void sum(T* values, int64_t count, MPI_Datatype type, Stream& stream) {
    enqueue(stream, [values, count, type](MPI_Comm comm) {
      for (int64_t at = 0; at < count; at += kLargestMessage)
        WD_MPI(MPI_Allreduce(MPI_IN_PLACE, values + at,
                             static_cast<int>(std::min(kLargestMessage, count - at)), type, MPI_SUM, comm));
    });
  }
  void enqueue_sum(float* values, int64_t count, Stream& stream) override {
    sum(values, count, MPI_FLOAT, stream);
  }
  void enqueue_sum(double* values, int64_t count, Stream& stream) override {
    sum(values, count, MPI_DOUBLE, stream);
  }

  /// Every rank's numbers in pieces of `count` elements of so many bytes, and their offsets.
  std::pair<std::vector<int>, std::vector<int>> pieces(int64_t count, int64_t element_bytes) const {
    WD_REQUIRE(count * element_bytes <= kLargestMessage);
    std::vector<int> sizes, offsets;
    for (int r = 0; r < world_size(); ++r) {
      const Range piece = piece_of(count, world_size(), r);
      sizes.push_back(static_cast<int>(piece.size() * element_bytes));
      offsets.push_back(static_cast<int>(piece.begin * element_bytes));
    }
    return {sizes, offsets};
  }

  void enqueue_reduce_scatter(float* values, int64_t count, float* own, Stream& stream) override {
    enqueue(stream, [values, own, sizes = pieces(count, 1).first](MPI_Comm comm) {
      WD_MPI(MPI_Reduce_scatter(values, own, sizes.data(), MPI_FLOAT, MPI_SUM, comm));
    });
  }

  void enqueue_gather_pieces(void* all, int64_t count, int64_t element_bytes, Stream& stream) override {
    enqueue(stream, [all, cut = pieces(count, element_bytes)](MPI_Comm comm) {
      WD_MPI(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all, cut.first.data(), cut.second.data(),
                            MPI_BYTE, comm));
    });
  }

  void enqueue_gather(const void* own, void* all, int64_t bytes, Stream& stream) override {
    WD_REQUIRE(bytes <= kLargestMessage);
    void* const place = static_cast<char*>(all) + rank() * bytes;
    if (own != place) stream.copy(place, own, bytes);
    enqueue(stream, [all, bytes](MPI_Comm comm) {
      WD_MPI(MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all, static_cast<int>(bytes), MPI_BYTE, comm));
    });
  }

  std::shared_ptr<World> world_ = std::make_shared<World>();
};

}  // namespace

std::unique_ptr<DeviceCollectives> make_device_collectives(Session& session, Device& device) {
  if (session.world_size() == 1) return std::make_unique<NoCollectives>(session, device);
  if (dynamic_cast<SimtDevice*>(&device)) return std::make_unique<SimtCollectives>(session, device);
  return make_nccl_collectives(session, device);
}

}  // namespace wandistill
