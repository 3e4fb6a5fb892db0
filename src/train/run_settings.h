// What a training run's options mean together with its teacher.
#pragma once

#include <filesystem>
#include <vector>

#include "wandistill/options.h"
#include "wandistill/student_config.h"
#include "wandistill/teacher_cache.h"

namespace wandistill {

std::filesystem::path run_cache_folder(const TrainOptions& options);
std::filesystem::path run_checkpoint_folder(const TrainOptions& options);
std::filesystem::path run_sample_folder(const TrainOptions& options);
/// Those that a run writes to, but for those within the output folder.
std::vector<std::filesystem::path> run_folders(const TrainOptions& options);

/// fingerprint: the teacher's; dtype: of the files, as choose_cache_dtype() says.
CacheSettings run_cache_settings(const TrainOptions& options, const Pipeline& teacher,
                                 const StudentConfig& student, uint64_t fingerprint,
                                 const std::string& dtype);

}  // namespace wandistill
