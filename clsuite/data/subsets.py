"""Data sets that authors chose from others, so that they exist as these authors' train and test folders only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from clsuite.data.dataset import Dataset, Folders
from clsuite.data.naming import readable
from clsuite.data.readers.tree import Naming, by_words

C3BOX = "https://github.com/LAMDA-CL/C3Box"


def by_capitals(labels: Sequence[str], root: Path) -> tuple[str, ...]:
    """Folder names in words, which may begin with capitals and not be apart: ``ApplyEyeMakeup``."""
    return tuple(readable(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label)) for label in labels)


def _pilot(summary: str, classes: int, terms: str, url: str, folders: Folders, *homes: str) -> Dataset:
    """A data set that PILOT's authors chose."""
    return Dataset(
        summary, classes, "varies", terms, url=url, place=folders.place, homes=(folders.home, *homes),
        train=folders.train, test=folders.test, split="PILOT's", pilot=folders,
    )  # fmt: skip


def _c3box(home: str, summary: str, classes: int, terms: str, naming: Naming = by_words) -> Dataset:
    """A data set that the authors of PROOF and C3Box chose; no paper states its numbers of images."""
    return Dataset(
        summary, classes, "varies", terms, url=C3BOX, homes=(home,), naming=naming, split="C3Box's",
        place=f"{home}/train/CLASS/* and {home}/val/CLASS/* as PROOF and C3Box distribute them",
    )  # fmt: skip


SUBSETS: dict[str, Dataset] = {
    "objectnet": _pilot(
        "200 classes of things in unusual poses and places, chosen by PILOT's authors", 200,
        "CC BY 4.0, for tests only", "https://objectnet.dev", Folders("objectnet", 26509, 6628, certain=False),
    ),
    "omnibenchmark": _pilot(
        "300 classes of many realms of OmniBenchmark, chosen by PILOT's authors", 300, "none stated (pictures from the "
        "web)", "https://zhangyuanhan-ai.github.io/OmniBenchmark", Folders("omnibenchmark", 89697, 5985, certain=False),
    ),
    "vtab": _pilot(
        "five data sets of VTAB (RESISC45, DTD, Pets, EuroSAT, Flowers), ten classes of each", 50, "those of its parts",
        "https://github.com/LAMDA-CL/LAMDA-PILOT", Folders("vtab-cil/vtab", 1796, 8619, certain=False), "vtab",
    ),
    "aircraft_100": _c3box(
        "aircraft_100", "aircraft by variant, as PROOF and C3Box distribute them", 100, "non-commercial research"
    ),
    "cars_100": _c3box(
        "cars_100", "100 of Stanford's 196 cars, chosen by PROOF's authors", 100, "non-commercial research"
    ),
    "food_100": _c3box(
        "food_100", "100 of Food-101's dishes, chosen by PROOF's authors", 100, "none stated (pictures from the web)"
    ),
    "sun_300": _c3box("sun_300", "300 of SUN397's scenes, chosen by PROOF's authors", 300, "research"),
    "ucf_100": _c3box(
        "ucf_100", "frames of 100 of UCF101's actions, chosen by PROOF's authors", 100,
        "none stated (videos from the web)", by_capitals,
    ),
}  # fmt: skip
