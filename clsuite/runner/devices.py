"""How many runs at a time, and the device of each: counted without torch."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from clsuite.errors import UserError

DRIVER = Path("/proc/driver/nvidia/gpus")
LIBRARY = "libnvidia-ml.so.1"


def check_shares(by: str, parts: int, batch_size: int) -> None:
    """Check that a batch has an image for each of the parts that it is taken into.

    Args:
        by: The option that says how many parts there are.
        parts: How many there are.
        batch_size: Images of a batch.

    Raises:
        UserError: If there are more parts than images.
    """
    if parts > batch_size:
        raise UserError(f"{by} is {parts}, but training.batch_size only {batch_size}: some parts would have no image")


def device_slots(device: str, jobs: int | None, threads: int, gpus: int, cores: int, together: int = 1) -> list[str]:
    """One device for each run at a time: where several learn together, the first of them.

    Args:
        device: What was asked for: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ...
        jobs: Runs at a time that were asked for; None is one per GPU, or else as many as the cores allow.
        threads: CPU threads of a run.
        gpus: GPUs that can be used.
        cores: Cores that can be used.
        together: Devices that learn a run together.
    """
    if device in ("auto", "cuda") and gpus:
        places = max(1, gpus // together)
        return [f"cuda:{slot % places * together}" for slot in range(jobs or places)]
    alone = device not in ("auto", "cpu")
    return [device] * (jobs or (1 if alone else max(1, cores // (threads * together))))


def count_by_library(name: str = LIBRARY) -> int:
    """NVIDIA GPUs that the driver's library counts; 0 where there is none, as in a container without ``/proc``'s list.

    Three calls of the driver's own library need no package that wraps it.
    """
    try:
        library = ctypes.CDLL(name)
        count = ctypes.c_uint(0)
        if library.nvmlInit_v2() != 0:
            return 0
        counted = library.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0
        library.nvmlShutdown()
    except (OSError, AttributeError):
        return 0
    return count.value if counted else 0


def count_gpus(
    environment: Mapping[str, str] = os.environ,
    driver: Path = DRIVER,
    library: Callable[[], int] = count_by_library,
) -> int:
    """NVIDIA GPUs that the driver shows and ``CUDA_VISIBLE_DEVICES`` leaves.

    Args:
        environment: The environment variables.
        driver: The driver's folder of them.
        library: Counts them where there is no such folder, as in WSL and some containers.
    """
    there = len(list(driver.iterdir())) if driver.is_dir() else library()
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return there
    return min(there, len([part for part in visible.split(",") if part.strip() not in ("", "-1")]))


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
