"""clsuite: continual learning benchmarks for pre-trained vision models.

``clsuite.load_model(record)`` gives back a trained model with its grown head. It is imported on first use, so that
importing clsuite stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clsuite.records import read_record
    from clsuite.runner.model_file import load_model

__all__ = ["load_model", "read_record"]


def __getattr__(name: str) -> Any:
    if name == "load_model":
        from clsuite.runner.model_file import load_model

        return load_model
    if name == "read_record":
        from clsuite.records import read_record

        return read_record
    raise AttributeError(f"module 'clsuite' has no attribute '{name}'")
