// The teacher's weights onto a smaller student.
#pragma once

#include <vector>

#include "src/model/projection_statistics.h"

namespace wandistill {

/// The teacher's layers that become the student's, evenly spaced from the first.
std::vector<int64_t> chosen_layers(int64_t teacher_layers, int64_t student_layers);

/// The student's weights, laid out as its layout() says, from one expert's; `kind` is slice or pca.
Buffer<float> reduce_teacher(InitKind kind, const WanTransformer& teacher, const WanWeights& weights,
                             const TeacherStatistics& statistics, const WanTransformer& student,
                             const Calibration& calibration, const Queue& queue);

}  // namespace wandistill
