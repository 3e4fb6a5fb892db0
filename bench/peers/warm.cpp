// Keeps one computation warm and times it whenever it is told to, so that bench/peers can alternate it with
// another program's.
//
//   warm SUBJECT MODEL_FOLDER INPUTS_FOLDER     (SUBJECT: student_step, student_step_bf16,
//                                                transformer_forward, text_encoder, vae_decode,
//                                                ddim_sampling)
//
// It answers with one line of JSON when it is ready (or "skipped", and why it cannot be computed here) and
// for each line of its input:
//   results      writes INPUTS_FOLDER/ours.safetensors
//   run SECONDS  one call unmeasured, then calls until so many seconds are over: seconds of the fastest, and
//                those of all threads' work, the mean of the calls
//   memory       resident memory now and at its highest since the last such line, in bytes
#include <malloc.h>

#include <cmath>
#include <ctime>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>

#include "bench/measure.h"
#include "bench/peers/subject.h"
#include "wandistill/ops/matmul.h"

namespace wandistill::bench {
namespace {

using Make = std::unique_ptr<Subject>(const std::filesystem::path&, const Inputs&, const Queue&);

std::unique_ptr<Subject> make(const std::string& name, const std::filesystem::path& model,
                              const Inputs& inputs, const Queue& queue) {
  const std::map<std::string, Make*> known{{"student_step", make_student_step},
                                           {"student_step_bf16", make_student_step_bf16},
                                           {"transformer_forward", make_transformer_forward},
                                           {"text_encoder", make_text_encoder},
                                           {"vae_decode", make_vae_decode},
                                           {"ddim_sampling", make_ddim_sampling}};
  const auto found = known.find(name);
  if (found == known.end()) fail("unknown subject '", name, "'; the head of bench/peers/warm.cpp lists them");
  return found->second(model, inputs, queue);
}

Json timed(const std::function<void()>& work, double seconds) {
  work();
  double least = HUGE_VAL, spent = 0;
  int calls = 0;
  const std::clock_t before = std::clock();
  for (; calls == 0 || spent < seconds; ++calls) {
    const double time = seconds_of(work, 1);
    least = std::min(least, time);
    spent += time;
  }
  // Of all calls: the kernel may count other threads' work in ticks longer than a call.
  return {{"seconds", least}, {"cpu_seconds", double(std::clock() - before) / CLOCKS_PER_SEC / calls}};
}

/// VmRSS and VmHWM of this process; the latter starts anew.
Json memory() {
  Json found;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    std::istringstream words(line);
    std::string key;
    int64_t kilobytes = 0;
    words >> key >> kilobytes;
    if (key == "VmRSS:") found["resident"] = 1024 * kilobytes;
    if (key == "VmHWM:") found["peak"] = 1024 * kilobytes;
  }
  std::ofstream("/proc/self/clear_refs") << "5";
  return found;
}

Json answer(Subject& subject, const std::filesystem::path& folder, const std::string& line) {
  std::istringstream words(line);
  std::string command;
  words >> command;
  if (command == "results") {
    const std::vector<Output> outputs = subject.results();
    std::vector<NamedTensor> tensors;
    for (const Output& output : outputs)
      tensors.push_back({output.name, {int64_t(output.values.size())}, output.values.data()});
    write_safetensors(folder / "ours.safetensors", tensors);
    return Json::object();
  }
  if (command == "run") {
    double seconds = 0;
    if (!(words >> seconds)) fail("run: expected a number of seconds, found '", line, "'");
    return timed([&] { subject.run(); }, seconds);
  }
  if (command == "memory") return memory();
  fail("unknown command '", line, "'; expected results, run or memory");
}

int serve(int argc, char** argv) {
  if (argc != 4) fail("usage: warm SUBJECT MODEL_FOLDER INPUTS_FOLDER");
  const Queue queue{bench_threads()};
  const std::filesystem::path folder = argv[3];
  const auto say = [](const Json& json) { std::cout << json.dump() << std::endl; };
  if (std::string(argv[1]) == "student_step_bf16" && !cpu_bf16::instructions()) {
    say({{"skipped", "this CPU has no instructions for products of bfloat16"}});
    return 0;
  }
  const Inputs inputs(folder);
  const std::unique_ptr<Subject> subject = make(argv[1], argv[2], inputs, queue);
  say({{"flop", subject->flop()}, {"threads", queue.threads}, {"cpu", cpu_name()}});
  for (std::string line; std::getline(std::cin, line);) say(answer(*subject, folder, line));
  return 0;
}

}  // namespace
}  // namespace wandistill::bench

int main(int argc, char** argv) {
  // As the program does it (src/cli/main.cpp).
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  try {
    return wandistill::bench::serve(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "warm: " << error.what() << '\n';
    return 1;
  }
}
