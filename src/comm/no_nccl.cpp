// GPUs' collectives in a build without NCCL.
#include "nccl_collectives.h"

namespace wandistill {

std::unique_ptr<DeviceCollectives> make_nccl_collectives(Session& session, Device&) {
  session.collectively([] {
    fail(
        "this program was built without NCCL, which ranks on several GPUs need: 'make found' says how it is "
        "found; one rank needs none");
  });
  return nullptr;
}

std::string nccl_version() {
  return "";
}

}  // namespace wandistill
