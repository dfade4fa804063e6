"""The arguments of `clsuite.run`, `clsuite.bench` and `clsuite.tune`: benchmarks and methods in any of their forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from clsuite.errors import UserError
from clsuite.plugin.catalog import catalog
from clsuite.runner.methods import MethodSpec
from clsuite.runner.plan import RunPlan
from clsuite.runner.settings import with_settings
from clsuite.runner.spec import BenchmarkSpec, load_benchmark

Benchmark = str | Path | BenchmarkSpec
Method = str | type | Sequence[Any] | Mapping[str, Any] | MethodSpec


def open_benchmark(benchmark: Benchmark, settings: Mapping[str, Any]) -> tuple[BenchmarkSpec, Path]:
    """The benchmark with the settings of a call, and the folder in which its relative paths are looked for.

    Raises:
        UserError: If there is no such benchmark, or it has no such field.
    """
    if isinstance(benchmark, BenchmarkSpec):
        return with_settings(benchmark, settings), Path()
    spec, path = load_benchmark(str(benchmark))
    return with_settings(spec, settings), path.parent


def read_method(method: Method) -> MethodSpec:
    """A method in any form: a string, a plugin's class, a list of plugins, or a `MethodSpec`.

    Raises:
        UserError: If it is not one of these, or the process of a run cannot import its class.
    """
    if isinstance(method, MethodSpec):
        return method
    plugins = [method] if isinstance(method, type) else method
    named = [_named(part) for part in plugins] if isinstance(plugins, list | tuple) else plugins
    try:
        return MethodSpec.model_validate(named)
    except ValidationError as error:
        raise UserError(
            f"cannot read the method {method!r}: give a string such as 'lwf+replay(capacity=50)', a plugin's class, "
            "or a list of plugins such as ['lwf', {'replay': {'capacity': 50}}]"
        ) from error


def _named(plugin: Any) -> Any:
    """A plugin's class by the name with which the process of a run can import it."""
    if not isinstance(plugin, type):
        return plugin
    if plugin.__module__ == "__main__" or "." in plugin.__qualname__:
        raise UserError(
            f"the class '{plugin.__qualname__}' has no file of its own, so no record could say what ran: write it into "
            "one (in a notebook: %%writefile my_method.py) and give './my_method.py'"
        )
    target = f"{plugin.__module__}:{plugin.__name__}"
    return next((info.name for info in catalog().values() if info.target == target and info.source), target)


def plugin_folders(plan: RunPlan) -> list[Path]:
    """The folders of a run's plugins that are files."""
    files = [info.target.rpartition(":")[0] for info in plan.plugins]
    return [Path(file).parent for file in files if file.endswith(".py")]
