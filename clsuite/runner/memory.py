"""How much memory runs take, and how much there is: as many at a time as it carries. Needs no torch.

A run of the same method on the same stream has left its peak in its record; before there is any, the size of the
network says what to expect.
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
"""Bytes of a process with the libraries loaded and a table open."""
GPU_PROCESS = 4 * GIGABYTE
"""Bytes of such a process that has a GPU: its driver, and batches that wait for their transfer."""
FLOAT = 4
PER_TRAINED = 4
"""Numbers for each weight that is trained: itself, its gradient and the two moments of Adam."""
KEPT = 20
"""Numbers that a block of a ViT keeps of each feature of a token for the backward pass: what its matrices take and
give, and what normalizations, softmax and GELU need."""
PER_FEATURE = 24
"""Floating-point operations of such a block for a token, by the square of its features: 12 weights, two for each."""
CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")
STATED = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class Size:
    """How large what a method builds is.

    Attributes:
        parameters: All parameters.
        trained: Those that have a gradient when the stream begins.
        flops: Floating-point operations of the backbone for an image of the stream's size.
        features: Length of the backbone's features.
        through_backbone: Whether a gradient goes through the backbone.
    """

    parameters: int
    trained: int
    flops: int
    features: int
    through_backbone: bool

    def bytes_at(self, batch: int) -> int:
        """What a run is expected to take at its peak, with batches of so many images."""
        kept = self.flops * KEPT / (PER_FEATURE * self.features)
        blocks = max(1.0, self.parameters * 2 / (PER_FEATURE * self.features**2))
        activations = batch * (kept if self.through_backbone else kept / blocks)
        weights = self.parameters + (PER_TRAINED - 1) * self.trained
        return int(PROCESS + FLOAT * (weights + activations))


@dataclass
class Memory:
    """Says which runs have room beside those that are under way.

    Attributes:
        total: Bytes for all runs; None where nobody knows, and all have room.
        on_gpu: Whether the runs compute on GPUs, which have memory of their own.
        sizes: What methods are, by `RunPlan.recipe`, where they have been built.
    """

    total: float | None
    on_gpu: bool = False
    sizes: dict[str, Size] = field(default_factory=dict)
    _needs: dict[str, int] = field(default_factory=dict)

    def has_room(self, plan: RunPlan, running: Iterable[RunPlan]) -> bool:
        """Whether a run has room; one that is alone always has."""
        beside = [self.need(one) for one in running]
        return not beside or self.total is None or self.need(plan) + sum(beside) <= self.total

    def need(self, plan: RunPlan) -> int:
        """Bytes that a run takes at its peak: the largest of its method's on its stream, or what is expected."""
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
    """The largest peak of finished runs of the same method on the same stream, on a CPU; 0 where there is none."""
    peaks = [0]
    for path in plan.record_path.parent.glob("seed*.json"):
        with suppress(RecordError):
            record = read_record(path)
            on_cpu = record.environment.get("device_type", "cpu") == "cpu"  # else it is the peak of a GPU
            if record.cost is not None and on_cpu and recipe_of(record) == plan.recipe:
                peaks.append(record.cost.peak_memory_bytes)
    return max(peaks)


def free_memory(meminfo: Path = MEMINFO, cgroup: Path = CGROUP, stated: Path = STATED) -> float | None:
    """Bytes that this machine has free, or that are left of this process's share; None where nobody says."""
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
