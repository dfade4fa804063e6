"""A run trained by several processes together: the first has its record and checkpoints, the others only train.

All are on this machine. Lightning would start such processes for each fit, or run the whole command again in each.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import distributed

from clsuite.errors import UserError
from clsuite.interpreters import PYTHON, own_path, safe_path
from clsuite.learner.together import Together
from clsuite.runner.plan import RunPlan

LOOK_AGAIN = 0.1
"""Seconds between checks whether the other processes are ready, and of each whether the first is still there."""
LINES = 20
"""Number of lines of a process's last output that are reported if it ended the run."""


@contextmanager
def company(plan: RunPlan, device: torch.device) -> Iterator[Together | None]:
    """The processes that train a run together, of which this one is the first; None if it trains alone.

    Args:
        plan: The run.
        device: Device of this process; the others have the following devices, or all have the CPU.

    Raises:
        UserError: If there are not enough devices.
        RuntimeError: If another process ends; contains its last output.
    """
    if plan.devices == 1:
        yield None
        return
    names = [device_of(device, rank, plan.devices) for rank in range(plan.devices)]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        others = [_start(replace(plan, device=name), rank, Path(folder)) for rank, name in enumerate(names) if rank]
        stack.callback(_end, others)
        _await(others, Path(folder))
        meet(device, 0, plan.devices, Path(folder))
        try:
            yield Together(0, plan.devices)
        except RuntimeError as error:
            raise RuntimeError(_last_words(others, Path(folder)) or str(error)) from error
        finally:
            distributed.destroy_process_group()


def device_of(first: torch.device, rank: int, number: int) -> str:
    """The device of a process, by name.

    Args:
        first: The device of the first process.
        rank: Number of the process.
        number: Number of processes.

    Raises:
        UserError: If there are not enough devices.
    """
    if first.type == "cpu":
        return "cpu"
    last = (first.index or 0) + number - 1
    if first.type != "cuda" or last >= torch.cuda.device_count():
        there = torch.cuda.device_count() - (first.index or 0) if first.type == "cuda" else 1
        raise UserError(f"--devices is {number}, but from '{first}' on there {'are' if there != 1 else 'is'} {there}")
    return f"cuda:{(first.index or 0) + rank}"


def _start(plan: RunPlan, rank: int, folder: Path) -> subprocess.Popen[bytes]:
    """Start a process of the run, which finds its plan and the other processes through a folder."""
    with (folder / f"{rank}.plan").open("wb") as file:
        pickle.dump(sys.path, file)
        pickle.dump(plan, file)
    command = [*PYTHON, "-m", "clsuite.runner.rank_entry", str(rank), str(folder), str(os.getpid())]
    with (folder / f"{rank}.log").open("wb") as log, safe_path():
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": own_path()}
        )


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()
        process.wait()


def _last_words(others: Sequence[subprocess.Popen[bytes]], folder: Path) -> str:
    """The last output of a process that has failed; empty if none has."""
    for rank, process in enumerate(others, 1):
        try:
            status = process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            continue
        if status:
            log_lines = (folder / f"{rank}.log").read_text(encoding="utf-8", errors="replace").splitlines()[-LINES:]
            return f"process {rank} of {len(others) + 1} that learn together ended with status {status}:\n" + "\n".join(
                log_lines
            )
    return ""


def _await(others: Sequence[subprocess.Popen[bytes]], folder: Path) -> None:
    """Wait until all other processes are ready.

    Raises:
        RuntimeError: If one has ended before; contains its last output.
    """
    for rank, process in enumerate(others, 1):
        while not ready(folder, rank).exists():
            if process.poll() is not None:
                raise RuntimeError(_last_words(others, folder) or f"process {rank} ended before it began to train")
            time.sleep(LOOK_AGAIN)


def ready(folder: Path, rank: int) -> Path:
    """The file by which another process reports that it is ready."""
    return folder / f"{rank}.ready"


def meet(device: torch.device, rank: int, number: int, folder: Path) -> None:
    """Connect to the other processes through a file that all of them see."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    elif sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # the name of this machine may not be resolvable
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, init_method=f"file://{folder}/meeting", rank=rank, world_size=number)
