// Collectives on device memory, in the order of streams.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "wandistill/gpu.h"
#include "wandistill/session.h"

namespace wandistill {

/// One per run and device: NCCL's on GPUs, MPI's on the SIMT device. Every rank makes the same calls in the
/// same order, and in that order they are done, whatever streams they are enqueued on. Error while capturing
/// a graph.
///
/// Declare it behind the streams that it is used with, so that it goes first: if an exception is the reason,
/// it ends the collectives that the streams would wait for.
///
/// The host must not wait for a stream that has collectives in it without wait(), or a rank that is late is a
/// silent hang. On the SIMT device, whose work goes on only while its own host waits for it, the ranks must
/// also wait at the same places between the session's collectives.
class DeviceCollectives {
 public:
  virtual ~DeviceCollectives() = default;
  int world_size() const { return session_.world_size(); }
  int rank() const { return session_.rank(); }
  /// A stream of theirs, for collectives that overlap with other work.
  Stream& stream() const { return *stream_; }

  /// Enqueues: values [count] become their sums over the ranks, on every rank to the same bits.
  void all_reduce_sum(float* values, int64_t count, Stream& stream);
  void all_reduce_sum(double* values, int64_t count, Stream& stream);
  /// Enqueues: own = this rank's piece (piece_of) of the values' [count] sums over the ranks; they may be
  /// lost.
  void reduce_scatter_sum(float* values, int64_t count, float* own, Stream& stream);
  /// Enqueues: all [W, bytes] = every rank's own [bytes], by rank. own may be its place in all.
  void all_gather(const void* own, void* all, int64_t bytes, Stream& stream);
  /// Enqueues: all [count] elements of so many bytes, of which every rank has its piece (piece_of) in place,
  /// are there on every rank.
  void all_gather_pieces(void* all, int64_t count, int64_t element_bytes, Stream& stream);
  /// Returns when the event is reached. Waits as the session's collectives do: with their time-out and
  /// report. Error if the collectives have failed.
  void wait(Event& event, const std::string& what, const Patience& patience = {}) const;

 protected:
  DeviceCollectives(const Session& session, Device& device);
  virtual void enqueue_sum(float* values, int64_t count, Stream& stream) = 0;
  virtual void enqueue_sum(double* values, int64_t count, Stream& stream) = 0;
  virtual void enqueue_reduce_scatter(float* values, int64_t count, float* own, Stream& stream) = 0;
  virtual void enqueue_gather(const void* own, void* all, int64_t bytes, Stream& stream) = 0;
  virtual void enqueue_gather_pieces(void* all, int64_t count, int64_t element_bytes, Stream& stream) = 0;
  /// Error if a collective has failed.
  virtual void check() const {}
  /// True while an exception ends the run.
  bool unwinding() const;
  /// Behind the last collective.
  Event& last() const { return *last_; }
  const Session& session_;

 private:
  /// In the order of all collectives.
  template <class Enqueue>
  void in_order(Stream& stream, Enqueue enqueue);

  std::unique_ptr<Stream> stream_;
  std::unique_ptr<Event> last_;
  int exceptions_at_start_;
};

/// Collective. Of the same kind as the device; every rank has a device of its own. CollectiveError in a build
/// without NCCL if there are several ranks on GPUs.
std::unique_ptr<DeviceCollectives> make_device_collectives(Session& session, Device& device);

}  // namespace wandistill
