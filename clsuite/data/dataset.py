"""The facts that the registry holds for a data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clsuite.data.manifest import Manifest
from clsuite.data.readers.tree import Naming, by_words
from clsuite.data.readers.vision import Vision
from clsuite.errors import UserError, warn_of

OUR_SPLIT = "80/20 of each class, ours"


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation per channel of the training pixels, as values in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Folders:
    """A division into ``train/CLASS/*`` and ``test/CLASS/*`` that papers share, as PILOT distributes it.

    Attributes:
        home: Its folder below the data root, named as in PILOT.
        train: Number of its training images.
        test: Number of its test images.
        certain: Whether a copy with other numbers is refused. Those that only tables of papers state are no ground to
            refuse a copy: it is warned of.
    """

    home: str
    train: int
    test: int
    certain: bool = True

    @property
    def place(self) -> str:
        """Which files to put below the data root, as text."""
        images = f"{self.train:,} + {self.test:,} images"
        return f"{self.home}/train/CLASS/* and {self.home}/test/CLASS/* as PILOT distributes them ({images})"


@dataclass(frozen=True)
class Division:
    """Another division of the official files into training and test images.

    Attributes:
        read: Reads them.
        train: Number of training images, if it is known.
    """

    read: Callable[[Path], Manifest]
    train: int | None = None


@dataclass(frozen=True)
class Dataset:
    """A registered data set.

    Attributes:
        summary: Description in one line.
        classes: Number of classes; None if it is not fixed.
        native: Size of the images as published, in pixels.
        license: Terms of use, in short; the owners' terms apply.
        url: Where to obtain it.
        place: Which files to put below the data root, as text.
        homes: Folders below the data root in which the official files are searched, in this order.
        parts: Files and folders that a home must have; ``.`` is the home itself.
        read: Reads the official files in a home.
        source: The torchvision class that can download it.
        train: Official number of training images; None if there is no official split.
        test: Official number of test images.
        total: Official number of images in both parts.
        domains: Number of domains.
        split: Where the split comes from.
        naming: Turns the folder names of a plain tree into class names.
        tree: Whether a plain tree ``NAME/train/CLASS/*`` is read too.
        statistics: For training from scratch; a pre-trained backbone has its own.
        fingerprint: Fingerprint of all samples, if all copies have the same.
        shared: Whether `read` applies a list of test images that papers share.
        pilot: The division that ``layout: pilot`` selects, if there is one.
        zscl: The division that ``division: zscl`` selects, if it is another one than the usual.
    """

    summary: str
    classes: int | None
    native: str
    license: str
    url: str = ""
    place: str = ""
    homes: tuple[str, ...] = ()
    parts: tuple[str, ...] = (".",)
    read: Callable[[Path], Manifest] | None = None
    source: Vision | None = None
    train: int | None = None
    test: int | None = None
    total: int | None = None
    domains: int = 1
    split: str = "official"
    naming: Naming = by_words
    tree: bool = True
    statistics: Statistics | None = None
    fingerprint: str | None = None
    shared: bool = False
    pilot: Folders | None = None
    zscl: Division | None = None

    @property
    def images(self) -> str:
        """Number of images as text, such as ``50,000 + 10,000``."""
        if self.train is not None and self.test is not None:
            return f"{self.train:,} + {self.test:,}"
        return f"{self.total:,}" if self.total is not None else "any"

    @property
    def normalization(self) -> str:
        """Recommended normalization, as text."""
        if self.statistics is None:
            return "the backbone's mean and std"
        values = [", ".join(f"{x:.4f}" for x in part) for part in (self.statistics.mean, self.statistics.std)]
        return f"the backbone's; from scratch mean ({values[0]}), std ({values[1]})"

    def check(self, manifest: Manifest, where: str, pilot: bool = False) -> None:
        """Check that a copy has the official numbers of classes, domains and images.

        Args:
            manifest: Its samples.
            where: What it is, for the message.
            pilot: Whether the numbers of images must be those of `pilot`.

        Raises:
            UserError: If a number differs; names it.
        """
        tested = int(manifest.is_test.sum())
        train, test = (self.pilot.train, self.pilot.test) if pilot and self.pilot else (self.train, self.test)
        stated = (
            self.pilot is not None and not self.pilot.certain and (train, test) == (self.pilot.train, self.pilot.test)
        )
        found = {
            "classes": (len(manifest.classes), self.classes),
            "domains": (len(manifest.domain_names), self.domains if self.classes is not None else None),
            "training images": (len(manifest) - tested, train),
            "test images": (tested, test),
            "images": (len(manifest), self.total),
        }
        for what, (number, official) in found.items():
            if official is None or number == official:
                continue
            if stated and what.endswith(" images"):
                warn_of(f"{where} has {number:,} {what}, and papers state {official:,}: compare with like copies only")
            else:
                raise UserError(
                    f"{where} has {number:,} {what}, but the official set has {official:,}: the copy is incomplete or "
                    "different. Download it again, or load it as image_folder."
                )
