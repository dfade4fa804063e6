"""Benchmark specifications: YAML files, shipped by name or written by anyone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from clsuite.backbones.spec import BackboneSpec
from clsuite.config.paths import home_path
from clsuite.config.spec import Spec
from clsuite.config.yaml_models import line_of, load_yaml
from clsuite.data.spec import DatasetSpec
from clsuite.errors import MistakesError, UserError, did_you_mean, listed, several, shortened
from clsuite.learner.options import TrainingSpec
from clsuite.probes.spec import ProbeSpec, check_names
from clsuite.regular_files import is_no_folder
from clsuite.runner.executors.spec import ExecutorSpec
from clsuite.runner.methods import MethodSpec
from clsuite.runner.options import Seed
from clsuite.runner.training import COMMAND_LINE
from clsuite.runner.tuned import TunedSpec, check_searches
from clsuite.scenarios import ScenarioSpec
from clsuite.stream.within_task_spec import EvaluationSpec
from clsuite.trackers.spec import Trackers

LONGEST = 100
"""Largest number of characters of a name that is used for a folder; file systems allow 255 bytes."""


def _checked_name(name: str) -> str:
    """Check the name of a benchmark, which is also the name of a folder."""
    if re.fullmatch(r"\w[\w.-]*", name) is None or len(name) > LONGEST:
        raise ValueError(
            f"a name may only have letters, digits, '_', '-' and '.', and at most {LONGEST} characters, and must not "
            f"begin with '-' or '.': '{shortened(name)}' is not valid"
        )
    return name


class BenchmarkSpec(Spec):
    """A benchmark: a stream, a backbone, how to train, and the methods to compare.

    Attributes:
        name: Short name; records are stored below it.
        title: One line of description.
        tier: ``quickstart``, ``compact`` or ``standard``; any text for your own benchmarks.
        dataset: The data set. Every scenario needs one, except for `avalanche`, which has its own images.
        scenario: The stream of tasks: its kind, and how classes or domains are divided among tasks.
        backbone: The pre-trained network, its weights, and the size of its input.
        training: How each task is trained; a method may change it for itself.
        probes: What is measured in addition to the accuracy matrix, before the stream and after each task.
        limit_tasks: Learn only the first tasks of the stream.
        evaluation: Evaluation within tasks; by default there is only one after each task.
        seeds: Seeds to run; a seed determines class order, initial heads, sample order and augmentation.
        methods: The methods to compare, each with its name in tables.
        more_methods: Methods that run only if they are named, or with ``--methods all``.
        tuned: The searches that chose hyperparameters of the methods above. They are not part of the keys.
        executor: Where the runs are executed, which is not part of their keys; a call or the environment may name
            another.
        log: The trackers that receive what the runs measure: ``csv``, ``tensorboard``, ``wandb`` and ``mlflow``. They
            are not part of the keys either; a call or the environment may name others.
    """

    name: Annotated[str, AfterValidator(_checked_name)]
    title: str = ""
    tier: str = "own"
    dataset: DatasetSpec | None = None
    scenario: ScenarioSpec = ScenarioSpec()
    limit_tasks: int | None = Field(default=None, ge=1)
    backbone: BackboneSpec = BackboneSpec()
    training: TrainingSpec = TrainingSpec()
    probes: Annotated[tuple[ProbeSpec, ...], AfterValidator(check_names)] = ()
    evaluation: EvaluationSpec | None = None
    seeds: tuple[Seed, ...] = Field(default=(0, 1, 2), min_length=1)
    methods: dict[str, MethodSpec] = Field(min_length=1)
    more_methods: dict[str, MethodSpec] = Field(default_factory=dict)
    tuned: tuple[TunedSpec, ...] = ()
    executor: ExecutorSpec | None = None
    log: Trackers = ()

    @model_validator(mode="after")
    def _names_once(self) -> BenchmarkSpec:
        if twice := sorted(set(self.methods) & set(self.more_methods)):
            raise ValueError(f"'{twice[0]}' is listed in methods and in more_methods")
        return self

    @field_validator("methods", "more_methods")
    @classmethod
    def _have_names(cls, methods: dict[str, MethodSpec]) -> dict[str, MethodSpec]:
        if not all(name.strip() for name in methods):
            raise ValueError("a method has an empty name: tables and folders call it by its name")
        return methods

    @field_validator("tuned")
    @classmethod
    def _of_its_methods(cls, tuned: tuple[TunedSpec, ...], info: ValidationInfo) -> tuple[TunedSpec, ...]:
        if {"methods", "more_methods"} <= info.data.keys():  # else they have mistakes of their own
            check_searches(tuned, {**info.data["methods"], **info.data["more_methods"]})
        return tuned

    @property
    def named_methods(self) -> dict[str, MethodSpec]:
        """All its methods."""
        return {**self.methods, **self.more_methods}


class MethodsError(MistakesError):
    """Mistakes in methods; each is reported, with its line if it is in a benchmark's file."""

    def __init__(self, found: Sequence[tuple[str, UserError]]) -> None:
        """Take name and mistake of each method; one that many share is reported once, with some of their names."""
        shared: dict[str, list[tuple[str, UserError]]] = {}
        for name, error in found:
            shared.setdefault(str(error), []).append((name, error))
        self.found = [([name for name, _ in same], same[0][1]) for same in shared.values()]
        alone, first = len(self.found) == 1, found[0][1]
        messages = [
            str(error) if alone else f"method {listed(map(repr, names), 3)}: {error}" for names, error in self.found
        ]
        super().__init__(
            str(several(messages)), path=first.path, line=first.line, field=first.field, suggestion=first.suggestion
        )

    def with_lines(self, path: Path) -> UserError:
        """The same error with the line of each mistake in a file, or else of the method."""
        lines = [_line_of_method(path, names[0], error.field or "") for names, error in self.found]
        if not all(lines) or any(COMMAND_LINE in str(error) for _, error in self.found):
            return self
        by_line = sorted(zip(lines, self.found, strict=True), key=lambda item: item[0])
        return several(_in_benchmark(path, line, names, error) for line, (names, error) in by_line)


