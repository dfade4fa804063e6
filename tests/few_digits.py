"""scikit-learn's digits with some of their test images: streams of all training images, quickly evaluated."""

from __future__ import annotations

import dataclasses

import numpy as np

from clsuite.data.datasets import load_table
from clsuite.data.spec import DatasetSpec
from clsuite.data.table import ImageTable


def few_digits(every: int = 6) -> ImageTable:
    """The digits at 32 pixels, with one of ``every`` test images."""
    table = load_table(DatasetSpec(name="digits"), 32)
    keep = ~table.is_test
    keep[np.flatnonzero(table.is_test)[::every]] = True
    names = ("images", "labels", "domains", "is_test", "digests")
    return dataclasses.replace(table, **{name: getattr(table, name)[keep] for name in names})
