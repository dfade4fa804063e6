"""Class names that are readable for people and for CLIP's text encoder."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from clsuite.errors import UserError
from clsuite.regular_files import read_text

NAMES_FILE = "class_names.txt"
WORDNET = re.compile(r"n\d{8}")


def readable(label: str) -> str:
    """Turn a folder name into words: ``001.Black_footed_Albatross`` becomes ``Black footed Albatross``."""
    return " ".join(re.sub(r"^\d+\.(?=\D)", "", label).replace("_", " ").split())


def synset_words(words: Path | None = None) -> dict[str, str]:
    """The first word of each WordNet id, such as ``n01443537: goldfish``.

    Args:
        words: File of the data set with lines ``WNID<tab>words``; timm's list of ImageNet-21k by default.
    """
    if words is None or not words.is_file():
        words = _timm_words()
    lines = (line.split("\t", 1) for line in text_lines(words) if "\t" in line)
    return {wnid.strip(): text.split(",")[0].strip() for wnid, text in lines}


def text_lines(path: Path) -> list[str]:
    """The lines of a text file in UTF-8, with or without a byte order mark.

    Raises:
        UserError: If it cannot be read, or is not UTF-8.
    """
    try:
        return read_text(path, "utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"'{path}' is not UTF-8 (byte {error.start}): save it in UTF-8") from error


def _timm_words() -> Path:
    """The file of timm's list, found without importing timm (which would import torch)."""
    package = find_spec("timm")
    assert package is not None
    assert package.submodule_search_locations is not None
    return Path(package.submodule_search_locations[0]) / "data" / "_info" / "imagenet_synset_to_lemma.txt"


def name_synsets(wnids: Sequence[str], words: Mapping[str, str]) -> tuple[str, ...]:
    """Words for WordNet ids; if two ids have the same word (ImageNet has two cranes), the id is appended."""
    names = [words.get(wnid, wnid) for wnid in wnids]
    often = Counter(names)
    return tuple(f"{name} ({wnid})" if often[name] > 1 else name for name, wnid in zip(names, wnids, strict=True))


def read_names(root: Path) -> dict[str, str]:
    """The names in ``class_names.txt``, in lines ``LABEL<tab>NAME``; empty if there is no such file.

    Raises:
        UserError: If a line has another form, or a label occurs twice.
    """
    path = root / NAMES_FILE
    if not path.is_file():
        return {}
    names: dict[str, str] = {}
    for number, line in enumerate(text_lines(path), start=1):
        label, _, name = (part.strip() for part in line.partition("\t"))
        if line.strip() and not ("\t" in line and label and name):
            raise UserError(f"line {number} of '{path}' is {line!r}, but must be LABEL, a tab, NAME")
        if label in names:
            raise UserError(f"line {number} of '{path}' names '{label}' for the second time")
        if line.strip():
            names[label] = name
    return names


def check_labels(stated: Mapping[str, str], labels: Sequence[str], root: Path) -> None:
    """Check that ``class_names.txt`` names only classes of the data set.

    Raises:
        UserError: If a label is not a class; suggests the nearest.
    """
    for label in stated:
        if label not in labels:
            near = difflib.get_close_matches(label, labels, n=1, cutoff=0)
            raise UserError(
                f"'{root / NAMES_FILE}' names the class '{label}', but there is no folder of that name: "
                f"did you mean '{near[0]}'?"
            )


def called(name: str, names: Sequence[str]) -> str | None:
    """Find a class by its name, its folder name or its WordNet id.

    >>> called("012.dollar_bill", ["dollar bill", "crab"])
    'dollar bill'

    Args:
        name: What the user wrote.
        names: Class names of the data set.
    """
    if name in names:
        return name
    by_words = {_plain(candidate): candidate for candidate in reversed(names)}
    found = by_words.get(_plain(name)) or by_words.get(_plain(readable(name)))
    if found is None and WORDNET.fullmatch(name):
        word = synset_words().get(name, name)
        found = next((candidate for candidate in names if candidate in (word, f"{word} ({name})")), None)
    return found


def _plain(name: str) -> str:
    """A name in which ``_``, ``-`` and blanks are replaced by single blanks."""
    return re.sub(r"[\s_-]+", " ", name).strip()


def check_names(labels: Sequence[str], names: Sequence[str], where: str) -> None:
    """Check that no two classes have the same name; ``_``, ``-`` and blanks are not distinguished, letter case is.

    Args:
        labels: Class labels of the data set.
        names: Their readable names.
        where: The data set, for the error message.

    Raises:
        UserError: If two classes have the same name; names both.
    """
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        first = seen.setdefault(_plain(name), index)
        if first != index:
            raise UserError(
                f"two classes of {where} have one name, '{name}': '{labels[first]}' and '{labels[index]}'. "
                "Rename one or merge them."
            )
