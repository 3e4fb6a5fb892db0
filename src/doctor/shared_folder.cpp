#include "src/doctor/shared_folder.h"

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

constexpr const char* kName = "output folder";

/// A small file that goes with it.
class Note {
 public:
  Note(const fs::path& folder, const std::string& content)
      : path_(temporary_name(folder / "note_to_all_ranks")) {
    std::ofstream file(path_, std::ios::binary);
    file << content;
    file.close();
    if (!file)
      fail(folder.string(), ": cannot write a file of ", content.size(), " bytes; is the disk full?");
  }
  ~Note() {
    std::error_code ignored;
    fs::remove(path_, ignored);
  }
  Note(const Note&) = delete;
  Note& operator=(const Note&) = delete;
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

}  // namespace

Check check_shared_folder(const Session& session, const fs::path& folder, double seconds) {
  const std::string remedy =
      "another folder, on a file system that all hosts mount (not a host's own /tmp or scratch disk) and "
      "that "
      "has room";
  const std::vector<std::string> hosts = session.gather(session.host());
  Lines found;
  std::string problem;
  try {
    found.add(check_writable(folder));
  } catch (const Error& error) {
    problem = error.what();
  }
  if (const Lines problems = by_rank(session.gather(problem), hosts); !problems.empty())
    return judged(kName, {}, CheckResult::kBad, problems, remedy);

  std::unique_ptr<Note> note;
  const std::string content = cat("rank 0 on ", session.host(), " was here");
  std::string sent[2];  // the file's name and its content
  if (session.is_root()) {
    try {
      note = std::make_unique<Note>(existing_folder(folder), content);
      sent[0] = note->name();
      sent[1] = content;
    } catch (const Error& error) {
      problem = error.what();
    }
  }
  for (std::string& text : sent) session.broadcast(&text);
  if (!sent[0].empty() && !appears(existing_folder(folder) / sent[0], sent[1], seconds))
    problem = cat("what rank 0 wrote into ", existing_folder(folder).string(),
                  " does not appear there within ", seconds, " s: it is not the same folder");
  const Lines problems = by_rank(session.gather(problem), hosts);
  note.reset();
  if (session.world_size() > 1)
    found.add(cat("all ", session.world_size(), " ranks see what rank 0 writes there"));
  return judged(kName, problems.empty() ? found : Lines(), CheckResult::kBad, problems, remedy);
}

}  // namespace wandistill
