"""Data: uint8 tables of images, cached on disk, and the batches gathered from them.

>>> from clsuite.data import load_dataset
>>> table = load_dataset("digits", image_size=32)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clsuite.lazy import imported_on_use

if TYPE_CHECKING:
    from clsuite.data.datasets import load_dataset
    from clsuite.data.own_data import ImageData
    from clsuite.data.table import ImageTable

__all__ = ["ImageData", "ImageTable", "load_dataset"]


__getattr__ = imported_on_use(
    __name__,
    {
        "ImageData": "clsuite.data.own_data",
        "ImageTable": "clsuite.data.table",
        "load_dataset": "clsuite.data.datasets",
    },
)
