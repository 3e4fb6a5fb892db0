// The subcommands as functions: each is collective (every rank calls it with the same options) and returns
// the program's exit code. Errors are exceptions.
#pragma once

#include <string>

#include "wandistill/options.h"
#include "wandistill/session.h"

namespace wandistill {

/// effective_config: all options as text that `--config` reads back, for the checkpoint.
int run_train(Session& session, const TrainOptions& options, const std::string& effective_config);
/// Fills the cache; 85 if a signal came before it was complete.
int run_cache(Session& session, const FillOptions& options);
/// 3 if records are damaged or missing. Rank 0 prints; shards are dealt over the ranks.
int run_cache_verify(Session& session, const VerifyOptions& options);
int run_cache_merge(Session& session, const MergeOptions& options);
int run_cache_stats(Session& session, const StatsOptions& options);
int run_sample(Session& session, const SampleOptions& options);
int run_decode(Session& session, const DecodeOptions& options);
/// Rank 0 plans and prints; the others wait for it.
int run_plan(Session& session, const PlanOptions& options);
/// Checks what a run will run on, measures the ranks' links, and prints a table on rank 0; 1 if a check
/// failed.
int run_doctor(Session& session, const DoctorOptions& options);
/// Rank 0 prints; the others wait for it.
int run_inspect(Session& session, const InspectOptions& options);

}  // namespace wandistill
