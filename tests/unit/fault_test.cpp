#include "wandistill/fault.h"

#include <chrono>

#include "temporary_folder.h"
#include "tests/faults/fault.h"
#include "wandistill/buffer.h"
#include "wandistill/file.h"
#include "wandistill/h5.h"

namespace wandistill::testing {
namespace {

TEST_CASE("fault: strikes at the visits that it was asked for, and at no others") {
  {
    const Faults faults("fail:prompt:id=2,fail:step:n=3,fail:batch:over=4:n=2,fail:decode:rank=1");
    for (int64_t id = 0; id < 5; ++id) CHECK(fault_strikes("prompt", id) == (id == 2));
    CHECK(fault_strikes("prompt", 2));
    for (int visit = 1; visit < 6; ++visit) CHECK(fault_strikes("step") == (visit == 3));
    int struck = 0;
    for (const int64_t size : {4, 5, 4, 6, 7}) struck += fault_strikes("batch", size) ? int(size) : 0;
    CHECK(struck == 6);
    CHECK_FALSE(fault_strikes("decode"));  // this is rank 0
    CHECK(faults.struck() == 4);
    check_mentions(error_of([] { fault_point("prompt", 2); }), {"a fault was injected here (prompt)"});
  }
  CHECK_FALSE(fault_strikes("prompt", 2));
}

TEST_CASE("fault: delays") {
  const Faults faults("delay:start:seconds=0.2,slow:denoising:factor=3");
  const auto seconds = [](auto&& body) {
    const auto start = std::chrono::steady_clock::now();
    body();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  CHECK(seconds([] { fault_strikes("start"); }) >= 0.2);
  CHECK(seconds([] { fault_strikes("denoising", 100000); }) >= 0.2);
}

TEST_CASE("fault: the n-th read, write, rename or allocation fails as its system fails it") {
  const TemporaryFolder folder;
  put(folder / "a", "old");
  const auto writes = [&] {
    AtomicFile file(folder / "a");
    for (int i = 0; i < 3; ++i) file.write("new ");
    file.commit();
  };
  for (const std::string fault : {"fail:write:n=1", "fail:write:n=3", "fail:rename"}) {
    CAPTURE(fault);
    const Faults faults(fault);
    check_mentions(error_of(writes),
                   {(folder / "a").string(), fault == "fail:rename" ? "error" : "No space left"});
    CHECK(read_file(folder / "a") == "old");
    CHECK(folder.count() == 1);
  }
  const auto saves = [&] {
    write_h5_atomically(folder / "h5", [](H5File& file) {
      for (const char* name : {"a", "b", "c"}) file.write_string(name, std::string(100000, *name));
    });
  };
  saves();
  for (int n = 1;; ++n) {
    const Faults faults("fail:write:n=" + std::to_string(n));
    const std::string error = error_of(saves);
    if (faults.struck() == 0) {
      CHECK(n > 4);  // the texts and the superblock at least
      break;
    }
    CAPTURE(n);
    check_mentions(error, {(folder / "h5").string() + ": cannot write: No space left on device"});
    CHECK(H5File::open_read(folder / "h5").read_string("c").size() == 100000);
    CHECK(folder.count() == 2);
  }
  {
    const Faults faults("fail:read:n=2");
    CHECK(read_file(folder / "a") == "old");
    check_mentions(error_of([&] { read_file(folder / "a"); }), {"/a", "Input/output error"});
  }
  {
    const Faults faults("fail:read");
    check_mentions(error_of([&] { H5File::open_read(folder / "h5"); }), {"/h5", "Input/output error"});
  }
  const Faults faults("fail:allocation:over=1000");
  CHECK_NOTHROW(Buffer<float>(250));
  CHECK_THROWS_AS(Buffer<float>(251), std::bad_alloc);
}

TEST_CASE("file: what killed runs left is removed, and nothing else") {
  const TemporaryFolder folder;
  const auto file = temporary_name(folder / "step_00000010.h5"), student = temporary_name(folder / "student");
  std::filesystem::remove(student);
  std::filesystem::create_directories(student / "transformer");
  std::filesystem::create_directory(student.string() + ".old");
  for (const char* name :
       {"notes.tmp", ".x.0123456789abcde.tmp", ".x.0123456789abcdeg.tmp", ".0123456789abcdef.tmp",
        ".x.0123456789abcdef.tmp2", ".hidden", "x.0123456789abcdef.tmp"})
    put(folder / name, "");
  CHECK(remove_temporaries(folder.path()).size() == 3);
  CHECK_FALSE(std::filesystem::exists(file));
  CHECK(folder.count() == 7);
  CHECK(remove_temporaries(folder / "none").empty());
}

TEST_CASE("file: what a disk has no room for is not begun") {
  const TemporaryFolder folder;
  CHECK_NOTHROW(require_space(folder / "a", 1));
  check_mentions(error_of([&] { require_space(folder / "a", int64_t{1} << 60); }),
                 {(folder / "a").string(), "takes 1152921504606.8 MB", "left; nothing was written"});
}

}  // namespace
}  // namespace wandistill::testing
