"""clsuite: continual learning benchmarks for pre-trained vision models.

``clsuite.run(benchmark, method, seed)`` does one run, or reads its record if it is done; ``clsuite.bench`` does many,
``clsuite.tune`` selects hyperparameters, ``clsuite.compare(first, second)`` compares two methods, and
``clsuite.load_model(record)`` returns a trained model. Methods derive from `Plugin`; `clsuite.plugin` has everything
that is needed to write one. Names are imported on first use, so that importing clsuite is fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clsuite.lazy import imported_on_use

if TYPE_CHECKING:
    from clsuite.api.bench import bench
    from clsuite.api.compare import compare
    from clsuite.api.result import RunResult
    from clsuite.api.run import run
    from clsuite.api.tune import TuneResult, tune
    from clsuite.data import load_dataset
    from clsuite.errors import UserError
    from clsuite.metrics import METRICS
    from clsuite.plugin import Plugin
    from clsuite.records import read_record
    from clsuite.runner.methods import MethodSpec
    from clsuite.runner.model_file import TrainedModel, load_model
    from clsuite.runner.options import BenchOptions
    from clsuite.runner.spec import BenchmarkSpec
    from clsuite.tuning.options import TuneOptions

    __version__: str

_HOMES = {
    "METRICS": "clsuite.metrics",
    "BenchOptions": "clsuite.runner.options",
    "BenchmarkSpec": "clsuite.runner.spec",
    "MethodSpec": "clsuite.runner.methods",
    "Plugin": "clsuite.plugin",
    "RunResult": "clsuite.api.result",
    "TrainedModel": "clsuite.runner.model_file",
    "TuneOptions": "clsuite.tuning.options",
    "TuneResult": "clsuite.api.tune",
    "UserError": "clsuite.errors",
    "bench": "clsuite.api.bench",
    "compare": "clsuite.api.compare",
    "load_dataset": "clsuite.data",
    "load_model": "clsuite.runner.model_file",
    "read_record": "clsuite.records",
    "run": "clsuite.api.run",
    "tune": "clsuite.api.tune",
}

__all__ = [
    "METRICS",
    "BenchOptions",
    "BenchmarkSpec",
    "MethodSpec",
    "Plugin",
    "RunResult",
    "TrainedModel",
    "TuneOptions",
    "TuneResult",
    "UserError",
    "__version__",
    "bench",
    "compare",
    "load_dataset",
    "load_model",
    "read_record",
    "run",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("clsuite")
    return imported_on_use(__name__, _HOMES)(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
