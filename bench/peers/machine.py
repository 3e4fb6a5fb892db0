"""Where and of what something was measured."""

import ctypes
import re
import subprocess


# glibc's malloc gives nothing back to the system: faulting freed memory in anew can take, on a virtual machine, as long as
# what is timed. Set so on both sides.
KEEPS_FREED_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 62)}


def keep_freed_memory():
    """The same for this process, which runs already."""
    trim_threshold, mmap_max = -1, -4  # malloc.h
    library = ctypes.CDLL(None)
    if not library.mallopt(mmap_max, 0) or not library.mallopt(trim_threshold, -1):
        raise OSError("mallopt failed")


def fields(file):
    with open(file) as lines:
        return dict(line.split(":", 1) for line in lines if ":" in line)


def available_bytes():
    return 1024 * int(fields("/proc/meminfo")["MemAvailable"].split()[0])


def resident_bytes(which="VmRSS"):
    return 1024 * int(fields("/proc/self/status")[which].split()[0])


def cpu_name():
    with open("/proc/cpuinfo") as lines:
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))


def slug(text):
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((R|TM)\)", "", text).lower()).strip("-")


def header(root, threads):
    import diffusers
    import torch
    import transformers
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True)
    return {"cpu": cpu_name(), "threads": threads, "commit": commit.stdout.strip(), "torch": torch.__version__,
            "diffusers": diffusers.__version__, "transformers": transformers.__version__}
