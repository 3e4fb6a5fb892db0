#include "wandistill/preflight.h"

#include "src/doctor/clocks.h"
#include "src/doctor/fact_checks.h"
#include "src/doctor/quick_checks.h"
#include "src/doctor/shared_folders.h"
#include "src/doctor/sums.h"
#include "wandistill/error.h"
#include "wandistill/progress.h"

namespace wandistill {
namespace {

constexpr double kFolderSeconds = 10;

}  // namespace

bool add_fact_checks(const Session& session, const std::vector<RankFacts>& facts, const std::string& device,
                     Checks* checks) {
  const Check versions = versions_check(facts);
  checks->add(launcher_check(facts));
  checks->add(versions);
  checks->add(cores_check(facts));
  checks->add(gpus_check(facts, device));
  checks->add(shared_memory_check(facts, device));
  checks->add(limits_check(facts));
  return !session.any(versions.result == CheckResult::kBad);
}

void add_shared_checks(const Session& session, const std::vector<std::filesystem::path>& folders,
                       Checks* checks) {
  if (!folders.empty()) checks->add(check_shared_folders(session, folders, kFolderSeconds));
  checks->add(check_clocks(session));
}

void preflight(Session& session, const std::string& device,
               const std::vector<std::filesystem::path>& folders) {
  Checks checks;
  if (add_fact_checks(session, gather_facts(session), device, &checks)) {
    checks.add(check_sums(session, "all-reduce, MPI", mpi_sum(session), {kSmallSum}).check);
    add_shared_checks(session, folders, &checks);
  }
  if (session.is_root()) print_line(checks.text(CheckResult::kWarning) + "preflight, " + checks.summary());
  if (session.any(!checks.good()))
    throw CollectiveError(
        cat("the preflight found what a run would fail at (`wandistill doctor` says more)\n",
            checks.text(CheckResult::kBad)));
}

}  // namespace wandistill
