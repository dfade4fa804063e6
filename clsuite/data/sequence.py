"""Several data sets as one table, each as a domain: ``dataset: {name: sequence, parts: [...]}`` or ``{name: mtil}``."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from clsuite.config.paths import cache_folder
from clsuite.data.cache import kept_table
from clsuite.data.catalog import MTIL_ORDERS, SEQUENCES
from clsuite.data.seal import table_sha256
from clsuite.data.space import reserve
from clsuite.data.spec import DatasetSpec
from clsuite.data.table import ImageTable
from clsuite.errors import UserError

CHUNK = 1024

Load = Callable[[DatasetSpec], ImageTable]


def load_sequence(spec: DatasetSpec, load: Load) -> ImageTable:
    """Load the parts of a sequence and join them.

    Args:
        spec: ``sequence`` with its parts, or ``mtil``.
        load: Loads one part at the image size of the run.

    Raises:
        UserError: If there are fewer than two parts, a part is a sequence itself, or a part cannot be loaded.
    """
    parts = parts_of(spec) if spec.parts or spec.name == "mtil" else ()
    if len(parts) < 2:
        raise UserError(
            "data set 'sequence' needs at least two parts, such as {name: sequence, parts: [{name: mnist}]}"
        )
    for part in parts:
        if part.name in SEQUENCES:
            raise UserError(f"data set '{part.name}' cannot be a part of a sequence: list its parts")
    shared = ("train_per_class", "test_per_class", "division", "resize")
    bounds = {name: getattr(spec, name) for name in shared if getattr(spec, name) is not None}
    tables = [
        load(part.model_copy(update={name: bound for name, bound in bounds.items() if getattr(part, name) is None}))
        for part in parts
    ]
    return join_tables(tables, part_names(parts))


def parts_of(spec: DatasetSpec) -> tuple[DatasetSpec, ...]:
    """The parts of a sequence, or the data set itself if it is none."""
    if spec.name == "mtil" and not spec.parts:
        return tuple(DatasetSpec(name=name) for name in MTIL_ORDERS["mtil_i"])
    return spec.parts or (spec,)


def part_names(parts: Sequence[DatasetSpec]) -> list[str]:
    """A name for each part: that of its data set or folder, with a number if it is listed twice."""
    plain = [Path(part.path).name if part.path else part.name for part in parts]
    seen: Counter[str] = Counter()
    names = []
    for name in plain:
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return names


def join_tables(tables: Sequence[ImageTable], names: Sequence[str]) -> ImageTable:
    """Join tables of equal image size; each becomes a domain (domains inside a part are merged).

    Classes of different parts stay different: a name that occurs in several parts is prefixed by that of its part
    (``mnist/3``), while prompts call it as before. Gray images are converted to three channels if another part is in
    color. The result is cached.

    Args:
        tables: The parts.
        names: Their names.
    """
    occurring = Counter(name for table in tables for name in table.classes)
    starts = np.cumsum([0, *(len(table.classes) for table in tables)])
    joined = ImageTable(
        images=np.zeros((0, 0, 0, 0), dtype=np.uint8),
        labels=np.concatenate([table.labels + start for table, start in zip(tables, starts, strict=False)]),
        domains=np.repeat(np.arange(len(tables)), [len(table) for table in tables]),
        is_test=np.concatenate([table.is_test for table in tables]),
        digests=np.concatenate([table.digests for table in tables]),
        classes=tuple(
            f"{name}/{label}" if occurring[label] > 1 else label
            for table, name in zip(tables, names, strict=True)
            for label in table.classes
        ),
        domain_names=tuple(names),
    )

    def make(building: Path) -> ImageTable:
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        _join_images(tables, building / "images.npy")
        np.save(building / "digests.npy", joined.digests)
        return joined

    content = ["sequence", 2, [table_sha256(table) for table in tables], list(names)]
    kept = kept_table(content, make, cache_folder())
    return replace(kept, in_prompts=tuple(name for table in tables for name in table.class_names))


def _join_images(tables: Sequence[ImageTable], path: Path) -> None:
    """Write the pixels of all tables to one file."""
    channels = max(table.images.shape[1] for table in tables)
    reserve(path, (sum(len(table) for table in tables), channels, *tables[0].images.shape[2:]))
    target = np.lib.format.open_memmap(path, "r+")
    offset = 0
    for table in tables:
        for start in range(0, len(table), CHUNK):
            chunk = table.images[start : start + CHUNK]
            target[offset : offset + len(chunk)] = chunk  # a gray channel is broadcast to three
            offset += len(chunk)
    target.flush()
