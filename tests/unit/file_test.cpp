#include "wandistill/file.h"

#include <sys/stat.h>

#include "file_limit.h"
#include "temporary_folder.h"

namespace wandistill::testing {
namespace {

TEST_CASE("file: an atomic file appears with commit and leaves nothing behind without") {
  const TemporaryFolder folder;
  put(folder / "a.txt", "old");
  {
    AtomicFile file(folder / "a.txt");
    file.write("new");
    CHECK(read_file(folder / "a.txt") == "old");
    CHECK(folder.count() == 2);
  }
  CHECK(read_file(folder / "a.txt") == "old");
  CHECK(folder.count() == 1);

  AtomicFile file(folder / "a.txt");
  file.write("new ");
  file.write("text");
  file.commit();
  CHECK(read_file(folder / "a.txt") == "new text");
  CHECK(folder.count() == 1);
}

TEST_CASE("file: contents of any bytes, and the usual permissions") {
  const TemporaryFolder folder;
  std::string content;
  for (int i = 0; i < 300000; ++i) content += static_cast<char>(i * 7);
  write_file_atomically(folder / "b", content);
  CHECK(read_file(folder / "b") == content);
  write_file_atomically(folder / "empty", "");
  CHECK(read_file(folder / "empty").empty());
  put(folder / "plain", "");
  struct stat ours, plain;
  REQUIRE(::stat((folder / "b").c_str(), &ours) == 0);
  REQUIRE(::stat((folder / "plain").c_str(), &plain) == 0);
  CHECK(ours.st_mode == plain.st_mode);
}

TEST_CASE("file: a disk that fills up is an error with the reason, and the old file survives") {
  const TemporaryFolder folder;
  put(folder / "c", "old");
  const std::string error = error_of([&] {
    const FileSizeLimit limit(10000);
    write_file_atomically(folder / "c", std::string(50000, 'x'));
  });
  check_mentions(error, {(folder / "c").string(), "cannot write", "File too large"});
  CHECK(read_file(folder / "c") == "old");
  CHECK(folder.count() == 1);
}

TEST_CASE("file: errors name the path and the reason") {
  const TemporaryFolder folder;
  check_mentions(error_of([&] { read_file(folder / "none"); }), {"/none", "No such file"});
  check_mentions(error_of([&] { read_file(folder.path()); }), {folder.path().string(), "Is a directory"});
  check_mentions(error_of([&] { AtomicFile(folder / "none/x"); }), {"none/x", "No such file"});
  check_mentions(error_of([&] { write_file_atomically("", "x"); }), {"not a file name"});
  std::filesystem::create_directory(folder / "d");
  check_mentions(error_of([&] { write_file_atomically(folder / "d", "x"); }), {"/d", "Is a directory"});
  CHECK(folder.count() == 1);
  put(folder / "file", "");
  check_mentions(error_of([&] { make_directories(folder / "file" / "x"); }),
                 {"file/x", "cannot make this folder"});
  check_mentions(error_of([&] { make_directories(folder / "file"); }), {"/file", "cannot make this folder"});
}

TEST_CASE("file: folders, temporary names and commit for other writers") {
  const TemporaryFolder folder;
  make_directories(folder / "x/y/z");
  make_directories(folder / "x/y/z");
  CHECK(std::filesystem::is_directory(folder / "x/y/z"));
  const auto target = folder / "x/data", first = temporary_name(target), second = temporary_name(target);
  CHECK(first != second);
  CHECK(first.parent_path() == target.parent_path());
  put(first, "content");
  commit_file(first, target);
  CHECK(read_file(target) == "content");
  CHECK_FALSE(std::filesystem::exists(first));
  check_mentions(error_of([&] { commit_file(first, target); }), {"No such file"});
}

}  // namespace
}  // namespace wandistill::testing
