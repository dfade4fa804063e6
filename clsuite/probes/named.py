"""The images of a zero-shot probe, and readable names of their classes. Needs no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clsuite.data.class_names import ClassName
from clsuite.data.curated_names import imagenet_names
from clsuite.data.datasets import load_table, locate
from clsuite.data.fingerprint import table_fingerprint
from clsuite.data.manifest import choose_rows
from clsuite.data.naming import readable, synset_words
from clsuite.data.table import ImageTable
from clsuite.errors import UserError
from clsuite.probes.images import load_probe_images
from clsuite.probes.spec import ZeroShotProbe
from clsuite.records.canonical import sha256_of

WNID = re.compile(r"n\d{8}")


@dataclass(frozen=True)
class NamedTable:
    """A labeled image set.

    Attributes:
        table: The images.
        rows: Rows of the images that are classified.
        names: What prompts call each class.
    """

    table: ImageTable
    rows: NDArray[np.int64]
    names: tuple[ClassName, ...]

    @property
    def fingerprint(self) -> str:
        """Hash of all samples and names."""
        return sha256_of([table_fingerprint(self.table), [name.text for name in self.names]])


def load_named_table(spec: ZeroShotProbe, image_size: int, data_root: Path | None, distinct: bool = True) -> NamedTable:
    """Load the images of a zero-shot probe: all images in a folder, or the test part of a data set.

    Args:
        spec: The images and their names.
        image_size: Side of the images in pixels.
        data_root: Folder below which a relative path is looked for.
        distinct: Whether no two classes of a folder may have the same name, as where names tell them apart. Two of
            ImageNet's classes are both "missile" to OpenAI, and two "sunglasses".

    Raises:
        UserError: If they are missing, a class has no name, or two classes have the same name and must not.
    """
    if spec.dataset is not None:
        table = load_table(spec.dataset, image_size, data_root)
        names, rows = table.class_names, np.flatnonzero(table.is_test)
    else:
        assert spec.path is not None
        table = load_probe_images(spec.path, image_size, data_root)
        found = _folder_names(locate(spec.path, data_root), table.classes, spec.names)
        doubled = next((name for name in found if found.count(name) > 1), None)
        if distinct and doubled is not None:
            raise UserError(f"probe zero_shot: two classes are called '{doubled}', and a text cannot distinguish them")
        names, rows = tuple(map(ClassName, found)), np.arange(len(table))
    return NamedTable(
        table, choose_rows(table.labels, table.domains, rows, spec.images_per_class, "probe images"), names
    )


def _folder_names(root: Path, classes: tuple[str, ...], names_file: str | None) -> tuple[str, ...]:
    if names_file is None and not all(WNID.fullmatch(name) for name in classes):
        return tuple(readable(name) for name in classes)
    if names_file is not None and not (root / names_file).is_file():
        raise UserError(f"probe zero_shot: no file '{root / names_file}' with lines CLASS<tab>name")
    words = synset_words(root / names_file) if names_file else {**synset_words(), **imagenet_names()}
    nameless = next((name for name in classes if not words.get(name)), None)
    if nameless is not None:
        raise UserError(f"probe zero_shot: the class '{nameless}' of '{root}' has no name: give a file by 'names'")
    return tuple(words[name] for name in classes)
