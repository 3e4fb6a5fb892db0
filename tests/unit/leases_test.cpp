// Claims on work in a shared folder: one holder each, void when the holder is gone.
#include "src/teacher/leases.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ctime>

#include "src/teacher/process_identity.h"
#include "src/teacher/work_list.h"
#include "tests/unit/temporary_folder.h"
#include "wandistill/file.h"

namespace wandistill {
namespace {

using testing::put;
using testing::TemporaryFolder;
using Holder = Leases::Holder;

constexpr double kLease = 100;

Holder holder(const Leases& leases, const std::string& key) {
  return leases.status({key})[0].holder;
}

/// The file was last modified so many seconds ago.
void age(const std::filesystem::path& file, double seconds) {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  const timespec then{now.tv_sec - time_t(seconds), now.tv_nsec}, both[2] = {then, then};
  REQUIRE(utimensat(AT_FDCWD, file.c_str(), both, 0) == 0);
}

/// A process that has ended.
Json ended_process() {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  if (child == 0) {
    const std::string text = process_identity().dump();
    const bool written = write(ends[1], text.data(), text.size()) == ssize_t(text.size());
    _exit(written ? 0 : 1);
  }
  char text[1024] = {};
  REQUIRE(read(ends[0], text, sizeof text - 1) > 0);
  close(ends[0]);
  close(ends[1]);
  const Json identity = Json::parse(text);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  return identity;
}

/// One on a machine that we know nothing of.
Json elsewhere() {
  Json identity = process_identity();
  identity["boot"] = "another one";
  identity["job"] = "other";
  return identity;
}

TEST_CASE("leases: a key has one holder at a time, and who asks learns whose it is") {
  const TemporaryFolder folder;
  Leases first(folder.path(), kLease, "job 1", 0), sister(folder.path(), kLease, "job 1", 1);
  {
    Leases other(folder.path(), kLease, "job 2", 0);
    CHECK(first.claim("a"));
    CHECK_FALSE(first.claim("a"));
    CHECK_FALSE(other.claim("a"));
    CHECK(other.claim("b"));
    CHECK(holder(sister, "a") == Holder::kThisJob);
    CHECK(holder(other, "a") == Holder::kOtherJob);
    CHECK(holder(first, "b") == Holder::kOtherJob);
    CHECK(holder(first, "c") == Holder::kNobody);
    other.release("a");  // not its own: nothing happens
    CHECK_FALSE(other.claim("a"));
    first.release("a");
    CHECK(other.claim("a"));
    first.remove_dead("a");
    CHECK(holder(first, "a") == Holder::kOtherJob);
  }
  CHECK(holder(first, "a") == Holder::kNobody);  // the other has ended in order
  CHECK(holder(first, "b") == Holder::kNobody);
}

TEST_CASE("leases: a claim of a process that ended here is void at once, another machine's after the lease") {
  const TemporaryFolder folder;
  Leases leases(folder.path(), kLease, "job", 0);
  put(folder / "a.claim", ended_process().dump());
  CHECK(holder(leases, "a") == Holder::kDead);
  put(folder / "b.claim", elsewhere().dump());
  CHECK(holder(leases, "b") == Holder::kOtherJob);
  age(folder / "b.claim", kLease - 10);
  CHECK(holder(leases, "b") == Holder::kOtherJob);
  age(folder / "b.claim", kLease + 10);
  CHECK(holder(leases, "b") == Holder::kDead);
  put(folder / "c.claim", "");  // killed before it could write
  CHECK(holder(leases, "c") == Holder::kOtherJob);
  age(folder / "c.claim", kLease + 10);
  CHECK(holder(leases, "c") == Holder::kDead);
  // The same number, another process: it was given again.
  Json again = process_identity();
  CHECK_FALSE(process_ended(again));
  again["started"] = again["started"].get<int64_t>() - 1;
  CHECK(process_ended(again));

  CHECK_FALSE(leases.claim("b"));
  leases.remove_dead("b");
  CHECK(leases.claim("b"));
}

TEST_CASE("leases: they are renewed for as long as the process lives") {
  const TemporaryFolder folder;
  Leases leases(folder.path(), 0.6, "job", 0), other(folder.path(), kLease, "job 2", 0);
  REQUIRE(leases.claim("a"));
  age(folder / "a.claim", 1000);
  for (int i = 0; i < 1000 && holder(other, "a") == Holder::kDead; ++i) usleep(10000);
  CHECK(holder(other, "a") == Holder::kOtherJob);
}

TEST_CASE("leases: what the dead leave is swept, what the living have stays") {
  const TemporaryFolder folder;
  Leases leases(folder.path(), kLease, "job", 0);
  REQUIRE(leases.claim("mine"));
  put(leases.unfinished(), "a shard");
  put(folder / "dead.alive", ended_process().dump());
  put(folder / ".dead.tmp", "half a shard");
  put(folder / "theirs.claim", ended_process().dump());
  put(folder / ".1234.dead", ended_process().dump());
  put(folder / "living.alive", elsewhere().dump());
  put(folder / ".living.tmp", "half a shard");
  put(folder / "shard_0.h5", "a shard");
  CHECK(folder.count() == 10);
  leases.sweep();
  CHECK(folder.count() == 6);
  CHECK(std::filesystem::exists(folder / "living.alive"));
  CHECK(std::filesystem::exists(folder / ".living.tmp"));
  CHECK(std::filesystem::exists(leases.unfinished()));
  CHECK(holder(leases, "mine") == Holder::kThisJob);
}

TEST_CASE("leases: a finished folder is swept where the dead left something, else not touched") {
  const TemporaryFolder folder;
  put(folder / "shard_0.h5", "a shard");
  age(folder.path(), 1000);
  const auto untouched = std::filesystem::last_write_time(folder.path());
  Leases::sweep_finished(folder.path(), kLease);
  CHECK(std::filesystem::last_write_time(folder.path()) == untouched);
  put(folder / "dead.alive", ended_process().dump());
  put(folder / ".dead.tmp", "half a shard");
  Leases::sweep_finished(folder.path(), kLease);
  CHECK(folder.count() == 1);
}

TEST_CASE("leases: a process that was taken for dead goes on") {
  const TemporaryFolder folder;
  Leases leases(folder.path(), kLease, "job", 0), other(folder.path(), kLease, "job 2", 0);
  REQUIRE(leases.claim("a"));
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    if (entry.path().filename() == "a.claim" ||
        entry.path().stem() == leases.unfinished().stem().string().substr(1))
      std::filesystem::remove(entry.path());
  REQUIRE(other.claim("a"));
  CHECK(leases.claim("b"));
  leases.release("a");  // the other's by now
  CHECK(holder(leases, "a") == Holder::kOtherJob);
}

TEST_CASE(
    "work list: every piece is taken once, from the own share first; what comes into the folder is not") {
  const TemporaryFolder folder;
  Leases first(folder.path(), kLease, "job", 0), second(folder.path(), kLease, "job", 1);
  const std::vector<std::string> keys{"0", "1", "2", "3", "4", "5", "6"};
  std::vector<bool> present(keys.size(), false);
  const auto is_present = [&](int64_t i) { return bool(present[size_t(i)]); };
  WorkList a(
      first, keys, 0, 2, [] {}, is_present),
      b(
          second, keys, 1, 2, [] {}, is_present);
  CHECK(WorkList(
            second, keys, 1, 2, [] {}, is_present)
            .take(9) == std::vector<int64_t>{1, 3, 5});  // no more
  second.release_all();
  CHECK(a.take(2) == std::vector<int64_t>{0, 2});
  CHECK(b.take(2) == std::vector<int64_t>{1, 3});
  present[4] = true;  // somebody has made it since
  CHECK(a.take(2) == std::vector<int64_t>{6});
  CHECK(a.take(9) == std::vector<int64_t>{5});  // of the other's share
  CHECK(a.take(9).empty());
  CHECK(b.take(9).empty());
  WorkList::Others others = b.others();
  CHECK(others.pieces == 0);  // all with ranks of this job
  CHECK_FALSE(others.free);
  first.release("6");  // given up
  CHECK(b.others().free);
  CHECK(b.take(9) == std::vector<int64_t>{6});
}

TEST_CASE("work list: waits for the living of other jobs, inherits from the dead") {
  const TemporaryFolder folder;
  Leases leases(folder.path(), kLease, "job", 0);
  put(folder / "0.claim", elsewhere().dump());
  put(folder / "1.claim", ended_process().dump());
  WorkList list(
      leases, {"0", "1"}, 0, 1, [] {}, [](int64_t) { return false; });
  CHECK(list.take(9).empty());
  WorkList::Others others = list.others();
  CHECK(others.pieces == 1);
  CHECK(others.who.find("process") != std::string::npos);
  CHECK(others.free);
  CHECK(list.take(9) == std::vector<int64_t>{1});
  others = list.others();
  CHECK(others.pieces == 1);
  CHECK_FALSE(others.free);
}

}  // namespace
}  // namespace wandistill
