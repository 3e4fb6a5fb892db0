"""Memory of a training step beyond weights, gradients and the optimizer's state, each program in a process of its own.

usage: python bench/peers/memory.py FOLDER SIZE BATCH VARIANT     (compare() starts it so)
"""

import json
import subprocess
import sys
from pathlib import Path


def peak_beyond(step, rest):
    """Bytes that steps need at their peak beyond `rest`."""
    from machine import resident_bytes
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    step()
    step()
    return resident_bytes("VmHWM") - rest


def measure_peer(folder, size, batch, variant):
    """With the gradients kept from step to step, as ours are, and freed: then the activations of forward lie where the
    gradients of backward will, and the difference to a rest that has gradients says less."""
    import ctypes
    import gc

    import torch

    from cases import StudentStep
    from machine import resident_bytes
    case = StudentStep(folder, size, batch)
    case.frees_gradients = False
    step, _ = case.prepare(variant)
    for parameter in case.parameters:
        parameter.grad = torch.zeros_like(parameter)
    case.optimizer.step()  # makes its state
    if variant == "compiled":  # what the compiler needed is not counted
        step()
        step()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # freed memory does not count as resident
    rest = resident_bytes()
    kept = peak_beyond(step, rest)
    case.frees_gradients = True
    return {"gradients kept": kept, "gradients freed": peak_beyond(step, rest)}


def measure_ours(root, case, folder):
    from ours import Ours
    with Ours(root, case.subject, case.model, folder) as ours:
        rest = ours.ask("memory")["resident"]
        ours.run(0)
        return ours.ask("memory")["peak"] - rest


def compare(root, folder, size, batch):
    from cases import StudentStep
    from compare import write_inputs
    case = StudentStep(folder, size, batch)
    write_inputs(case, folder)
    own, peers = measure_ours(root, case, folder), {}
    for variant in case.variants:
        command = [sys.executable, __file__, str(folder), size, str(batch), variant]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        peers[variant] = json.loads(done.stdout.splitlines()[-1])
    peer = min(peers, key=lambda variant: peers[variant]["gradients kept"])
    return {"shape": case.shape, "ours_bytes": own, "peer_bytes": peers, "peer": peer,
            "ratio": own / peers[peer]["gradients kept"], "at_most": True}


if __name__ == "__main__":
    print(json.dumps(measure_peer(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])))
