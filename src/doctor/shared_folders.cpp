#include "src/doctor/shared_folders.h"

#include <chrono>
#include <fstream>
#include <thread>

#include "src/doctor/fact_checks.h"
#include "src/plan/file_checks.h"
#include "wandistill/error.h"
#include "wandistill/file.h"

namespace wandistill {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

/// A small file that goes with it.
class Note {
 public:
  explicit Note(const fs::path& folder) : path_(temporary_name(folder / "note_to_all_ranks")) {}
  ~Note() {
    std::error_code ignored;
    fs::remove(path_, ignored);
  }
  Note(const Note&) = delete;
  Note& operator=(const Note&) = delete;
  void write(const std::string& content) const {
    std::ofstream file(path_, std::ios::binary);
    file << content;
    file.close();
    if (!file)
      fail(path_.parent_path().string(), ": cannot write a file of ", content.size(),
           " bytes; is the disk full?");
  }
  std::string name() const { return path_.filename().string(); }

 private:
  const fs::path path_;
};

/// True once the file has that content.
bool appears(const fs::path& file, const std::string& content, double seconds) {
  const Clock::time_point end =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  for (;;) {
    std::error_code none;
    if (fs::exists(file, none)) {
      std::ifstream stream(file, std::ios::binary);
      if (std::string(std::istreambuf_iterator<char>(stream), {}) == content) return true;
    }
    if (Clock::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

/// What is wrong, by rank; nothing: rank 0's note was seen.
Lines find_problems(const Session& session, const fs::path& folder, double seconds) {
  const std::vector<std::string> hosts = session.gather(session.host());
  std::string problem;
  try {
    check_writable(folder);
  } catch (const Error& error) {
    problem = error.what();
  }
  if (const Lines problems = by_rank(session.gather(problem), hosts); !problems.empty()) return problems;

  std::unique_ptr<Note> note;
  const std::string content = cat("rank 0 on ", session.host(), " was here");
  std::string sent[2];  // the file's name and its content
  if (session.is_root()) {
    try {
      note = std::make_unique<Note>(existing_folder(folder));
      note->write(content);
      sent[0] = note->name();
      sent[1] = content;
    } catch (const Error& error) {
      problem = error.what();
    }
  }
  for (std::string& text : sent) session.broadcast(&text);
  if (!sent[0].empty() && !appears(existing_folder(folder) / sent[0], sent[1], seconds))
    problem = cat(existing_folder(folder).string(),
                  " is not the folder that rank 0 writes to: a file of it did "
                  "not appear there within ",
                  seconds, " s");
  return by_rank(session.gather(problem), hosts);
}

}  // namespace

Check check_shared_folders(const Session& session, const std::vector<fs::path>& folders, double seconds) {
  Lines found, problems;
  for (const fs::path& folder : folders) {
    const Lines wrong = find_problems(session, folder, seconds);
    if (!wrong.empty())
      problems.add(wrong.text());
    else if (session.world_size() == 1)
      found.add(check_writable(folder));
    else
      found.add(cat(check_writable(folder), ", the same for all ", session.world_size(), " ranks"));
  }
  return judged(
      "folders", found, CheckResult::kBad, problems,
      "other folders, on a file system that all hosts mount (not a host's own /tmp or scratch disk) and "
      "that has room");
}

}  // namespace wandistill
