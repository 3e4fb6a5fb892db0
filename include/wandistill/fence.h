// Where all ranks meet, without a silent hang.
#pragma once

#include <functional>
#include <string>

#include "wandistill/session.h"

namespace wandistill {

/// Returns, on every rank, when all ranks have come; the seconds that this rank waited. `what` is the work
/// before the fence, as in "samples of epoch 10". From its arrival on the rank stands as waiting on the
/// board. After notice_seconds, and then less and less often, rank 0 prints which ranks are still to come and
/// what they are doing. After the session's time-out the job ends with that report. `meanwhile`, where given,
/// is called again and again while this rank waits.
double fence(const Session& session, const std::string& what, double notice_seconds = 5,
             const std::function<void()>& meanwhile = {});

}  // namespace wandistill
