"""How much memory runs need and how much there is, which limits the number of simultaneous runs. Needs no torch.

The record of a run has its peak, which is used for runs of the same method on the same stream. Before there is one, the
need is estimated from the size of the network.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from clsuite.records import RecordError, read_record
from clsuite.runner.plan import RunPlan, recipe_of

GIGABYTE = 10**9
PROCESS = GIGABYTE
"""Memory in bytes of a process with the libraries loaded and a table open."""
GPU_PROCESS = 4 * GIGABYTE
"""The same for a process with a GPU: its driver, and batches that wait for their transfer."""
FLOAT = 4
PER_TRAINED = 4
"""Numbers per trained weight: itself, its gradient and the two moments of Adam."""
KEPT = 20
"""Numbers that a block of a ViT stores per feature of a token for the backward pass: inputs and outputs of its
matrices, and what normalizations, softmax and GELU need."""
PER_FEATURE = 24
"""Floating-point operations of such a block per token and squared width: 12 weights, two operations each."""
CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")
STATED = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class Size:
    """The size of what a method builds.

    Attributes:
        parameters: Number of all parameters.
        trained: Number of those that have a gradient when the stream starts.
        flops: Floating-point operations of the backbone for an image of the stream's size.
        features: Width of the backbone's features.
        through_backbone: Whether a gradient passes through the backbone.
    """

    parameters: int
    trained: int
    flops: int
    features: int
    through_backbone: bool

    def bytes_at(self, batch: int) -> int:
        """The expected peak memory of a run with batches of that many images."""
        kept = self.flops * KEPT / (PER_FEATURE * self.features)
        blocks = max(1.0, self.parameters * 2 / (PER_FEATURE * self.features**2))
        activations = batch * (kept if self.through_backbone else kept / blocks)
        weights = self.parameters + (PER_TRAINED - 1) * self.trained
        return int(PROCESS + FLOAT * (weights + activations))


@dataclass
class Memory:
    """Decides which runs have room beside those that are under way.

    Attributes:
        total: Bytes for all runs; None if that is not known, and all have room.
        on_gpu: Whether the runs compute on GPUs, which have memory of their own.
        sizes: Sizes of methods that have been built, by `RunPlan.recipe`.
    """

    total: float | None
    on_gpu: bool = False
    sizes: dict[str, Size] = field(default_factory=dict)
    _needs: dict[str, int] = field(default_factory=dict)

    def has_room(self, plan: RunPlan, running: Iterable[RunPlan]) -> bool:
        """Whether a run has room; a run that is alone always has."""
        beside = [self.need(other) for other in running]
        return not beside or self.total is None or self.need(plan) + sum(beside) <= self.total

    def need(self, plan: RunPlan) -> int:
        """Peak memory of a run in bytes: the largest of its method on its stream so far, or the estimate."""
        if self.on_gpu:
            return GPU_PROCESS
        recipe = plan.recipe
        if recipe not in self._needs:
            self._needs[recipe] = known_peak(plan) or self._expected(plan)
        return self._needs[recipe]

    def _expected(self, plan: RunPlan) -> int:
        size = self.sizes.get(plan.recipe)
        return PROCESS if size is None else size.bytes_at(plan.pending.config["training"]["batch_size"])


def known_peak(plan: RunPlan) -> int:
    """The largest peak of finished runs of the same method on the same stream, on a CPU; 0 if there is none."""
    peaks = [0]
    for path in plan.record_path.parent.glob("seed*.json"):
        with suppress(RecordError):
            record = read_record(path)
            on_cpu = record.environment.get("device_type", "cpu") == "cpu"  # else it is the peak of a GPU
            if record.cost is not None and on_cpu and recipe_of(record) == plan.recipe:
                peaks.append(record.cost.peak_memory_bytes)
    return max(peaks)


def free_memory(meminfo: Path = MEMINFO, cgroup: Path = CGROUP, stated: Path = STATED) -> float | None:
    """Free memory of this machine in bytes, or what is left of this process's share; None if it is not known."""
    found = []
    with suppress(OSError, ValueError, StopIteration):
        lines = meminfo.read_text().splitlines()
        found.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    with suppress(OSError, ValueError, StopIteration):
        place = next(line for line in stated.read_text().splitlines() if line.startswith("0::"))[3:].strip("/")
        for folder in (cgroup / place, cgroup):
            with suppress(OSError, ValueError):
                limit, used = (int((folder / name).read_text()) for name in ("memory.max", "memory.current"))
                found.append(limit - used)
    return min(found) if found else None
