// --dry_run: everything that can be known to be wrong before a run, found without doing it.
#pragma once

#include "wandistill/options.h"
#include "wandistill/session.h"

namespace wandistill {

/// Rank 0 prints the run's plan and a table of checks, made on every host: ranks and devices, configs, every
/// file's header against them, prompts, cache, folders, disk, memory. Nothing is written. Collective; the
/// exit code: 0, or 1 if a check failed.
int dry_run_train(Session& session, const TrainOptions& options);
/// The same for a cache of trajectories alone.
int dry_run_cache(Session& session, const FillOptions& options);
/// The same for pictures, without a plan.
int dry_run_sample(Session& session, const SampleOptions& options);

}  // namespace wandistill
