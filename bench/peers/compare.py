"""Results first, then times in turn."""

import statistics
import time

import numpy as np
from safetensors.numpy import load_file, save_file

BOUND = 1e-3  # relative L2 error of float32 through a whole model


def relative_error(pairs):
    """Of all pairs (ours, theirs) together, one at a time: a large model's gradients in float64 are much memory."""
    difference = norm = 0.0
    for ours, theirs in pairs:
        ours, theirs = (np.asarray(v, dtype=np.float64).reshape(-1) for v in (ours, theirs))
        difference += float(np.sum((ours - theirs) ** 2))
        norm += float(np.sum(theirs ** 2))
    return (difference / norm) ** 0.5


def errors(ours, theirs):
    """Of each output; a dictionary of tensors (gradients) counts as one."""
    found = {}
    for name, value in theirs.items():
        if isinstance(value, dict):
            found[name] = relative_error((ours[f"{name}.{key}"], theirs.numpy()) for key, theirs in value.items())
        else:
            found[name] = relative_error([(ours[name], value.numpy())])
    return found


def check_finite(outputs):
    for name, value in outputs.items():
        for tensor in value.values() if isinstance(value, dict) else [value]:
            if not np.isfinite(tensor.numpy()).all():
                raise FloatingPointError(f"its {name} is not finite")


def turn(work, seconds):
    """As bin/bench/warm does it: one call unmeasured, then the fastest of calls, as what else runs on the machine only ever
    adds; and the time of all threads' work, the mean of the calls."""
    work()
    times, start, cpu_start = [], time.perf_counter(), time.process_time()
    while not times or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        work()
        times.append(time.perf_counter() - before)
    return min(times), (time.process_time() - cpu_start) / len(times)


def spread(values):
    """The middle half, as a share of the median."""
    values = sorted(values)
    return (values[len(values) * 3 // 4] - values[len(values) // 4]) / statistics.median(values)


def write_inputs(case, folder):
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.numpy().copy() for name, tensor in case.inputs.items()}, folder / "inputs.safetensors")


def compare(case, ours, folder):
    """Our results against those of each variant; then turns in the order ours, eager, compiled, ours, ..."""
    row = {"shape": case.shape, "flop": ours.facts["flop"], "errors": {}, "failed": {}}
    ours.ask("results")
    results = load_file(folder / "ours.safetensors")
    works = {}
    for variant in case.variants:
        try:
            work, find = case.prepare(variant)
            found = find()
            check_finite(found)
            row["errors"][variant] = errors(results, found)
            del found
            works[variant] = work
        except Exception as error:  # a variant that does not run here is no reason to leave out the other
            row["failed"][variant] = f"{type(error).__name__}: {error}".split("\n")[0]
    row["agrees"] = bool(works) and all(value <= case.bounds.get(name, BOUND) for variant in row["errors"].values()
                                        for name, value in variant.items())
    if not row["agrees"]:
        return row
    turns = {"ours": [], **{variant: [] for variant in works}}
    for _ in range(case.pairs):
        turns["ours"].append(ours.run(case.seconds))
        for variant, work in works.items():
            turns[variant].append(turn(work, case.seconds))
    times, cpu_times = ({name: [pair[i] for pair in pairs] for name, pairs in turns.items()} for i in (0, 1))
    peer = min(works, key=lambda variant: statistics.median(times[variant]))
    ratios = [theirs / own for own, theirs in zip(times["ours"], times[peer])]
    row.update(seconds=times, cpu_seconds=cpu_times, peer=peer, ours_seconds=statistics.median(times["ours"]),
               peer_seconds=statistics.median(times[peer]), ratio=statistics.median(ratios), spread=spread(ratios),
               pairs=len(ratios),
               cpu_ratio=statistics.median(theirs / own for own, theirs in zip(cpu_times["ours"], cpu_times[peer])))
    return row
