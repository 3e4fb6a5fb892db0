// Who works on what, among all processes that fill one folder on a shared file system.
#pragma once

#include <sys/stat.h>

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "wandistill/json.h"

namespace wandistill {

/// One process's claims in a folder. A claim "KEY.claim" is a hard link to the process's file "ID.alive",
/// which says who it is and whose time of modification a thread renews every sixth part of the lease. So one
/// touch renews all claims, and a claim tells from its inode whose it is.
///
/// A claim whose process is gone, as this machine knows at once of its own processes, or which was not
/// renewed for the lease by the file system's own clock, is dead, and any other process may remove it. The
/// clocks of the hosts do not matter where the file system's server stamps the times (NFS); where the clients
/// do (Lustre) they may differ by half a lease.
///
/// Claims save work; nothing depends on them. If two processes hold one all the same (a process that was
/// suspended for longer than the lease), both compute the same thing. One thread; the folder must have hard
/// links.
class Leases {
 public:
  /// job: the same for all ranks of a job, no other job has it. seconds: of the lease.
  Leases(std::filesystem::path folder, double seconds, const std::string& job, int rank);
  /// Gives back all claims.
  ~Leases();
  Leases(const Leases&) = delete;
  Leases& operator=(const Leases&) = delete;

  /// True if the key is this process's now; false if somebody has it, this process included.
  bool claim(const std::string& key);
  void release(const std::string& key);
  void release_all();

  /// The process's file.
  std::filesystem::path alive() const { return folder_ / (id_ + ".alive"); }
  /// Changes the folder for a moment: then this host sees what others have put there, which network file
  /// systems may show later otherwise.
  void look_anew();

  enum class Holder { kNobody, kThisJob, kOtherJob, kDead };
  struct Status {
    Holder holder;
    std::string who;  // "host HOST, process PID", for messages
  };
  /// Of each key.
  std::vector<Status> status(const std::vector<std::string>& keys) const;
  /// Removes a claim that is dead; what has come in its place meanwhile stays.
  void remove_dead(const std::string& key);
  /// Removes everything that dead processes left in the folder: claims, unfinished files.
  void sweep();
  /// The same for a folder in which nothing is left to do: leaves it alone where nobody left anything, and
  /// where this process cannot write (no job needs that of a whole cache).
  static void sweep_finished(const std::filesystem::path& folder, double seconds);

  /// For the one file that this process has under construction in the folder; removed with its other traces
  /// if the process dies.
  std::filesystem::path unfinished() const;

 private:
  Status status_of(const std::filesystem::path& file, struct stat* found) const;
  void remove_if_dead(const std::filesystem::path& file);
  void make_alive();
  void heartbeat();
  std::filesystem::path claim_file(const std::string& key) const { return folder_ / (key + ".claim"); }

  std::filesystem::path folder_;
  double seconds_;
  Json identity_;
  std::string id_;
  std::set<std::string> held_;
  bool ending_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::thread thread_;
};

}  // namespace wandistill
