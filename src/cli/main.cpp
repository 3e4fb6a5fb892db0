// The program: understands the command line, starts MPI, runs the subcommand, ends every rank.
#include <malloc.h>

#include <iostream>
#include <set>

#include "src/cli/subcommands.h"
#include "src/cli/usage_error.h"
#include "wandistill/launcher.h"

namespace {

/// Collective. Every rank read the same line, so normally there is one message; a file that only some hosts
/// can read gives several. Rank 0 prints each once. True if any rank had one.
bool report_usage_errors(const wandistill::Session& session, const std::string& message) {
  if (!session.any(!message.empty())) return false;
  std::set<std::string> messages;
  for (const std::string& text : session.gather(message))
    if (!text.empty()) messages.insert(text);
  if (session.is_root())
    for (const std::string& text : messages) std::cerr << "wandistill: " << text << std::endl;
  session.barrier();
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  // Memory that a step frees is kept for the next one: handing it back to the kernel and faulting it in
  // again, page by page, costs more than a tenth of a small student's step.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  wandistill::cli::Prepared prepared;
  std::string message;
  try {
    prepared = wandistill::cli::prepare({argv + 1, argv + argc});
  } catch (const wandistill::Error& error) {
    message = error.what();
  }
  if (message.empty() && !prepared.run) {
    if (wandistill::launched_rank() <= 0) std::cout << prepared.text;
    return 0;
  }
  if (!message.empty() && wandistill::launched_rank() < 0) {
    std::cerr << "wandistill: " << message << std::endl;
    return 2;
  }
  return wandistill::run_session(argc, argv, [&](wandistill::Session& session) {
    return report_usage_errors(session, message) ? 2 : prepared.run(session);
  });
}
