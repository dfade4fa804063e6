"""Manifests: the samples of a data set and the places of their pixels, before anything is decoded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clsuite.data.stable_random import stable_random
from clsuite.data.table import ImageTable, digest
from clsuite.errors import UserError


class Sample(NamedTuple):
    """An image file with its class, part and domain.

    Attributes:
        path: Path relative to the folder of the data set, with ``/``.
        label: Name of its class.
        is_test: Whether it belongs to the test part.
        domain: Name of its domain; empty if there are no domains.
    """

    path: str
    label: str
    is_test: bool
    domain: str = ""


@dataclass(frozen=True)
class Files:
    """Pixels in image files ``root/names[i]``, which always have three channels.

    Attributes:
        root: Folder of the data set.
        names: Paths of the files, relative to `root`.
        digests: uint8 ``[N, 16]``, the digest of each file; None until they are read.
    """

    root: Path
    names: tuple[str, ...]
    digests: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Pixels:
    """Pixels in memory: uint8 ``[N, H, W]`` (gray) or ``[N, H, W, 3]``, with the digest of each image ``[N, 16]``."""

    images: NDArray[np.uint8]
    digests: NDArray[np.uint8]
    resample: Literal["bicubic", "bilinear"] = "bicubic"


@dataclass(frozen=True)
class Manifest:
    """All samples of a data set, one per row.

    Attributes:
        source: Where the pixels are.
        labels: int64 ``[N]``, indices into `classes`.
        domains: int64 ``[N]``, indices into `domain_names`.
        is_test: bool ``[N]``.
        classes: Class names.
        domain_names: Domain names; one empty name if the data set has no domains.
    """

    source: Files | Pixels
    labels: NDArray[np.int64]
    domains: NDArray[np.int64]
    is_test: NDArray[np.bool_]
    classes: tuple[str, ...]
    domain_names: tuple[str, ...] = ("",)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def digests(self) -> NDArray[np.uint8]:
        """The digest of each sample ``[N, 16]``; those of files must have been computed before."""
        assert self.source.digests is not None
        return self.source.digests

    @property
    def identity(self) -> str:
        """Hash of the content of all samples and of all columns: all that determines a table, except its image size."""
        hashed = hashlib.sha256(json.dumps([len(self), self.classes, self.domain_names]).encode())
        if isinstance(self.source, Pixels):
            hashed.update(f"{self.source.images.shape} {self.source.resample}".encode())
        for column in (self.digests, self.labels.astype("<i8"), self.domains.astype("<i8"), self.is_test):
            hashed.update(np.ascontiguousarray(column).tobytes())
        return hashed.hexdigest()

    def limited(self, train_per_class: int | None, test_per_class: int | None) -> Manifest:
        """At most this many images of each class, domain and part: a fixed selection, independent of seeds."""
        if train_per_class is None and test_per_class is None:
            return self
        kept = [
            choose_rows(self.labels, self.domains, np.flatnonzero(self.is_test == part), bound, purpose)
            for part, bound, purpose in (
                (False, train_per_class, "train_per_class"),
                (True, test_per_class, "test_per_class"),
            )
        ]
        return self._rows(np.sort(np.concatenate(kept)))

    def _rows(self, rows: NDArray[np.int64]) -> Manifest:
        source: Files | Pixels
        if isinstance(self.source, Files):
            digests = None if self.source.digests is None else self.source.digests[rows]
            source = replace(self.source, names=tuple(self.source.names[row] for row in rows), digests=digests)
        else:
            source = replace(self.source, images=self.source.images[rows], digests=self.source.digests[rows])
        columns: dict[str, Any] = {name: getattr(self, name)[rows] for name in ("labels", "domains", "is_test")}
        return replace(self, source=source, **columns)


Columns = Manifest | ImageTable
"""A table or manifest: anything with label, domain and part of each row."""


def choose_rows(
    labels: NDArray[np.int64],
    domains: NDArray[np.int64],
    rows: NDArray[np.int64],
    bound: int | None,
    purpose: str,
) -> NDArray[np.int64]:
    """At most `bound` of the given rows of each class and domain, in ascending order: a fixed random selection."""
    if bound is None:
        return rows
    group = labels[rows] * (int(domains.max(initial=0)) + 1) + domains[rows]
    order = stable_random(0, purpose).permutation(len(rows))
    rank = np.empty(len(rows), dtype=np.int64)
    counts: dict[int, int] = {}
    for position in order:
        key = int(group[position])
        rank[position] = counts[key] = counts.get(key, 0) + 1
    return rows[rank <= bound]


def list_samples(root: Path, samples: Sequence[Sample], classes: Sequence[str] | None = None) -> Manifest:
    """Make a manifest of image files, in the given order.

    Args:
        root: Folder of the data set.
        samples: The files.
        classes: Names of the classes in the order of their labels; sorted by default.
    """
    known = list(classes) if classes is not None else sorted({sample.label for sample in samples})
    domain_names = sorted({sample.domain for sample in samples})
    label_of = {name: index for index, name in enumerate(known)}
    domain_of = {name: index for index, name in enumerate(domain_names)}
    return Manifest(
        source=Files(root, tuple(sample.path for sample in samples)),
        labels=np.array([label_of[sample.label] for sample in samples], dtype=np.int64),
        domains=np.array([domain_of[sample.domain] for sample in samples], dtype=np.int64),
        is_test=np.array([sample.is_test for sample in samples], dtype=np.bool_),
        classes=tuple(known),
        domain_names=tuple(domain_names),
    )


def list_pixels(
    train: tuple[NDArray[np.uint8], NDArray[np.int64]],
    test: tuple[NDArray[np.uint8], NDArray[np.int64]],
    classes: Sequence[str],
) -> Manifest:
    """Make a manifest of images in memory: first the training part, then the test part.

    The digest of a sample depends on its part, its position and its pixels, so equal images are different samples.

    Args:
        train: Images ``[N, H, W]`` or ``[N, H, W, 3]`` and labels ``[N]``.
        test: Likewise.
        classes: Class names.

    Raises:
        UserError: If the numbers of images and labels of a part differ, or a label is not one of the classes.
    """
    for name, (images, labels) in (("training", train), ("test", test)):
        if len(images) != len(labels):
            raise UserError(f"the {name} part has {len(images)} images, but {len(labels)} labels")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(classes):
            raise UserError(f"the {name} part has labels {labels.min()} to {labels.max()} for {len(classes)} classes")
    digests = [
        digest(part + index.to_bytes(4, "little") + image.tobytes())
        for part, (images, _) in ((b"train", train), (b"test", test))
        for index, image in enumerate(images)
    ]
    labels = np.concatenate([train[1], test[1]]).astype(np.int64)
    return Manifest(
        source=Pixels(np.concatenate([train[0], test[0]]), np.stack(digests)),
        labels=labels,
        domains=np.zeros(len(labels), dtype=np.int64),
        is_test=np.arange(len(labels)) >= len(train[1]),
        classes=tuple(classes),
    )


def with_split(samples: Sequence[Sample], share: float, purpose: str) -> list[Sample]:
    """Assign samples without a test part to a fixed, stratified split.

    The sorted paths of each class and domain are permuted in a fixed way. The first `share` of them (rounded, but at
    least one and never all) become the test part. Neither a run's seed nor the order of the files matters.

    Raises:
        UserError: If a class has a single image, which cannot be split.
    """
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in sorted(samples):
        groups.setdefault((sample.domain, sample.label), []).append(sample)
    split = []
    for (domain, label), members in groups.items():
        if len(members) < 2:
            where = f"class '{label}' of domain '{domain}'" if domain else f"class '{label}'"
            raise UserError(f"{where} has a single image ('{members[0].path}'): it cannot be split into two parts")
        order = stable_random(0, purpose, domain, label).permutation(len(members))
        tested = set(order[: min(max(round(share * len(members)), 1), len(members) - 1)].tolist())
        split += [member._replace(is_test=index in tested) for index, member in enumerate(members)]
    return split
