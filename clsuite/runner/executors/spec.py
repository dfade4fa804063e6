"""Executors in a benchmark file: one model for each, so that each has its own options only."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, RootModel, model_validator

from clsuite.config.spec import Spec
from clsuite.errors import did_you_mean, shortened

ExecutorName = Literal["debug", "local", "ray", "slurm"]
TIME = re.compile(r"(\d+-)?\d{1,3}(:\d{2}){0,2}")
"""Slurm's time formats: minutes, ``minutes:seconds``, ``hours:minutes:seconds``, ``days-hours...``."""


class DebugExecutor(Spec):
    """In this process, one run after another, so that ``breakpoint()`` and pdb work."""

    kind: Literal["debug"] = "debug"


class LocalExecutor(Spec):
    """Processes of this machine, as many at a time as cores, GPUs and memory allow.

    Attributes:
        memory: GB that all runs together may use; by default the free memory of the machine when they start.
    """

    kind: Literal["local"] = "local"
    memory: float | None = Field(default=None, gt=0)


class RayExecutor(Spec):
    """Tasks of a Ray cluster, one for each run.

    Attributes:
        address: A running cluster: ``auto`` for the one that this machine belongs to, ``HOST:6379`` or
            ``ray://HOST:10001``. By default a cluster is started on this machine, and stopped at the end.
        cpus: CPUs that are reserved for a run; by default as many as it has threads.
        gpus: GPUs that are reserved for a run; with 0.5 two runs share one. By default one if the cluster has any and
            the device is not ``cpu``, else none.
        memory: GB that are reserved for a run; by default memory is not counted.
        retries: How often a run is restarted from its last checkpoint when its node or its worker is lost.
        object_store: GB of memory for the object store of a cluster that is started here.
    """

    kind: Literal["ray"] = "ray"
    address: str | None = None
    cpus: float | None = Field(default=None, gt=0)
    gpus: float | None = Field(default=None, ge=0)
    memory: float | None = Field(default=None, gt=0)
    retries: int = Field(default=5, ge=0)
    object_store: float = Field(default=0.1, ge=0.08)


def _checked_time(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and TIME.fullmatch(value) is None:
        raise ValueError(f"write minutes, HH:MM:SS or D-HH:MM:SS in quotation marks, not '{shortened(value)}'")
    return value


def _one_line(text: str) -> str:
    if "\n" in text:
        raise ValueError("must be one line")
    return text


Line = Annotated[str, AfterValidator(_one_line)]


class SlurmExecutor(Spec):
    """A job array of Slurm, whose jobs divide the runs among them.

    Attributes:
        partition: The partition, as ``sinfo`` lists it; by default the cluster's.
        account: The account that is charged.
        qos: The quality of service.
        constraint: Features that a node must have.
        time: Time limit of a job, in the format of ``sbatch --time``. A job that reaches it saves its state, ends, and
            is submitted again.
        cpus: CPUs of a job; by default as many as its runs have threads.
        gpus: GPUs of a job.
        memory: GB of memory of a job.
        workers: Largest number of jobs in the array; never more than there are runs.
        setup: Shell commands before the work starts, such as ``module load cuda``.
        sbatch: Other options of ``sbatch`` by their long names, such as ``{exclude: node7}``.
        notice: Seconds before its time limit at which a job is signaled to save and to end.
        attempts: How often a job may be submitted in all.
    """

    kind: Literal["slurm"] = "slurm"
    partition: Line | None = None
    account: Line | None = None
    qos: Line | None = None
    constraint: Line | None = None
    time: Annotated[Line, BeforeValidator(_checked_time)] = "60"
    cpus: int | None = Field(default=None, ge=1)
    gpus: int = Field(default=0, ge=0)
    memory: float | None = Field(default=None, gt=0)
    workers: int = Field(default=16, ge=1)
    setup: tuple[Line, ...] = ()
    sbatch: dict[str, str | int | bool] = Field(default_factory=dict)
    notice: int = Field(default=120, ge=10)
    attempts: int = Field(default=20, ge=1)


AnyExecutor = DebugExecutor | LocalExecutor | RayExecutor | SlurmExecutor
MODELS: dict[str, type[AnyExecutor]] = {
    "debug": DebugExecutor,
    "local": LocalExecutor,
    "ray": RayExecutor,
    "slurm": SlurmExecutor,
}


class ExecutorSpec(RootModel[AnyExecutor]):
    """Where runs are done. In YAML a name alone, or with its options: ``{kind: slurm, partition: gpu}``."""

    model_config = ConfigDict(frozen=True)
    root: AnyExecutor = Field(default=LocalExecutor(), discriminator="kind")

    @model_validator(mode="before")
    @classmethod
    def _forms(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"kind": value}
        if isinstance(value, BaseModel):
            return value
        if not isinstance(value, dict):
            raise ValueError("write a name such as ray, or a mapping such as {kind: slurm, partition: gpu}")
        kind = str(value.get("kind", "local"))
        if kind not in MODELS:
            raise ValueError(str(did_you_mean("executor", kind, get_args(ExecutorName))))
        return {**value, "kind": kind}
