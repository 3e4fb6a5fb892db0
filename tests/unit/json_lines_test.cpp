#include "src/train/json_lines.h"

#include <cmath>

#include "temporary_folder.h"
#include "tests/faults/fault.h"
#include "wandistill/file.h"

namespace wandistill::testing {
namespace {

TEST_CASE("json lines: appended, also to a file whose last line a killed run did not end") {
  const TemporaryFolder folder;
  put(folder / "log", "{\"step\":1}\n{\"st");
  {
    JsonLines lines(folder / "log");
    lines.write({{"loss", std::nan("")}});
    CHECK(read_file(folder / "log") == "{\"step\":1}\n{\"st\n{\"loss\":null}\n");
  }
  JsonLines(folder / "log").write({{"text", "\xff"}});
  CHECK(read_file(folder / "log") == "{\"step\":1}\n{\"st\n{\"loss\":null}\n{\"text\":\"\xef\xbf\xbd\"}\n");
  check_mentions(error_of([&] { JsonLines(folder / "none" / "log"); }), {"none/log", "No such file"});
}

TEST_CASE("json lines: a disk that is full for a while costs nothing, for long the later lines") {
  const TemporaryFolder folder;
  JsonLines lines(folder / "log");
  lines.write({{"step", 0}});
  {
    const Faults faults("fail:log");
    for (int step = 1; step < 4; ++step) lines.write({{"step", step}});
    CHECK(read_file(folder / "log") == "{\"step\":0}\n");
  }
  lines.write({{"step", 4}});
  CHECK(read_file(folder / "log") ==
        "{\"step\":0}\n{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"step\":4}\n");
  const std::string long_text(100000, 'x');
  {
    const Faults faults("fail:log");
    for (int i = 0; i < 20; ++i) lines.write({{"text", long_text}});
  }
  lines.write({{"step", 5}});
  const std::string content = read_file(folder / "log");
  CHECK(content.size() > 900000);
  CHECK(content.size() < (1 << 20) + 100);
  CHECK(content.ends_with("x\"}\n{\"step\":5}\n"));
}

}  // namespace
}  // namespace wandistill::testing
