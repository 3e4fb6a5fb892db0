// Where all ranks meet, without a silent hang.
#pragma once

#include <string>

#include "wandistill/session.h"

namespace wandistill {

/// Returns, on every rank, when all ranks have come; the seconds that this rank waited. Gives the core away
/// meanwhile. After timeout_seconds of waiting the job ends on every rank with a message that names `what`
/// (the work before the fence, as in "samples of epoch 10").
double fence(const Session& session, const std::string& what, double timeout_seconds);

}  // namespace wandistill
