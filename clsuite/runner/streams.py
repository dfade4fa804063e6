"""The stream of a run, from what its benchmark says."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clsuite.data.datasets import load_table
from clsuite.data.spec import DatasetSpec
from clsuite.errors import UserError, did_you_mean
from clsuite.scenarios import Scenario, ScenarioSpec, build_scenario
from clsuite.scenarios.spec import FromAvalanche
from clsuite.written.paths import home_path


def stream_loader(
    dataset: DatasetSpec | None, spec: ScenarioSpec, image_size: int, data_root: Path | None
) -> Callable[[int, int | None], Scenario]:
    """Load what all seeds share; the answer makes the stream of a seed, cut after some tasks.

    Args:
        dataset: The data set; None for a stream made with Avalanche.
        spec: The stream.
        image_size: Side of the images in pixels.
        data_root: Where relative paths are looked for.

    Raises:
        UserError: If the data are not there, or the stream cannot be made from them; later, if it has fewer tasks.
    """
    chosen = spec.root
    if isinstance(chosen, FromAvalanche):
        if dataset is not None:
            raise UserError("an avalanche scenario brings its own images: remove 'dataset'")
        make_benchmark = _function(chosen)

        def make(seed: int) -> Scenario:
            return Scenario.from_avalanche(_call(make_benchmark, seed, chosen), image_size)

    else:
        if dataset is None:
            raise UserError(f"a scenario of kind '{spec.kind}' needs a data set: add dataset: {{name: ...}}")
        table, per_class = load_table(dataset, image_size, data_root), dataset.train_per_class

        def make(seed: int) -> Scenario:
            return build_scenario(table, spec, seed, per_class)

    def load(seed: int, tasks: int | None) -> Scenario:
        scenario = make(seed)
        if tasks and tasks > len(scenario.tasks):
            raise UserError(f"the first {tasks} tasks are asked for, but the stream has {len(scenario.tasks)}")
        return scenario.first(tasks) if tasks else scenario

    return load


def find_stream_file(spec: ScenarioSpec, folders: Sequence[Path]) -> ScenarioSpec:
    """The specification with the whole path of its Python file, looked for in the folders; others as they are.

    Raises:
        UserError: If it is nowhere.
    """
    chosen = spec.root
    if not isinstance(chosen, FromAvalanche):
        return spec
    tried = [folder / home_path(chosen.path) for folder in folders]
    for path in tried:
        if path.is_file():
            return ScenarioSpec(chosen.model_copy(update={"path": str(path.resolve())}))
    raise UserError(f"no stream file at {' or '.join(repr(str(path)) for path in tried)}: mend scenario.path")


def _call(make_benchmark: Callable[[int], Any], seed: int, spec: FromAvalanche) -> Any:
    """What the file's function gives for a seed; complaints name its line."""
    called = f"{spec.function}({seed}) of '{spec.path}'"
    try:
        benchmark = make_benchmark(seed)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # whatever the function raises
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == spec.path]
        where = f" in line {lines[-1]}" if lines else ""
        raise UserError(f"{called} ends{where} with {type(error).__name__}: {error}") from error
    if not hasattr(benchmark, "streams"):
        raise UserError(f"{called} gives {type(benchmark).__name__}, but must return an Avalanche benchmark")
    return benchmark


def _function(spec: FromAvalanche) -> Callable[[int], Any]:
    path = Path(spec.path)
    module_spec = importlib.util.spec_from_file_location(f"clsuite_stream_{path.stem}", path)
    if module_spec is None or module_spec.loader is None:
        raise UserError(f"'{path}' is not a Python file: scenario.path needs one that ends in .py")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_spec.name] = module
    try:
        module_spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever the file raises
        raise UserError(f"'{path}' cannot be imported: {type(error).__name__}: {error}") from error
    if not hasattr(module, spec.function):
        names = [name for name, value in vars(module).items() if callable(value)]
        raise did_you_mean(f"function in '{path}':", spec.function, names)
    function: Callable[[int], Any] = getattr(module, spec.function)
    return function
