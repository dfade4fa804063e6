"""The name of a class in prompts, which is apart from its unique name in tables and records."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from clsuite.data.curated_names import curated_names, imagenet_names
from clsuite.data.naming import WORDNET, readable, synset_words
from clsuite.data.spec import DatasetSpec

APPENDED_ID = re.compile(r" \(n\d{8}\)$")
"""The id that distinguishes two classes with one word."""


class ClassName(NamedTuple):
    """What prompts call a class; several classes may be called the same.

    Attributes:
        text: Its name in words: curated if the data set has such names, and never with underscores or ids.
        dataset: The data set that it belongs to, which decides on its templates; empty if it is not known.
    """

    text: str
    dataset: str = ""


def name_classes(classes: Sequence[str], dataset: str = "") -> tuple[ClassName, ...]:
    """The names in prompts of the classes of a data set.

    >>> name_classes(["Faces_easy", "crane (n03126707)", "n01443537"], "caltech101")[1:]
    (ClassName(text='crane', dataset='caltech101'), ClassName(text='goldfish', dataset='caltech101'))

    Args:
        classes: Their names in the table.
        dataset: Name of the data set.
    """
    curated = curated_names(dataset)
    return tuple(ClassName(curated.get(readable(name)) or _in_words(name), dataset) for name in classes)


def known_as(spec: DatasetSpec) -> str:
    """The name of a data set for templates and curated names: that of the folder for a user's own images."""
    return Path(spec.path).name if spec.path and spec.name in ("image_folder", "hf") else spec.name


def _in_words(name: str) -> str:
    if WORDNET.fullmatch(name):
        return imagenet_names().get(name) or synset_words().get(name) or name
    return APPENDED_ID.sub("", readable(name))
