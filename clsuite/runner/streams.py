"""Makes the stream of a run from its benchmark."""

from __future__ import annotations

import ast
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from clsuite.config.paths import home_path
from clsuite.data.datasets import load_table
from clsuite.data.spec import DatasetSpec
from clsuite.data.table import ImageTable
from clsuite.errors import UserError, did_you_mean, is_foreign, words_of
from clsuite.plugin.loading import read_text, run_text
from clsuite.plugin.own_class import Files
from clsuite.plugin.recorded_plugin import NAME_FOLDER, plain_name
from clsuite.plugin.source_hash import HashedSource, Home, hashed_source
from clsuite.plugin.source_loader import import_from_source
from clsuite.regular_files import is_no_folder
from clsuite.runner.own_classes import data_loader, scenario_maker
from clsuite.scenarios import Scenario, ScenarioSpec, build_scenario, from_avalanche
from clsuite.scenarios.own import checked_scenario
from clsuite.scenarios.spec import FromAvalanche, OwnScenario


class StreamLoader(Protocol):
    """Makes the streams of a benchmark over data that are read once."""

    def __call__(self, seed: int, tasks: int | None, other: ScenarioSpec | None = None) -> Scenario:
        """Make the stream of a seed.

        Args:
            seed: The seed of the run.
            tasks: Number of tasks after which it is cut; None takes all.
            other: Another specification of the stream, such as with another order, instead of the benchmark's.
        """


def stream_loader(
    dataset: DatasetSpec | None,
    spec: ScenarioSpec,
    image_size: int,
    data_root: Path | None,
    files: Files | None = None,
) -> StreamLoader:
    """Load what all seeds and orders share; the result makes the stream of a seed.

    Args:
        dataset: The data set; None for a stream made with Avalanche.
        spec: The stream.
        image_size: Side of the images in pixels.
        data_root: Folder in which relative paths are looked for.
        files: The files of the data set's and the stream's classes, by their source.

    Raises:
        UserError: If the data are missing, or the stream cannot be made from them; later, if it has fewer tasks.
    """
    make: Callable[[int, ScenarioSpec], Scenario]
    if isinstance(spec.root, FromAvalanche):
        if dataset is not None:
            raise UserError("an avalanche scenario brings its own images: remove 'dataset'")
        make = _from_file(spec.root, image_size)
    else:
        if dataset is None:
            raise UserError(f"a scenario of kind '{spec.kind}' needs a data set: add dataset: {{name: ...}}")
        own = data_loader(files or {})
        make = _from_table(spec, load_table(dataset, image_size, data_root, own=own), dataset, files or {})

    def load(seed: int, tasks: int | None, other: ScenarioSpec | None = None) -> Scenario:
        scenario = make(seed, other or spec)
        if tasks and tasks > len(scenario.tasks):
            raise UserError(f"the first {tasks} tasks are requested, but the stream has {len(scenario.tasks)}")
        return scenario.first(tasks) if tasks else scenario

    return load


def _from_file(chosen: FromAvalanche, image_size: int) -> Callable[[int, ScenarioSpec], Scenario]:
    """A function that makes the streams of a Python file; its code runs."""
    make_benchmark = _function(chosen)
    return lambda seed, _: _read(_call(make_benchmark, seed, chosen), seed, chosen, image_size)


def _from_table(
    spec: ScenarioSpec, table: ImageTable, dataset: DatasetSpec, files: Files
) -> Callable[[int, ScenarioSpec], Scenario]:
    """A function that makes the streams over a table."""
    if isinstance(spec.root, OwnScenario):
        make = scenario_maker(spec.root, table, files)
        return lambda seed, _: make(seed)
    return lambda seed, chosen: build_scenario(table, chosen, seed, dataset.train_per_class)


def find_stream_file(spec: ScenarioSpec, folders: Sequence[Path]) -> ScenarioSpec:
    """The specification with the absolute path and the source of its Python file; others are returned unchanged.

    Args:
        spec: The stream, as the user names it.
        folders: Folders in which the file is looked for.

    Raises:
        UserError: If it is not found, is not Python, or differs from the stated source.
    """
    chosen = spec.root
    if not isinstance(chosen, FromAvalanche):
        return spec
    tried = [folder / home_path(chosen.path) for folder in folders]
    for path in tried:
        if is_no_folder(path):
            return _located(chosen, path.resolve())
    raise UserError(f"no stream file at {' or '.join(repr(str(path)) for path in tried)}: correct scenario.path")


