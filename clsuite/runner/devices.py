"""The number of simultaneous runs, and the device of each; counted without torch."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from clsuite.errors import UserError

DRIVER = Path("/proc/driver/nvidia/gpus")
LIBRARY = "libnvidia-ml.so.1"


def check_shares(by: str, parts: int, batch_size: int) -> None:
    """Check that a batch has at least one image for each of its parts.

    Args:
        by: The option that sets the number of parts.
        parts: The number of parts.
        batch_size: Number of images in a batch.

    Raises:
        UserError: If there are more parts than images.
    """
    if parts > batch_size:
        raise UserError(f"{by} is {parts}, but training.batch_size only {batch_size}: some parts would have no image")


def device_slots(device: str, jobs: int | None, threads: int, gpus: int, cores: int, together: int = 1) -> list[str]:
    """The device of each simultaneous run; if several devices train a run together, the first of them.

    Args:
        device: The device of the options: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ...
        jobs: Number of simultaneous runs in the options; None is one per GPU, or else as many as the cores allow.
        threads: CPU threads of a run.
        gpus: Number of GPUs that can be used.
        cores: Number of cores that can be used.
        together: Number of devices that train a run together.
    """
    if device in ("auto", "cuda") and gpus:
        places = max(1, gpus // together)
        return [f"cuda:{slot % places * together}" for slot in range(jobs or places)]
    alone = device not in ("auto", "cpu")
    return [device] * (jobs or (1 if alone else max(1, cores // (threads * together))))


def count_by_library(name: str = LIBRARY) -> int:
    """Number of NVIDIA GPUs according to the driver's library; 0 if there is none.

    It is used if ``/proc`` has no list, as in some containers. It needs three calls, and no package that wraps the
    library.
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
    """Number of NVIDIA GPUs of the driver that ``CUDA_VISIBLE_DEVICES`` makes visible.

    Args:
        environment: The environment variables.
        driver: The driver's folder of GPUs.
        library: Counts them if there is no such folder, as in WSL and some containers.
    """
    there = len(list(driver.iterdir())) if driver.is_dir() else library()
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return there
    return min(there, len([part for part in visible.split(",") if part.strip() not in ("", "-1")]))


def count_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
