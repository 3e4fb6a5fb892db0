// The small collectives of Session. They are nonblocking calls that are waited for, because a blocking call
// burns the core and knows no time-out. Calls of many bytes come to their end in many steps, each of which
// would wait for the next look: for these the ranks meet first, and call blocking when all are there.
#include <algorithm>
#include <climits>

#include "wandistill/session.h"

namespace wandistill {
namespace {

constexpr int64_t kLargestMessage = INT_MAX / 2;  // MPI counts are int
constexpr int64_t kSmallBytes = 16384;

}  // namespace

void Session::broadcast_bytes(void* data, int64_t bytes, int root) const {
  if (bytes <= kSmallBytes) {
    MPI_Request request;
    WD_MPI(MPI_Ibcast(data, static_cast<int>(bytes), MPI_BYTE, root, comm_, &request));
    return wait(&request, "a broadcast");
  }
  meet("a broadcast");
  for (int64_t at = 0; at < bytes; at += kLargestMessage) {
    const int count = static_cast<int>(std::min(kLargestMessage, bytes - at));
    WD_MPI(MPI_Bcast(static_cast<char*>(data) + at, count, MPI_BYTE, root, comm_));
  }
}

void Session::broadcast(std::string* text, int root) const {
  std::vector<char> bytes(text->begin(), text->end());
  broadcast(&bytes, root);
  text->assign(bytes.begin(), bytes.end());
}

std::vector<char> Session::gather_bytes(const void* data, int64_t bytes) const {
  if (bytes > INT_MAX) abort(cat("a gather of ", bytes, " bytes from one rank is more than MPI can count"));
  const int own = static_cast<int>(bytes);
  std::vector<int> counts(static_cast<size_t>(world_size_)), offsets(static_cast<size_t>(world_size_));
  MPI_Request request;
  WD_MPI(MPI_Iallgather(&own, 1, MPI_INT, counts.data(), 1, MPI_INT, comm_, &request));
  wait(&request, "a gather");  // all ranks are there now
  int64_t total = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    offsets[i] = static_cast<int>(total);
    total += counts[i];
    if (total > INT_MAX) abort("a gather of more bytes than MPI can count");
  }
  std::vector<char> all(static_cast<size_t>(total));
  WD_MPI(MPI_Allgatherv(data, own, MPI_BYTE, all.data(), counts.data(), offsets.data(), MPI_BYTE, comm_));
  return all;
}

std::vector<std::string> Session::gather(const std::string& text) const {
  const std::vector<int64_t> lengths = gather(std::vector<int64_t>{static_cast<int64_t>(text.size())});
  const std::vector<char> bytes = gather_bytes(text.data(), static_cast<int64_t>(text.size()));
  std::vector<std::string> all;
  auto at = bytes.begin();
  for (const int64_t length : lengths) {
    all.emplace_back(at, at + length);
    at += length;
  }
  return all;
}

double Session::sum(double value) const {
  sum(&value, 1);
  return value;
}

int64_t Session::sum(int64_t value) const {
  MPI_Request request;
  WD_MPI(MPI_Iallreduce(MPI_IN_PLACE, &value, 1, MPI_INT64_T, MPI_SUM, comm_, &request));
  wait(&request, "a sum over the ranks");
  return value;
}

double Session::max(double value) const {
  MPI_Request request;
  WD_MPI(MPI_Iallreduce(MPI_IN_PLACE, &value, 1, MPI_DOUBLE, MPI_MAX, comm_, &request));
  wait(&request, "a maximum over the ranks");
  return value;
}

void Session::sum(double* values, int64_t count) const {
  if (count * static_cast<int64_t>(sizeof(double)) <= kSmallBytes) {
    MPI_Request request;
    WD_MPI(
        MPI_Iallreduce(MPI_IN_PLACE, values, static_cast<int>(count), MPI_DOUBLE, MPI_SUM, comm_, &request));
    return wait(&request, "a sum over the ranks");
  }
  meet("a sum over the ranks");
  WD_MPI(MPI_Allreduce(MPI_IN_PLACE, values, static_cast<int>(count), MPI_DOUBLE, MPI_SUM, comm_));
}

bool Session::any(bool value) const {
  return any(value, "a question to all ranks");
}

bool Session::any(bool value, const std::string& what) const {
  int flag = value ? 1 : 0;
  MPI_Request request;
  WD_MPI(MPI_Iallreduce(MPI_IN_PLACE, &flag, 1, MPI_INT, MPI_MAX, comm_, &request));
  wait(&request, what);
  return flag != 0;
}

void Session::barrier() const {
  meet("a barrier");
}

void Session::meet(const std::string& what) const {
  MPI_Request request;
  WD_MPI(MPI_Ibarrier(comm_, &request));
  wait(&request, what);
}

}  // namespace wandistill