def recorded_stream(
    spec: ScenarioSpec, folders: Sequence[Path], published: Sequence[Path] = (), absent: str = NAME_FOLDER
) -> ScenarioSpec:
    """The same for the stream of a record, which may come from anyone: only the file's name is used, and its source.

    Args:
        spec: The stream, as the record has it.
        folders: Folders in which the caller allows a file to be looked for, and run.
        published: Files that are published with the stream, whatever their names.
        absent: What the reader can do if there is no such file.

    Raises:
        UserError: If the record has a path or no source, or no such file has that source.
    """
    chosen = spec.root
    if not isinstance(chosen, FromAvalanche):
        return spec
    name = plain_name(chosen.path, "stream file")
    if chosen.source is None:
        raise UserError(f"the record does not know the source of its stream file '{name}': run the benchmark again")
    there = [path for path in (*(folder / name for folder in folders), *published) if path.is_file()]
    for path in there:
        with suppress(UserError):
            return _located(chosen, path.resolve())
    if not there:
        raise UserError(f"the stream comes from the file '{name}', whose code would run: {absent}")
    raise UserError(
        f"the stream file '{there[0]}' is not the one that the run was made with (source {chosen.source[:12]}): "
        "restore that version, or run the benchmark again"
    )


def _located(chosen: FromAvalanche, path: Path) -> ScenarioSpec:
    """The specification of a stream with the absolute path and the source of its file, if that is the stated one."""
    source = _source_of(path, read_text(path)).sha256
    if chosen.source not in (None, source):
        raise UserError(_other_source(path))
    return ScenarioSpec(chosen.model_copy(update={"path": str(path), "source": source}))


def _source_of(path: Path, text: str) -> HashedSource:
    try:
        return hashed_source(ast.parse(text), Home("", path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"'{path}' cannot be imported: {words_of(error)}") from error


def _other_source(path: Path) -> str:
    return f"the stream file '{path}' is another one than scenario.source states, or changed since: run it again"


def _call(make_benchmark: Callable[[int], Any], seed: int, spec: FromAvalanche) -> Any:
    """The result of the file's function for a seed; errors name its line."""
    called = f"{spec.function}({seed}) of '{spec.path}'"
    try:
        benchmark = make_benchmark(seed)
    except UserError:
        raise
    except BaseException as error:  # any error of the function
        if not is_foreign(error):
            raise
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == spec.path]
        where = f" in line {lines[-1]}" if lines else ""
        raise UserError(f"{called} ends{where} with {words_of(error)}") from error
    return benchmark


def _read(benchmark: Any, seed: int, spec: FromAvalanche, image_size: int) -> Scenario:
    """The stream that the function returned, which may be anything."""
    result = f"{spec.function}({seed}) of '{spec.path}' gives {type(benchmark).__name__}"
    try:
        if isinstance(benchmark, Scenario):
            return checked_scenario(benchmark, f"{spec.function}({seed}) of '{spec.path}'", image_size)
        if not hasattr(benchmark, "streams"):
            raise UserError(f"{result}, but must return an Avalanche benchmark or a clsuite.scenarios.Scenario")
        return from_avalanche(benchmark, image_size)
    except UserError:
        raise
    except BaseException as error:  # any error of its properties and data sets
        if not is_foreign(error):
            raise
        raise UserError(f"{result}, which cannot be read as an Avalanche benchmark: {words_of(error)}") from error


def _function(spec: FromAvalanche) -> Callable[[int], Any]:
    """The function of a stream's file; the code that runs is the text whose hash is the stated one."""
    path = Path(spec.path)
    text = read_text(path)
    source = _source_of(path, text)
    if spec.source not in (None, source.sha256):
        raise UserError(_other_source(path))
    import_from_source(source)
    name = "clsuite_stream_" + re.sub(r"\W", "_", path.stem)
    sys.modules.pop(name, None)
    try:
        module = run_text(name, spec.path, text)
    except UserError:
        raise
    except BaseException as error:  # any error of the file
        if not is_foreign(error):
            raise
        raise UserError(f"'{path}' cannot be imported: {words_of(error)}") from error
    if not hasattr(module, spec.function):
        names = [name for name, value in vars(module).items() if callable(value)]
        raise did_you_mean(f"function in '{path}':", spec.function, names)
    function: Callable[[int], Any] = getattr(module, spec.function)
    return function
