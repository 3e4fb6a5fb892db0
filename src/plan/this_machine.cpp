#include "src/plan/this_machine.h"

#include <string>

#include "wandistill/memory.h"
#include "wandistill/plan.h"

namespace wandistill {

Machine this_machine(const Session& session, Device* device) {
  std::string name = "cpu";
  const int64_t free = device ? device->free_bytes() : -1;
  if (free >= 0)
    for (const Card& card : cards())
      if (device->name().find(card.in_device) != std::string::npos) name = card.name;
  Machine machine = Machine::of(name, session.threads());
  if (free >= 0) {
    if (name == "cpu") machine.bf16 = machine.float32 = 0;  // a GPU that the table does not have
    machine.card = device->name();
    machine.gpu_bytes = free + kGpuReserve;  // the context is there already
  }
  machine.host_bytes = available_memory();
  machine.world_size = session.world_size();
  machine.ranks_per_node = session.local_size();
  return machine;
}

}  // namespace wandistill
