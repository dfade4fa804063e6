"""The stream in a benchmark file: one model for each kind, so that each kind has its own parameters only."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, RootModel, model_validator
from pydantic_core import PydanticKnownError, PydanticUndefined

from clsuite.config.class_use import CLASS, ClassUse, MaybeOwn, by_entry_point, offered
from clsuite.config.error_text import shown
from clsuite.config.spec import LARGEST_NUMBER, Spec
from clsuite.errors import did_you_mean, shortened
from clsuite.scenarios.catalog import KINDS
from clsuite.scenarios.order_spec import CrossOrder, Order

SPLIT = r"^B\d+-inc[1-9]\d*$"
Over = Literal["classes", "domains"]
LONGEST_STREAM = 10_000
"""Largest number of tasks of a stream with recurring tasks; each of them takes memory before training starts."""


def _checked_split(split: str) -> str:
    if re.match(SPLIT, split) is None:
        raise ValueError(f"write BASE and INCREMENT as in B50-inc5 or B0-inc10, not '{shortened(split)}'")
    return split


class _Spec(Spec):
    """Fields of every stream over a table of images.

    Attributes:
        order_seed: Seed for the order of classes or domains and for other draws of the stream, instead of the run's
            seed; validation parts and training still follow the run's seed. The draws are clsuite's own, so that no
            seed gives the order of another code base (``order: {numpy: 1993}`` does).
        validation: Share of each class's training images that is held out as the validation part.
    """

    order_seed: int | None = Field(default=None, ge=0)
    validation: float = Field(default=0.0, ge=0.0, lt=1.0)


def _tasks(value: Any) -> Any:
    """A number of tasks, or the number of classes in each."""
    if isinstance(value, list | tuple):
        if not value or not all(type(number) is int and 1 <= number <= LARGEST_NUMBER for number in value):
            raise ValueError(
                f"a list has the number of classes of each task, such as [102, 67, 200], and each at least one; not "
                f"{shown(value)}"
            )
        return tuple(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is not None and type(value) is not int:
        raise PydanticKnownError("int_type")
    if value is not None and value < 1:
        raise PydanticKnownError("greater_than_equal", {"ge": 1})
    return value


Tasks = Annotated[int | tuple[int, ...] | None, BeforeValidator(_tasks)]


class ByClass(_Spec):
    """Classes divided among tasks.

    Attributes:
        tasks: Number of tasks, or a list with the number of classes in each (``[102, 67, 200]``, which must add up to
            all classes). If neither it nor `split` is given, each class is a task.
        first_task: Number of classes in the first task; the others divide the rest.
        split: A short form, ``B50-inc5``: 50 classes in the first task and 5 in each of the others; ``B0-inc10``: 10 in
            each. The last task gets the remaining classes (as in PILOT).
        order: ``seed`` (permuted), ``given`` (as the data set lists them), a list of all class names, or
            ``{numpy: 1993}``: the first permutation that NumPy's legacy generator draws with that seed, whatever the
            run's seed. This is the order of PILOT, RanPAC and FeCAM, which all use 1993 (on CIFAR-100: the classes 68,
            56, 78, 8, 23, 84, 90, 65, ...).
    """

    tasks: Tasks = None
    first_task: int | None = Field(default=None, ge=1)
    split: Annotated[str, AfterValidator(_checked_split)] | None = None
    order: Order = "seed"

    @model_validator(mode="after")
    def _one_way(self) -> ByClass:
        if self.split is not None and (self.tasks is not None or self.first_task is not None):
            raise ValueError("split determines all sizes: give either split, or tasks and first_task")
        if isinstance(self.tasks, tuple) and self.first_task is not None:
            raise ValueError("tasks lists the classes of each task, including the first: remove first_task")
        return self


class ClassIncremental(ByClass):
    """Each task has new classes."""

    kind: Literal["class_incremental"] = "class_incremental"


class TaskIncremental(ByClass):
    """Each task has new classes, and the task is known at test time."""

    kind: Literal["task_incremental"] = "task_incremental"


class Online(ByClass):
    """Class-incremental in a single pass (Mai et al. 2022, "Online continual learning in image classification").

    Attributes:
        repeats: Number of consecutive steps on each batch, after which its images do not come again.
    """

    kind: Literal["online"] = "online"
    repeats: int = Field(default=1, ge=1)


class LongTailed(ByClass):
    """Class-incremental with a long-tailed class distribution; see `clsuite.scenarios.long_tail`.

    Attributes:
        imbalance: Number of images of the largest class divided by that of the smallest (rho; the paper: 100).
        tail: ``ordered`` (the classes of a task have more images than those of later tasks) or ``shuffled``.
    """

    kind: Literal["long_tailed"] = "long_tailed"
    imbalance: float = Field(default=100.0, ge=1.0)
    tail: Literal["ordered", "shuffled"] = "shuffled"


class FewShot(_Spec):
    """Few-shot class-incremental (FSCIL); see `clsuite.scenarios.few_shot`.

    Attributes:
        base: Number of classes of the first task, the base session, which has all their images (CIFAR-100: 60,
            CUB-200: 100).
        ways: Number of new classes of each later session (CIFAR-100: 5, CUB-200: 10).
        shots: Number of training images of each of them, drawn by `order_seed` if it is given.
        order: As for class-incremental streams; papers use ``given``.
    """

    kind: Literal["few_shot"] = "few_shot"
    base: int = Field(ge=1, le=LARGEST_NUMBER)
    ways: int = Field(default=5, ge=1, le=LARGEST_NUMBER)
    shots: int = Field(default=5, ge=1, le=LARGEST_NUMBER)
    order: Order = "seed"


class _Returning(ByClass):
    """Fields of streams with recurring tasks.

    Attributes:
        exponent: Exponent of the power law by which tasks recur less over time.
        over: What a task is: new ``classes``, or a domain of the same classes (``domains``; `tasks` is then the number
            of domains, and classes are not divided).
    """

    exponent: float = Field(default=1.0, ge=0.0)
    over: Over = "classes"

    @model_validator(mode="after")
    def _domains_are_not_shared_out(self) -> _Returning:
        if self.over == "domains" and (self.split is not None or self.first_task is not None):
            raise ValueError("split and first_task divide classes: remove them if tasks are domains")
        if self.over == "domains" and isinstance(self.tasks, tuple):
            raise ValueError("a list of tasks divides classes: write a number of tasks if they are domains")
        return self


class Recurring(_Returning):
    """Whole tasks recur, one at a time; see `clsuite.scenarios.recurring.build_recurring`.

    Attributes:
        length: Number of tasks of the stream, recurring ones counted each time.
        exponent: The probability of a task decays as this power of the time since it was last seen.
    """

    kind: Literal["recurring"] = "recurring"
    length: int = Field(ge=1, le=LONGEST_STREAM)


class PowerLaw(_Returning):
    """Each task includes shares of all earlier ones; see `clsuite.scenarios.recurring.build_power_law`.

    Attributes:
        exponent: A task that is ``k`` tasks old contributes ``(1 + k)^-exponent`` of its images.
        replayed: Number of images of all earlier tasks together, as a share of the new task's; they are then divided
            among the earlier tasks as ``k^-exponent``. If it is not given, each task contributes its own share, as
            above.
    """

    kind: Literal["power_law"] = "power_law"
    replayed: float | None = Field(default=None, ge=0.0)


class DomainIncremental(_Spec):
    """Each task has a new domain of the same classes.

    Attributes:
        tasks: Number of tasks; by default all domains.
        order: ``seed``, ``given``, a list of domain names, or ``{numpy: SEED}``.
    """

    kind: Literal["domain_incremental"] = "domain_incremental"
    tasks: int | None = Field(default=None, ge=1)
    order: Order = "seed"


class CrossDomain(_Spec):
    """Each task is another data set.

    Attributes:
        tasks: Number of tasks; by default all data sets.
        order: ``given`` (as the benchmark lists them), ``seed``, ``mtil_i`` or ``mtil_ii`` (the paper's orders), a list
            of names, or ``{numpy: SEED}``.
        task_known: Whether the main results are task-aware: the data set of each test image is given (MTIL). Otherwise
            the classes of all data sets compete (X-TAIL). Both are evaluated in any case.
    """

    kind: Literal["cross_domain"] = "cross_domain"
    task_known: bool = True
    tasks: int | None = Field(default=None, ge=1)
    order: CrossOrder = "given"


class Blurry(_Spec):
    """Blurry task boundaries; see `clsuite.scenarios.blurry`.

    Attributes:
        tasks: Number of tasks (the paper: 5).
        disjoint: Share N of the classes that occur in one task only (the paper: 0.5).
        blurry: Share M of the images of the other classes that is scattered over all tasks (the paper: 0.1).
        sizes: Numbers of disjoint classes, blurry classes and scattered images in a task: all ``random`` (Si-blurry, as
            its authors' sampler draws them), ``blurry_equal`` (the same number of blurry classes in each task, the rest
            random), or all ``equal`` (i-Blurry).
        repeats: Number of consecutive steps on each batch, after which its images do not come again (``online_iter`` of
            the Si-blurry code, which uses 3).
    """

    kind: Literal["blurry"] = "blurry"
    tasks: int = Field(default=5, ge=2)
    disjoint: float = Field(default=0.5, ge=0.0, le=1.0)
    blurry: float = Field(default=0.1, ge=0.0, le=1.0)
    sizes: Literal["random", "blurry_equal", "equal"] = "random"
    repeats: int = Field(default=1, ge=1)


class FromAvalanche(Spec):
    """A stream made with Avalanche; the benchmark then has no `dataset`.

    Attributes:
        path: A Python file, absolute or below the benchmark's folder or the data root.
        function: A function in it that takes the seed and returns the Avalanche benchmark.
        source: Hash of the file and of all local modules that it imports, as for a plugin. Records have it. A benchmark
            may state it; a file with another hash is then refused.
    """

    kind: Literal["avalanche"] = "avalanche"
    path: str
    function: str = "make_benchmark"
    source: str | None = None


class OwnScenario(MaybeOwn):
    """A user-defined stream: ``{class: my_package.streams:MyStream, argument: value}``.

    See `clsuite.scenarios.own.ScenarioBuilder`. The class determines the kind of stream.
    """

    KEPT: ClassVar = frozenset({"kind"})

    kind: Literal["own"] = "own"
    own: ClassUse


AnySpec = (
    ClassIncremental
    | TaskIncremental
    | DomainIncremental
    | CrossDomain
    | Recurring
    | PowerLaw
    | LongTailed
    | FewShot
    | Blurry
    | Online
    | FromAvalanche
    | OwnScenario
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
        value = by_entry_point(value, "scenario", "kind", KINDS)
        if CLASS in value or "own" in value:
            return {**value, "kind": "own"}
        kind = str(value.get("kind", "class_incremental"))
        if kind not in KINDS:
            raise ValueError(str(did_you_mean("kind of scenario", kind, [*KINDS, *offered("scenario")])))
        return {**value, "kind": kind}

    @property
    def kind(self) -> str:
        """The kind of stream."""
        return self.root.kind

    @property
    def kinds(self) -> tuple[str, ...]:
        """All kinds that a method must be able to learn; for tasks that are domains, domain-incremental too.

        It is empty for a user-defined stream, whose kind is not known before it is made.
        """
        if isinstance(self.root, OwnScenario):
            return ()  # the class states it when it makes a stream
        return (self.kind, "domain_incremental") if getattr(self.root, "over", "") == "domains" else (self.kind,)


MODELS: dict[str, type[BaseModel]] = {
    "class_incremental": ClassIncremental,
    "task_incremental": TaskIncremental,
    "domain_incremental": DomainIncremental,
    "cross_domain": CrossDomain,
    "recurring": Recurring,
    "power_law": PowerLaw,
    "long_tailed": LongTailed,
    "few_shot": FewShot,
    "blurry": Blurry,
    "online": Online,
    "avalanche": FromAvalanche,
    "own": OwnScenario,
}
