"""Class names that people, and CLIP's text tower, can read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from clsuite.errors import UserError

NAMES_FILE = "class_names.txt"


def readable(label: str) -> str:
    """A folder's name as words: ``001.Black_footed_Albatross`` becomes ``Black footed Albatross``."""
    return " ".join(re.sub(r"^\d+\.(?=\D)", "", label).replace("_", " ").split())


def synset_words(words: Path | None = None) -> dict[str, str]:
    """The first word of each WordNet id, such as ``n01443537: goldfish``.

    Args:
        words: File of the data set with a line ``WNID<tab>words`` each; timm's list of ImageNet-21k by default.
    """
    if words is None or not words.is_file():
        words = _timm_words()
    lines = (line.split("\t", 1) for line in words.read_text(encoding="utf-8").splitlines() if "\t" in line)
    return {wnid.strip(): text.split(",")[0].strip() for wnid, text in lines}


def _timm_words() -> Path:
    """The list that comes with timm, found without importing it (that would import torch)."""
    package = find_spec("timm")
    assert package is not None
    assert package.submodule_search_locations is not None
    return Path(package.submodule_search_locations[0]) / "data" / "_info" / "imagenet_synset_to_lemma.txt"


def name_synsets(wnids: Sequence[str], words: Mapping[str, str]) -> tuple[str, ...]:
    """Words for WordNet ids; where two have the same word (ImageNet has two cranes), the id is added."""
    names = [words.get(wnid, wnid) for wnid in wnids]
    often = Counter(names)
    return tuple(f"{name} ({wnid})" if often[name] > 1 else name for name, wnid in zip(names, wnids, strict=True))


def read_names(root: Path) -> dict[str, str]:
    """The names of ``class_names.txt``, a line ``LABEL<tab>NAME`` each; none where there is no such file.

    Raises:
        UserError: If a line has another form.
    """
    path = root / NAMES_FILE
    if not path.is_file():
        return {}
    names = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        label, tab, name = line.partition("\t")
        if line.strip() and not (tab and label.strip() and name.strip()):
            raise UserError(f"line {number} of '{path}' is {line!r}, but must be LABEL, a tab, NAME")
        if line.strip():
            names[label.strip()] = name.strip()
    return names


def check_names(labels: Sequence[str], names: Sequence[str], where: str) -> None:
    """See that no two classes have one name; ``_``, ``-`` and blanks are the same here, upper and lower case are not.

    Args:
        labels: What the data set calls the classes.
        names: What we call them.
        where: The data set, for the complaint.

    Raises:
        UserError: If two classes have one name; names both.
    """
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        first = seen.setdefault(re.sub(r"[\s_-]+", " ", name).strip(), index)
        if first != index:
            raise UserError(
                f"two classes of {where} have one name, '{name}': '{labels[first]}' and '{labels[index]}'. "
                "Rename one or merge them."
            )
