"""Class names that papers on CLIP give to classes of common data sets, where these differ from the data sets' own.

Only names that differ are listed; all others are the data set's, in words. The names of ImageNet are OpenAI's, as
OpenCLIP lists them. They are read from OpenCLIP's file, because importing it would import torch.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from clsuite.data.naming import name_synsets, synset_words, text_lines

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CURATED: dict[str, dict[str, str]] = {
    "caltech101": {
        "Faces": "off-center face", "Faces easy": "centered face", "Leopards": "leopard", "Motorbikes": "motorbike",
        "airplanes": "airplane", "car side": "side of a car", "cougar body": "body of a cougar cat",
        "cougar face": "face of a cougar cat", "crocodile head": "head of a crocodile",
        "flamingo head": "head of a flamingo", "snoopy": "snoopy (cartoon beagle)",
        "yin yang": "yin and yang symbol",
    },
    "eurosat": {
        "annual crop": "annual crop land", "herbaceous vegetation": "brushland or shrubland",
        "highway": "highway or road", "industrial": "industrial buildings or commercial buildings",
        "pasture": "pasture land", "permanent crop": "permanent crop land",
        "residential": "residential buildings or homes or apartments", "sea or lake": "lake or sea",
    },
    "flowers102": {"pink-yellow dahlia?": "pink-yellow dahlia"},
    "mnist": {str(digit): f"{digit} - {word}" for digit, word in enumerate(DIGITS)},
}  # fmt: skip
"""Names as in ZSCL's code (Zheng et al., ICCV 2023, mtil/src/datasets/collections.py), by the names in words."""
SYNSETS = {"imagenet": "imagenet_synsets", "imagenet_r": "imagenet_r_synsets", "imagenet_a": "imagenet_a_synsets",
           "tiny_imagenet": "imagenet_synsets"}  # fmt: skip
"""timm's lists of the WordNet ids of data sets; that of Tiny-ImageNet is a part of ImageNet's."""
TINY_IMAGENET = {"crane": "n03126707"}
"""The only word of two ids of ImageNet that is a class of Tiny-ImageNet, which has one of them."""


@cache
def curated_names(dataset: str) -> Mapping[str, str]:
    """The curated name of each class that has one, by its name in the table (underscores as blanks).

    Args:
        dataset: Name of the data set; others than those known here have no curated names.
    """
    if dataset not in SYNSETS:
        return CURATED.get(dataset, {})
    names, wnids, words = imagenet_names(), _wnids(SYNSETS[dataset]), synset_words()
    known = dict(zip(name_synsets(wnids, words), (names[wnid] for wnid in wnids), strict=True))
    return known | {word: names[wnid] for word, wnid in TINY_IMAGENET.items() if dataset == "tiny_imagenet"}


@cache
def imagenet_names() -> Mapping[str, str]:
    """OpenAI's names of ImageNet's 1,000 classes, as OpenCLIP lists them (``IMAGENET_CLASSNAMES``), by WordNet id."""
    path = _installed("open_clip") / "zero_shot_metadata.py"
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "IMAGENET_CLASSNAMES":
            names: Sequence[str] = ast.literal_eval(statement.value)
            return dict(zip(_wnids("imagenet_synsets"), names, strict=True))
    raise AssertionError(f"'{path}' lists no names of ImageNet's classes")


@cache
def _wnids(name: str) -> tuple[str, ...]:
    """The ids in one of timm's lists."""
    return tuple(text_lines(_installed("timm") / "data" / "_info" / f"{name}.txt"))


def _installed(package: str) -> Path:
    """The folder of a package, found without importing it."""
    found = find_spec(package)
    assert found is not None
    assert found.submodule_search_locations is not None
    return Path(found.submodule_search_locations[0])