def _in_benchmark(path: Path, line: int, names: Sequence[str], error: UserError) -> UserError:
    where = f"methods.{listed(names, 3)}"
    field = f"{where}.{error.field}" if error.field else where
    return UserError.in_file(path, line, UserError(f"{where}: {error}", field=field, suggestion=error.suggestion))


def _line_of_method(path: Path, name: str, field: str) -> int:
    """The line of a method in a benchmark's file, or of the grid that it belongs to; 0 if there is none.

    Args:
        path: The file.
        name: The name of the method.
        field: A dotted key, an argument or a plugin of it; if it is found below the method, its line is returned.
    """
    word = field if re.search(r"[/:]|\.py$", field) else field.rpartition(".")[2]
    ends = [len(name), *(at for at in range(len(name) - 1, 0, -1) if name[at] in "( ")]
    written = (line_of(path, (place, name[:end]), word) for end in ends for place in ("methods", "more_methods"))
    return next((line for line in written if line), 0)


@contextmanager
def with_lines(path: Path, of_methods: bool = True, settings: Iterable[str] = ()) -> Iterator[None]:
    """Add the line of a benchmark's file to mistakes.

    Args:
        path: The file.
        of_methods: Whether the methods are the file's, and not given or changed by the call.
        settings: Dotted keys that the call has set.
    """
    try:
        yield
    except MethodsError as error:
        raise (error.with_lines(path) if of_methods else error) from error
    except UserError as error:
        field = str(error.field)
        known = error.path is None and error.field and not any(f"{key}.".startswith(f"{field}.") for key in settings)
        line = line_of(path, tuple(field.split("."))) if known else 0
        if not line:
            raise
        raise type(error).in_file(path, line, error) from error


@cache
def shipped_benchmarks() -> Mapping[str, Path]:
    """The benchmarks that come with clsuite, by name."""
    folder = Path(str(files("clsuite_benchmarks")))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_benchmark(name: str) -> tuple[BenchmarkSpec, Path]:
    """Load a benchmark by name, from a YAML file or from a Python file with a stream; returns it and the file.

    Raises:
        UserError: If there is none, or it has a mistake.
    """
    if name.endswith(".py"):
        return _benchmark_of_stream(home_path(name)), home_path(name)
    if name.endswith((".yaml", ".yml")):
        path = home_path(name)
    else:
        known = shipped_benchmarks()
        if name not in known:
            if len(name) <= LONGEST and Path(f"{name}.yaml").is_file():
                raise UserError(f"unknown benchmark '{name}'. Did you mean the file '{name}.yaml'?")
            raise did_you_mean("benchmark", name, known)
        path = known[name]
        return _shipped(path, path.stat().st_mtime_ns), path
    return load_yaml(path, BenchmarkSpec), path


@cache
def _shipped(path: Path, changed: int) -> BenchmarkSpec:
    """A shipped benchmark, read once: some callers look through all of them."""
    return load_yaml(path, BenchmarkSpec)


def _benchmark_of_stream(path: Path) -> BenchmarkSpec:
    """The benchmark of a Python file with ``make_benchmark(seed)``: our backbone, training and three methods."""
    if not is_no_folder(path):
        raise UserError(f"no stream file at '{path}'")
    return BenchmarkSpec(
        name=re.sub(r"[^\w.-]", "_", path.stem).lstrip(".-") or "stream",
        scenario=ScenarioSpec.model_validate({"kind": "avalanche", "path": path.name}),
        methods={name: MethodSpec.model_validate(name) for name in ("finetune", "replay", "ncm")},
    )
