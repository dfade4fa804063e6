"""What a benchmark says about its stream: one model for each kind, so that each has its own parameters and no other."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator
from pydantic_core import PydanticUndefined

from clsuite.errors import did_you_mean
from clsuite.scenarios.catalog import KINDS

SPLIT = r"^B\d+-inc[1-9]\d*$"
Order = Literal["seed", "given"] | tuple[str, ...]


class _Spec(BaseModel):
    """What every stream over a table has.

    Attributes:
        order_seed: Seed of the order of classes or domains and of what else shapes the stream, in place of the run's
            (papers fix 1993); validation parts and training still follow the run's seed.
        validation: Share of each class's training images that is set aside as the validation part.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    order_seed: int | None = Field(default=None, ge=0)
    validation: float = Field(default=0.0, ge=0.0, lt=1.0)


class ByClass(_Spec):
    """Classes shared out among tasks.

    Attributes:
        tasks: Number of tasks; one for each class where neither it nor `split` is given.
        first_task: Classes in the first task; the others share the rest.
        split: The field's short form ``B50-inc5``: 50 classes in the first task and 5 in each other; ``B0-inc10``:
            10 in each. The last task takes what is left (as PILOT does).
        order: ``seed`` (permuted), ``given`` (as the data set lists them), or a list of all class names.
    """

    tasks: int | None = Field(default=None, ge=1)
    first_task: int | None = Field(default=None, ge=1)
    split: str | None = Field(default=None, pattern=SPLIT)
    order: Order = "seed"

    @model_validator(mode="after")
    def _one_way(self) -> ByClass:
        if self.split is not None and (self.tasks is not None or self.first_task is not None):
            raise ValueError("split says all about the sizes: give either split, or tasks and first_task")
        return self


class ClassIncremental(ByClass):
    """New classes in each task."""

    kind: Literal["class_incremental"] = "class_incremental"


class TaskIncremental(ByClass):
    """New classes in each task, and the task is known at test time."""

    kind: Literal["task_incremental"] = "task_incremental"


class Online(ByClass):
    """Class-incremental in a single pass (Mai et al. 2022, "Online continual learning in image classification")."""

    kind: Literal["online"] = "online"


class LongTailed(ByClass):
    """Class-incremental with a long tail; see `clsuite.scenarios.long_tail`.

    Attributes:
        imbalance: Images of the largest class over those of the smallest (rho; the paper: 100).
        tail: ``ordered`` (the classes of a task have more images than those of later tasks) or ``shuffled``.
    """

    kind: Literal["long_tailed"] = "long_tailed"
    imbalance: float = Field(default=100.0, ge=1.0)
    tail: Literal["ordered", "shuffled"] = "shuffled"


class Recurring(ByClass):
    """Tasks come back; see `clsuite.scenarios.recurring`.

    Attributes:
        length: Number of tasks of the stream, those that come back counted again.
        exponent: The probability falls as this power of the time since a task was last seen.
    """

    kind: Literal["recurring"] = "recurring"
    length: int = Field(ge=1)
    exponent: float = Field(default=1.0, ge=0.0)


class DomainIncremental(_Spec):
    """A new domain of the same classes in each task.

    Attributes:
        tasks: Number of tasks; all domains where it is not given.
        order: ``seed``, ``given``, or a list of domain names.
    """

    kind: Literal["domain_incremental"] = "domain_incremental"
    tasks: int | None = Field(default=None, ge=1)
    order: Order = "seed"


class CrossDomain(_Spec):
    """One data set after another.

    Attributes:
        tasks: Number of tasks; all data sets where it is not given.
        order: ``given`` (as the benchmark lists them), ``seed``, ``mtil_i`` or ``mtil_ii`` (the paper's orders), or a
            list of names.
    """

    kind: Literal["cross_domain"] = "cross_domain"
    tasks: int | None = Field(default=None, ge=1)
    order: Literal["mtil_i", "mtil_ii"] | Order = "given"


class Blurry(_Spec):
    """Blurry boundaries; see `clsuite.scenarios.blurry`.

    Attributes:
        tasks: Number of tasks (the paper: 5).
        disjoint: Share N of the classes that occur in one task only (the paper: 0.5).
        blurry: Share M of the other classes' images that is scattered over all tasks (the paper: 0.1).
        sizes: ``random`` (Si-blurry) or ``equal`` (i-Blurry): disjoint classes and scattered images of each task.
    """

    kind: Literal["blurry"] = "blurry"
    tasks: int = Field(default=5, ge=2)
    disjoint: float = Field(default=0.5, ge=0.0, le=1.0)
    blurry: float = Field(default=0.1, ge=0.0, le=1.0)
    sizes: Literal["random", "equal"] = "random"


class FromAvalanche(BaseModel):
    """A stream made with Avalanche; the benchmark has no `dataset` then.

    Attributes:
        path: A Python file, absolute or below the benchmark's folder or the data root.
        function: A function in it: takes the seed and returns the Avalanche benchmark.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["avalanche"] = "avalanche"
    path: str
    function: str = "make_benchmark"


AnySpec = (
    ClassIncremental
    | TaskIncremental
    | DomainIncremental
    | CrossDomain
    | Recurring
    | LongTailed
    | Blurry
    | Online
    | FromAvalanche
)


class ScenarioSpec(RootModel[AnySpec]):
    """A stream of tasks. In YAML ``{kind: blurry, tasks: 5}``, a kind alone, or the short form ``B50-inc5``."""

    model_config = ConfigDict(frozen=True)
    root: AnySpec = Field(default=ClassIncremental(), discriminator="kind")

    @model_validator(mode="before")
    @classmethod
    def _forms(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"split": value} if re.match(SPLIT, value) else {"kind": value}
        if isinstance(value, BaseModel) or value is PydanticUndefined:
            return value
        if not isinstance(value, dict):
            raise ValueError("write a mapping such as {kind: class_incremental, tasks: 10}, a kind, or B50-inc5")
        kind = str(value.get("kind", "class_incremental"))
        if kind not in KINDS:
            raise ValueError(str(did_you_mean("kind of scenario", kind, KINDS)))
        return {**value, "kind": kind}

    @property
    def kind(self) -> str:
        """The kind of stream."""
        return self.root.kind


MODELS: dict[str, type[BaseModel]] = {
    "class_incremental": ClassIncremental,
    "task_incremental": TaskIncremental,
    "domain_incremental": DomainIncremental,
    "cross_domain": CrossDomain,
    "recurring": Recurring,
    "long_tailed": LongTailed,
    "blurry": Blurry,
    "online": Online,
    "avalanche": FromAvalanche,
}
