"""A run that several processes learn together: the first has its record and checkpoints, the others only learn.

All are on this machine. Lightning starts such processes for each fit alone, or runs the whole command again in each.
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
"""Seconds between looks at whether the others are ready, and of each at whether the first is there."""
LINES = 20
"""Of what a process said at last, that are told where it ended the run."""


@contextmanager
def company(plan: RunPlan, device: torch.device) -> Iterator[Together | None]:
    """The processes that learn a run together, this one the first of them; None where it learns alone.

    Args:
        plan: The run.
        device: Of this process; that of each other is the next one, or the CPU for all.

    Raises:
        UserError: If there are not as many devices.
        RuntimeError: If another process ends; says what it said.
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
    """The device of a process by name.

    Args:
        first: That of the first process.
        rank: Which process.
        number: How many there are.

    Raises:
        UserError: If there are not as many devices.
    """
    if first.type == "cpu":
        return "cpu"
    last = (first.index or 0) + number - 1
    if first.type != "cuda" or last >= torch.cuda.device_count():
        there = torch.cuda.device_count() - (first.index or 0) if first.type == "cuda" else 1
        raise UserError(f"--devices is {number}, but from '{first}' on there {'are' if there != 1 else 'is'} {there}")
    return f"cuda:{(first.index or 0) + rank}"


def _start(plan: RunPlan, rank: int, folder: Path) -> subprocess.Popen[bytes]:
    """Start a process of the run, which finds its plan, and the others, in a folder."""
    with (folder / f"{rank}.plan").open("wb") as file:
        pickle.dump(sys.path, file)
        pickle.dump(plan, file)
    command = [*PYTHON, "-m", "clsuite.runner.rank_entry", str(rank), str(folder)]
    with (folder / f"{rank}.log").open("wb") as log, safe_path():
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": own_path()}
        )


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()
        process.wait()


def _last_words(others: Sequence[subprocess.Popen[bytes]], folder: Path) -> str:
    """What a process said that has failed; empty where none has."""
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
    """Wait until all others are ready to meet.

    Raises:
        RuntimeError: If one has ended before; says what it said.
    """
    for rank, process in enumerate(others, 1):
        while not ready(folder, rank).exists():
            if process.poll() is not None:
                raise RuntimeError(_last_words(others, folder) or f"process {rank} ended before it began to learn")
            time.sleep(LOOK_AGAIN)


def ready(folder: Path, rank: int) -> Path:
    """The file with which another process says that it is ready to meet."""
    return folder / f"{rank}.ready"


def meet(device: torch.device, rank: int, number: int, folder: Path) -> None:
    """Wait for the other processes, by a file that all see."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    elif sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # the name of this machine may be known nowhere
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, init_method=f"file://{folder}/meeting", rank=rank, world_size=number)
