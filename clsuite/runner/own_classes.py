"""The user-defined classes of a benchmark: found and hashed for a plan, and found again for a record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from clsuite.config.class_use import CLASS, ClassUse
from clsuite.config.error_text import first_mistake
from clsuite.data.own_data import Bounds, ImageData, own_table
from clsuite.data.spec import DatasetSpec
from clsuite.data.table import ImageTable
from clsuite.errors import UserError
from clsuite.learner.options import TrainingSpec
from clsuite.plugin.loading import is_file
from clsuite.plugin.own_class import Files, called, find_class, make_own, recorded_class
from clsuite.plugin.recorded_plugin import NAME_FOLDER
from clsuite.probes.spec import OwnProbe
from clsuite.runner.spec import BenchmarkSpec
from clsuite.scenarios import Scenario, ScenarioBuilder, ScenarioSpec
from clsuite.scenarios.own import checked_scenario
from clsuite.scenarios.spec import OwnScenario

ChangeClass = Callable[[ClassUse, str], ClassUse]
"""A function that gives a class, used as some part of a benchmark, as it is to be used instead."""

FIELDS = {
    "dataset": "dataset",
    "scenario": "scenario",
    "backbone": "backbone",
    "probe": "probes",
    "optimizer": "training.optimizer",
    "schedule": "training.schedule",
}
"""The field of a benchmark in which a class is named, by the part that it is."""


def bind_classes(spec: BenchmarkSpec, folders: Sequence[Path]) -> tuple[BenchmarkSpec, dict[str, str]]:
    """A benchmark whose classes have their sources, and the files of those that are files.

    Args:
        spec: The benchmark.
        folders: Folders in which files are looked for.

    Raises:
        UserError: If a class is missing, or its files show that it is of another kind.
    """
    bind, files = _binder(folders)
    return with_classes(spec, bind), files


def bind_training(training: TrainingSpec, folders: Sequence[Path]) -> tuple[TrainingSpec, dict[str, str]]:
    """The same for the training of a method."""
    bind, files = _binder(folders)
    return training_with_classes(training, bind), files


def with_classes(spec: BenchmarkSpec, change: ChangeClass) -> BenchmarkSpec:
    """A benchmark with each of its classes changed, except those of its training.

    Args:
        spec: The benchmark.
        change: Changes a class; it is called with the class and with the part of the benchmark that it is.
    """
    changed: dict[str, Any] = {
        "dataset": _changed_dataset(spec.dataset, change) if spec.dataset else None,
        "backbone": _changed(spec.backbone, "backbone", change),
        "probes": tuple(
            _changed(probe, "probe", change) if isinstance(probe, OwnProbe) else probe for probe in spec.probes
        ),
    }
    if isinstance(spec.scenario.root, OwnScenario):
        changed["scenario"] = ScenarioSpec(_changed(spec.scenario.root, "scenario", change))
    return spec.model_copy(update=changed)


def training_with_classes(training: TrainingSpec, change: ChangeClass) -> TrainingSpec:
    """A training with its optimizer and its schedule changed, where they are classes."""
    schedule = training.own_schedule
    changed = {
        "optimizer": _changed(training.optimizer, "optimizer", change),
        "own_schedule": _changed(schedule, "schedule", change) if schedule else None,
    }
    return training.model_copy(update=changed)


def _binder(folders: Sequence[Path]) -> tuple[ChangeClass, dict[str, str]]:
    files: dict[str, str] = {}

    def bind(use: ClassUse, part: str) -> ClassUse:
        try:
            found = find_class(use, part, folders)
        except UserError as error:
            error.field = FIELDS[part]
            raise
        files.update(found.files)
        return found.use

    return bind, files


def _changed(spec: Any, part: str, change: ChangeClass) -> Any:
    return spec if spec.own is None else spec.model_copy(update={"own": change(spec.own, part)})


def _changed_dataset(spec: DatasetSpec, change: ChangeClass) -> Any:
    parts = tuple(_changed_dataset(part, change) for part in spec.parts)
    return _changed(spec.model_copy(update={"parts": parts}), "dataset", change)


def recorded_uses(config: Mapping[str, Any]) -> Iterator[tuple[str, ClassUse]]:
    """The user-defined classes in the configuration of a record, with the parts that they implement.

    Raises:
        UserError: If one of them does not have the form that clsuite writes.
    """
    training = config.get("training") or {}
    entries = [
        *(("dataset", entry) for entry in _datasets(config.get("dataset"))),
        ("scenario", config.get("scenario")),
        ("backbone", config.get("backbone")),
        *(("probe", entry) for entry in config.get("probes") or ()),
        ("optimizer", training.get("optimizer")),
        ("schedule", training.get("schedule")),
    ]
    for part, entry in entries:
        if isinstance(entry, Mapping) and CLASS in entry:
            try:
                content = {key: entry[key] for key in ("class", "args", "source") if key in entry}
                yield part, ClassUse.model_validate(content)
            except ValidationError as error:
                raise UserError(f"its {part} is not one of this version: {first_mistake(error, part)}") from error


def _datasets(entry: Any) -> Iterator[Any]:
    if isinstance(entry, Mapping):
        yield entry
        yield from entry.get("parts") or ()


def recorded_files(
    config: Mapping[str, Any],
    folders: Sequence[Path],
    published: Sequence[Path] = (),
    absent: str = NAME_FOLDER,
    parts: Sequence[str] = (),
) -> dict[str, str]:
    """The files of a record's classes by their source, each checked to be the one that ran. Nothing is imported.

    Args:
        config: The record's configuration.
        folders: Folders in which the caller allows files to be looked for, and run.
        published: Files that are published with the record, whatever their names.
        absent: What the reader can do if there is no such file.
        parts: The parts that are needed; by default all.

    Raises:
        UserError: If one is missing, is not installed, or has changed.
    """
    files: dict[str, str] = {}
    for part, use in recorded_uses(config):
        if not parts or part in parts:
            files.update(recorded_class(use, part, folders, published, absent).files)
    return files


def own_files(config: Mapping[str, Any]) -> list[tuple[str, ClassUse]]:
    """The classes of a record that are files, with the parts that they implement."""
    return [(part, use) for part, use in recorded_uses(config) if is_file(use.name)]


def data_loader(files: Files) -> Callable[[DatasetSpec, int], ImageTable]:
    """A function that loads a data set that is a class; its code runs."""

    def load(spec: DatasetSpec, image_size: int) -> ImageTable:
        use = spec.own
        assert use is not None
        data = make_own(use, "dataset", files, ImageData)
        bounds = Bounds(spec.train_per_class, spec.test_per_class)
        identity = [use.name, use.source, use.args]
        what = f"data set '{use.name}'"
        return called(what, lambda: own_table(data, image_size, what, identity, bounds))

    return load


def scenario_maker(chosen: OwnScenario, table: ImageTable, files: Files) -> Callable[[int], Scenario]:
    """A function that makes the streams of a class; its code runs."""
    builder = make_own(chosen.own, "scenario", files, ScenarioBuilder)  # type: ignore[type-abstract]

    def make(seed: int) -> Scenario:
        what = f"build(table, {seed}) of scenario '{chosen.own.name}'"
        made = called(what, lambda: builder.build(table, seed))
        return checked_scenario(made, what, table.images.shape[-1])

    return make
