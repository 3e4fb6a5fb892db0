// What the SIMT layer says of a kernel that breaks a rule.
#pragma once

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "kernels/simt/device.h"
#include "tests/simt/device_session.h"
#include "wandistill/error.h"

namespace wandistill::simt_test {

/// What the device says of what is enqueued; empty: nothing.
inline std::string said_by(DeviceSession& session) {
  std::string message;
  try {
    session.stream->synchronize();
  } catch (const Error& error) {
    message = error.what();
  }
  return message;
}

/// In every order: what the device says of the kernel contains all of these; the device is refused further
/// work. The kernel has 16 KiB of dynamic shared memory.
template <class... Parameters>
void refused(const std::vector<std::string>& texts, unsigned threads, void (*kernel)(Parameters...),
             std::type_identity_t<Parameters>... arguments) {
  for (const auto& c : kSimtCases) {
    CAPTURE(c.name);
    DeviceSession session(make_simt_device(c.options), c.threads);
    simt::launch(session.queue, 3, threads, 16384, kernel, arguments...);
    const std::string message = said_by(session);
    for (const std::string& text : texts) {
      CAPTURE(text);
      CAPTURE(message);
      CHECK(message.find(text) != std::string::npos);
    }
    CHECK_THROWS_AS(session.stream->synchronize(), Error);
  }
}

}  // namespace wandistill::simt_test
