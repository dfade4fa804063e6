"""The options of a call: each is defined once, for the command line and Python. Needs no torch.

The command line makes its options from the fields below (`clsuite.cli.arguments`), and `clsuite.run`, `clsuite.bench`
and `clsuite.tune` accept them as keywords. Names, types, bounds, defaults and descriptions are defined nowhere else.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from clsuite.config.devices import checked_device
from clsuite.config.error_text import in_words
from clsuite.config.paths import home_path
from clsuite.config.spec import LARGEST_SEED, Spec
from clsuite.errors import UserError, did_you_mean, printable
from clsuite.runner.claims import STALE_AFTER
from clsuite.runner.executors.spec import ExecutorName
from clsuite.stream.within_task_spec import CURVE_POINTS, Steps
from clsuite.trackers.spec import Trackers

Read = TypeVar("Read")


def as_field_error(read: Callable[[Any], Read]) -> Callable[[Any], Read]:
    """Turn a reader's `UserError` into a field's error, which then has the name of the option in front."""

    def checked_value(value: Any) -> Read:
        try:
            return read(value)
        except UserError as error:
            raise ValueError(str(error)) from error

    return checked_value


Folder = Annotated[Path, BeforeValidator(as_field_error(home_path))]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED, strict=True)]
ORDER_STARTS = 3
"""Number of drawn orders with which a search for the worst and the best begins; tables have their mean from them."""


def _orders(value: Any) -> Any:
    """A number of orders, or the word for a search."""
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if value is None or value == "extreme" or (type(value) is int and 1 <= value <= LARGEST_SEED):
        return value
    raise ValueError(f"write a number of orders, such as 20, or 'extreme', not {printable(str(value))!r}")


Orders = Annotated[int | Literal["extreme"] | None, BeforeValidator(_orders)]
INTERNAL = ("on_validation",)
"""Fields that users cannot set."""
Options = TypeVar("Options", bound=Spec)
Function = TypeVar("Function", bound=Callable[..., Any])


def _none_is_empty(value: Any) -> Any:
    return {} if value is None else value


Settings = Annotated[dict[str, Any], BeforeValidator(_none_is_empty)]


class RunOptions(Spec):
    """Options for all runs of a benchmark, besides the benchmark itself.

    Attributes:
        methods: Methods instead of the benchmark's, as on the command line.
        on_validation: Evaluate on the validation parts, and leave out the test parts, as the trials of ``clsuite tune``
            do; no command has this option.
        training: Changes to the training of the benchmark and of its methods, such as ``{"epochs": 1}``.
    """

    out: Folder = Field(default=Path("runs"), description="folder for records, tables and plots")
    data_root: Folder | None = Field(default=None, description="folder of data sets and weights")
    device: Annotated[str, AfterValidator(as_field_error(checked_device))] = Field(
        default="auto", description="auto, cpu, cuda, cuda:N or mps"
    )
    devices: int = Field(
        default=1,
        ge=1,
        description="number of devices that share each run by dividing its batches (with cpu: processes)",
    )
    methods: tuple[str, ...] = ()
    seeds: tuple[Seed, ...] = Field(default=(), description="seeds, comma-separated, instead of the benchmark's")
    orders: Orders = Field(
        default=None,
        description="number of class orders (domains, data sets) to run, drawn with the seeds 0, 1, ... apart from the "
        "run's seed, the same for every method; each with the first seed, or those of --seeds. Or 'extreme': search "
        "for the worst and the best order of each method",
    )
    order_budget: int = Field(
        default=15, ge=ORDER_STARTS + 2, description="number of orders that --orders extreme runs of each method"
    )
    training: Settings = Field(
        default_factory=dict,
        description="training settings that override those of the benchmark and the methods, such as "
        "'loss=local, optimizer.lr=0.003'; a list instead of a single value is a sweep, 'optimizer.lr=[0.001, 0.01]'",
    )
    limit_tasks: int | None = Field(
        default=None, ge=1, description="number of tasks after which the stream is cut, instead of the benchmark's"
    )
    eval_every: Steps | None = Field(
        default=None,
        description="also evaluate within tasks, at intervals of this number of steps, on a part of the test images",
    )
    curve_points: int = Field(
        default=CURVE_POINTS,
        ge=0,
        description="number of points per task in the curves of the loss and of logged values, each the mean over "
        "equally many steps; 0 stores no curves (`clsuite plot --kind loss`)",
    )
    log: Trackers | None = Field(
        default=None,
        description="trackers, comma-separated: csv, tensorboard, wandb, mlflow, or none; by default those of "
        "CLSUITE_LOG or the benchmark",
    )
    save_model: bool = Field(default=False, description="save each trained model beside its record")
    keep_states: bool = Field(
        default=False,
        description="keep the state after each task beside the record, and its hash in it, so that others can audit "
        "the run by learning single tasks again (`clsuite leaderboard audit`)",
    )
    no_feature_store: bool = Field(
        default=False,
        description="compute all features in each run: neither use features that other runs have stored, nor store any",
    )
    on_validation: bool = False


class BenchOptions(RunOptions):
    """Options of a call: for its runs, and for how they are done."""

    settings: Settings = Field(
        default_factory=dict,
        description="a field of the benchmark and its value as in YAML, such as training.optimizer.lr=0.001 or "
        "scenario.tasks=20; may be repeated",
    )
    rank_by: Literal["mean", "worst"] = Field(
        default="mean",
        description="order of the table: by the mean of the final accuracy, or by its value in the worst order",
    )
    jobs: int | None = Field(
        default=None, ge=1, description="number of simultaneous runs; by default as many as the cores allow"
    )
    timeout: float | None = Field(
        default=None,
        gt=0,
        description="seconds after which a run is ended; the check of a method before the runs has the same limit, but "
        "at most 300",
    )
    debug: bool = Field(
        default=False, description="run in this process, one run after another, so that breakpoint() and pdb work"
    )
    executor: ExecutorName | None = Field(
        default=None,
        description="where the runs are done: debug (in this process), local (processes of this machine), ray or slurm "
        "(a cluster); by default CLSUITE_EXECUTOR or the benchmark's, otherwise local",
    )
    executor_options: Settings = Field(
        default_factory=dict,
        description="an option of the executor and its value, such as partition=gpu; may be repeated",
    )
    force: bool = Field(default=False, description="repeat finished runs")
    stale_after: float = Field(
        default=STALE_AFTER,
        gt=0,
        description="seconds without a heartbeat after which a run of another process is taken over; must be the same "
        "for all processes that share a folder",
    )


class AuditOptions(Spec):
    """Options of an audit: how much of some runs is repeated."""

    share: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="share of the cost of rerunning all that is spent; more if one task of each method costs more",
    )
    seed: Seed | None = Field(
        default=None, description="seed of the draw, to repeat an audit; by default one that nobody can foresee"
    )
    images: int = Field(
        default=20, ge=1, description="least number of test images of each evaluation that are predicted again"
    )
    steps: int = Field(
        default=3,
        ge=1,
        le=10,
        description="number of steps at the beginning of a task of each run whose losses are computed again",
    )


class RunKeywords(TypedDict, total=False):
    """The options of `clsuite.run` for editors and type checkers; `BenchOptions` describes them."""

    out: str | Path
    data_root: str | Path | None
    device: str
    devices: int
    training: Mapping[str, Any] | None
    settings: Mapping[str, Any] | None
    limit_tasks: int | None
    eval_every: int | None
    curve_points: int
    log: str | Sequence[str] | None
    save_model: bool
    keep_states: bool
    no_feature_store: bool
    timeout: float | None
    debug: bool
    force: bool
    stale_after: float


class CallKeywords(RunKeywords, total=False):
    """The options that `clsuite.bench` and `clsuite.tune` share."""

    jobs: int | None
    executor: str | None
    executor_options: Mapping[str, Any] | None


class BenchKeywords(CallKeywords, total=False):
    """The options of `clsuite.bench` for editors and type checkers; `BenchOptions` describes them."""

    orders: int | str | None
    order_budget: int


def checked(model: type[Options], given: Mapping[str, Any], call_it: Callable[[str], str] = str) -> Options:
    """Make options from given values.

    Args:
        model: The options that there are.
        given: Values by the names of the fields.
        call_it: Gives the user's name of an option, such as ``--limit-tasks`` for ``limit_tasks``.

    Raises:
        UserError: If there is no such option, or a value is not valid.
    """
    known = [call_it(name) for name in model.model_fields if name not in INTERNAL]
    for name in given:
        if call_it(name) not in known:
            raise did_you_mean("option", call_it(name), known)
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UserError(in_words(first, printable(call_it(str(first["loc"][0]))))) from error


def takes(model: type[Spec], *names: str) -> Callable[[Function], Function]:
    """Make a function with ``**options`` show all of them in `help` and notebooks, with defaults and descriptions.

    Args:
        model: Where the options are defined.
        names: The options that the function accepts.
    """
    fields = {name: model.model_fields[name] for name in names}
    words = [f"    {name}: {field.description}." for name, field in fields.items()]

    def shown(function: Function) -> Function:
        signature = inspect.signature(function)
        own = [
            parameter
            for parameter in signature.parameters.values()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        more = [_parameter(name, field.get_default(call_default_factory=True)) for name, field in fields.items()]
        function.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
        function.__doc__ = "\n".join([inspect.cleandoc(function.__doc__ or ""), "", "Options:", *words])
        return function

    return shown


def _parameter(name: str, default: Any) -> inspect.Parameter:
    shown = str(default) if isinstance(default, Path) else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=shown)
