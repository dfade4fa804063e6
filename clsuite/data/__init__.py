"""Data: uint8 tables of images, cached on disk, and the batches gathered from them.

>>> from clsuite.data import load_dataset
>>> table = load_dataset("digits", image_size=32)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clsuite.data.datasets import load_dataset
    from clsuite.data.own_data import ImageData
    from clsuite.data.table import ImageTable

__all__ = ["ImageData", "ImageTable", "load_dataset"]


def __getattr__(name: str) -> Any:
    """Import on first use: this package is imported by commands that must answer at once."""
    if name == "load_dataset":
        from clsuite.data.datasets import load_dataset

        return load_dataset
    if name == "ImageTable":
        from clsuite.data.table import ImageTable

        return ImageTable
    if name == "ImageData":
        from clsuite.data.own_data import ImageData

        return ImageData
    raise AttributeError(f"module 'clsuite.data' has no attribute '{name}'")
