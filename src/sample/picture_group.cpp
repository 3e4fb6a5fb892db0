#include "wandistill/picture_group.h"

#include <algorithm>
#include <climits>
#include <numeric>

namespace wandistill {
namespace {

constexpr int kTag = 1;  // tells apart the groups that one parent makes at the same time; these are disjoint

/// Each rank of `comm` has its range of the buffer's rows; fills in the others.
void gather_ranges(MPI_Comm comm, const std::vector<Range>& ranges, int64_t row_bytes, void* rows) {
  WD_REQUIRE(row_bytes <= INT_MAX);  // MPI counts are int: in rows, not bytes
  std::vector<int> counts, offsets;
  for (const Range& range : ranges) {
    counts.push_back(int(range.size()));
    offsets.push_back(int(range.begin));
  }
  MPI_Datatype row;
  WD_MPI(MPI_Type_contiguous(int(row_bytes), MPI_BYTE, &row));
  WD_MPI(MPI_Type_commit(&row));
  WD_MPI(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, rows, counts.data(), offsets.data(), row, comm));
  WD_MPI(MPI_Type_free(&row));
}

constexpr double kNoticeSeconds = 5;

/// Returns when every member has called it. Making a communicator waits for them too, but without a time-out.
void meet(const Session& session, const std::vector<int>& members) {
  std::vector<MPI_Request> requests;
  for (int member : members) {
    if (member == session.rank()) continue;
    WD_MPI(MPI_Isend(nullptr, 0, MPI_BYTE, member, kTag, session.comm(), &requests.emplace_back()));
    WD_MPI(MPI_Irecv(nullptr, 0, MPI_BYTE, member, kTag, session.comm(), &requests.emplace_back()));
  }
  for (MPI_Request& request : requests)
    session.wait(&request, "a picture drawn together", {.notice_seconds = kNoticeSeconds, .ranks = members});
}

}  // namespace

PictureGroup::PictureGroup(const Session& session, const std::vector<int>& members, bool guided,
                           int64_t tokens)
    : session_(session), members_(members), size_(int(members.size())), guided_(guided), tokens_(tokens) {
  meet(session, members);
  MPI_Group all, group;
  WD_MPI(MPI_Comm_group(session.comm(), &all));
  WD_MPI(MPI_Group_incl(all, size_, members.data(), &group));
  WD_MPI(MPI_Comm_create_group(session.comm(), group, kTag, &comm_));
  WD_MPI(MPI_Group_free(&group));
  WD_MPI(MPI_Group_free(&all));
  WD_MPI(MPI_Comm_rank(comm_, &rank_));

  first_unconditional_ = splits_passes() ? (size_ + 1) / 2 : size_;
  pass_ = rank_ < first_unconditional_ ? 0 : 1;
  WD_MPI(MPI_Comm_split(comm_, pass_, rank_, &half_));
  const int first = pass_ == 0 ? 0 : first_unconditional_;
  const int parts = (pass_ == 0 ? first_unconditional_ : size_) - first;
  if (parts == 1) return;
  std::vector<Range> ranges;
  for (int part = 0; part < parts; ++part) ranges.push_back(token_range(tokens, part, parts));
  split_.own = ranges[size_t(rank_ - first)];
  split_.gather = [half = half_, ranges](void* rows, int64_t row_bytes) {
    gather_ranges(half, ranges, row_bytes, rows);
  };
}

PictureGroup::~PictureGroup() {
  MPI_Comm_free(&half_);
  MPI_Comm_free(&comm_);
}

void PictureGroup::exchange_passes(float* passes, int64_t n) const {
  WD_REQUIRE(splits_passes());
  std::vector<Range> ranges(size_t(size_), Range{0, 0});  // the first member of each half gives its pass
  ranges[0] = {0, 1};
  ranges[size_t(first_unconditional_)] = {1, 2};
  gather_ranges(comm_, ranges, n * int64_t(sizeof(float)), passes);
}

void PictureGroup::broadcast(std::vector<float>* values) const {
  int64_t count = int64_t(values->size());
  WD_MPI(MPI_Bcast(&count, 1, MPI_INT64_T, 0, comm_));
  WD_REQUIRE(count <= INT_MAX);
  values->resize(size_t(count));
  WD_MPI(MPI_Bcast(values->data(), int(count), MPI_FLOAT, 0, comm_));
}

std::vector<uint8_t> PictureGroup::gather(const std::vector<uint8_t>& bytes) const {
  WD_REQUIRE(bytes.size() <= INT_MAX);
  const int own = int(bytes.size());
  std::vector<int> counts(size_t(size_), 0), offsets(size_t(size_), 0);
  WD_MPI(MPI_Gather(&own, 1, MPI_INT, counts.data(), 1, MPI_INT, 0, comm_));
  std::exclusive_scan(counts.begin(), counts.end(), offsets.begin(), 0);
  std::vector<uint8_t> all(is_leader() ? size_t(offsets.back() + counts.back()) : 0);
  WD_MPI(MPI_Gatherv(bytes.data(), own, MPI_BYTE, all.data(), counts.data(), offsets.data(), MPI_BYTE, 0,
                     comm_));
  return all;
}

bool PictureGroup::any(bool value) const {
  int flag = value ? 1 : 0;
  MPI_Request request;
  WD_MPI(MPI_Iallreduce(MPI_IN_PLACE, &flag, 1, MPI_INT, MPI_MAX, comm_, &request));
  session_.wait(&request, "a picture drawn together", {.notice_seconds = kNoticeSeconds, .ranks = members_});
  return flag != 0;
}

}  // namespace wandistill
