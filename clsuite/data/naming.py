"""Class names that people, and CLIP's text tower, can read."""

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
    """A folder's name as words: ``001.Black_footed_Albatross`` becomes ``Black footed Albatross``."""
    return " ".join(re.sub(r"^\d+\.(?=\D)", "", label).replace("_", " ").split())


def synset_words(words: Path | None = None) -> dict[str, str]:
    """The first word of each WordNet id, such as ``n01443537: goldfish``.

    Args:
        words: File of the data set with a line ``WNID<tab>words`` each; timm's list of ImageNet-21k by default.
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
        UserError: If a line has another form, or names a label for the second time.
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
    """See that ``class_names.txt`` names nothing but classes of the data set.

    Raises:
        UserError: If a label is none; names the nearest.
    """
    for label in stated:
        if label not in labels:
            near = difflib.get_close_matches(label, labels, n=1, cutoff=0)
            raise UserError(
                f"'{root / NAMES_FILE}' names the class '{label}', but there is no folder of that name: "
                f"did you mean '{near[0]}'?"
            )


def called(name: str, names: Sequence[str]) -> str | None:
    """The one of some names that people mean: as it is, as its folder is called, or by its WordNet id.

    >>> called("012.dollar_bill", ["dollar bill", "crab"])
    'dollar bill'

    Args:
        name: As people write it.
        names: As the data set has them.
    """
    if name in names:
        return name
    by_words = {_plain(one): one for one in reversed(names)}
    found = by_words.get(_plain(name)) or by_words.get(_plain(readable(name)))
    if found is None and WORDNET.fullmatch(name):
        word = synset_words().get(name, name)
        found = next((one for one in names if one in (word, f"{word} ({name})")), None)
    return found


def _plain(name: str) -> str:
    """A name with ``_``, ``-`` and blanks as the same."""
    return re.sub(r"[\s_-]+", " ", name).strip()


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
        first = seen.setdefault(_plain(name), index)
        if first != index:
            raise UserError(
                f"two classes of {where} have one name, '{name}': '{labels[first]}' and '{labels[index]}'. "
                "Rename one or merge them."
            )
