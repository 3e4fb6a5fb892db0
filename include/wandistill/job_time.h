// How much time the scheduler leaves this job.
#pragma once

#include <optional>
#include <string>

namespace wandistill {

/// Seconds in a time as Slurm prints it: [days-][[hours:]minutes:]seconds. Nothing for UNLIMITED, INVALID and
/// whatever else is no time.
std::optional<double> parse_slurm_time(const std::string& text);

/// Seconds until Slurm ends the job that this process belongs to: SLURM_JOB_END_TIME (Slurm 23.02 and later)
/// or, without it, as squeue says. Nothing outside of Slurm, and without a time limit. Error if squeue fails.
std::optional<double> slurm_seconds_left();

/// "this job's time ends in 12.3 min". Error if that is not more than the margin, in minutes (--time_margin).
std::string time_left_text(double seconds_left, double margin);

}  // namespace wandistill
