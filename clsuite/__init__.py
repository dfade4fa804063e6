"""clsuite: continual learning benchmarks for pre-trained vision models.

``clsuite.run(benchmark, method, seed)`` does one run, or reads it where it is done, ``clsuite.compare(first, second)``
compares two methods, and ``clsuite.load_model(record)`` gives back a trained model with its grown head. They are
imported on first use, so that importing clsuite stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clsuite.api.compare import compare
    from clsuite.api.result import RunResult
    from clsuite.api.run import run
    from clsuite.errors import UserError
    from clsuite.records import read_record
    from clsuite.runner.model_file import TrainedModel, load_model

_HOMES = {
    "RunResult": "clsuite.api.result",
    "TrainedModel": "clsuite.runner.model_file",
    "UserError": "clsuite.errors",
    "compare": "clsuite.api.compare",
    "load_model": "clsuite.runner.model_file",
    "read_record": "clsuite.records",
    "run": "clsuite.api.run",
}

__all__ = ["RunResult", "TrainedModel", "UserError", "compare", "load_model", "read_record", "run"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'clsuite' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
