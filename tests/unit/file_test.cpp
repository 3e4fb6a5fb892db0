#include "wandistill/file.h"

#include <sys/stat.h>

#include "file_limit.h"
#include "temporary_folder.h"
#include "wandistill/file_seal.h"
#include "wandistill/hash.h"

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

TEST_CASE("file: a new file takes no other's name") {
  const TemporaryFolder folder;
  const auto temporary = temporary_name(folder / "a");
  put(temporary, "first");
  CHECK(commit_new_file(temporary, folder / "a"));
  CHECK(folder.count() == 1);
  put(folder / ".second.tmp", "second");
  CHECK_FALSE(commit_new_file(folder / ".second.tmp", folder / "a"));
  CHECK(read_file(folder / "a") == "first");
  CHECK(commit_new_file(folder / ".second.tmp", folder / "b"));
  CHECK(read_file(folder / "b") == "second");
  CHECK(folder.count() == 2);
  remove_file(folder / "a");
  remove_file(folder / "a");
  CHECK(folder.count() == 1);
}

TEST_CASE("file: a seal tells a changed byte, wherever it is") {
  const TemporaryFolder folder;
  for (const size_t size : {size_t{0}, size_t{1}, size_t{77}, (size_t{1} << 20) + 3}) {
    CAPTURE(size);
    std::string content;
    for (size_t i = 0; i < size; ++i) content += static_cast<char>(i * 7);
    const auto path = put(folder / "a", content);
    CHECK(check_seal(path) == Seal::kAbsent);
    seal_file(path);
    CHECK(check_seal(path) == Seal::kIntact);
    const std::string sealed = read_file(path);
    CHECK(sealed.starts_with(content));
    for (size_t at = 0; at < sealed.size(); at += 1 + sealed.size() / 50)
      for (const int bit : {0, 7}) {
        std::string changed = sealed;
        changed[at] = static_cast<char>(changed[at] ^ 1 << bit);
        put(path, changed);
        CHECK(check_seal(path) != Seal::kIntact);
      }
    put(path, sealed.substr(0, sealed.size() - 1));
    CHECK(check_seal(path) != Seal::kIntact);
    put(path, sealed + "x");
    CHECK(check_seal(path) != Seal::kIntact);
  }
  CHECK_THROWS_WITH(check_seal(folder / "none"), doctest::Contains("none"));
}

TEST_CASE("file: two high bits that change together do not cancel in a checksum") {
  std::string words(64, '\0'), changed = words;
  changed[7] = changed[15] = static_cast<char>(0x80);
  CHECK(checksum64(words.data(), 64) != checksum64(changed.data(), 64));
  CHECK(checksum64(words.data(), 63) != checksum64(words.data(), 64));
}

}  // namespace
}  // namespace wandistill::testing
