#include "wandistill/progress.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdio>
#include <string>

namespace wandistill {
namespace {

/// What the work writes to stderr.
template <class Work>
std::string stderr_of(const Work& work) {
  std::fflush(stderr);
  const int saved = dup(STDERR_FILENO);
  std::FILE* file = std::tmpfile();
  dup2(fileno(file), STDERR_FILENO);
  work();
  std::fflush(stderr);
  dup2(saved, STDERR_FILENO);
  close(saved);
  std::rewind(file);
  std::string text;
  for (int c; (c = std::fgetc(file)) != EOF;) text += static_cast<char>(c);
  std::fclose(file);
  return text;
}

TEST_CASE("progress: a log gets plain lines, few of them") {
  const std::string text = stderr_of([] {
    Progress progress("train", 1000, "steps", true);
    for (int i = 0; i < 1000; ++i) progress.advance(1, "loss 0.5");
  });
  CHECK(text.find("train 1000/1000 steps (100 %), ") == 0);  // quick work: the last line alone
  CHECK(text.find("loss 0.5\n") == text.size() - 9);
  CHECK(text.find('\r') == std::string::npos);
  CHECK(text.find('\033') == std::string::npos);
}

TEST_CASE("progress: silent where it is not enabled, and finished once") {
  CHECK(stderr_of([] {
          Progress progress("train", 10, "steps", false);
          progress.advance(10);
          progress.finish();
        }) == "");
  const std::string text = stderr_of([] {
    Progress progress("teacher", 10, "prompts", true);
    progress.advance(3);
    progress.finish();
    progress.finish();
  });
  CHECK(text.find("teacher 3/10 prompts (30 %)") == 0);
  CHECK(text.find("teacher", 1) == std::string::npos);
}

}  // namespace
}  // namespace wandistill
