"""Data sets that torchvision reads. It is imported only when a table is built: lists and plans need no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clsuite.data.manifest import Manifest, Sample, list_pixels, list_samples, with_split
from clsuite.data.naming import readable
from clsuite.data.readers.division import random_division
from clsuite.errors import UserError
from clsuite.regular_files import open_regular

TEST_SHARE = 0.2


@dataclass(frozen=True)
class Vision:
    """A class of ``torchvision.datasets``.

    Attributes:
        kind: Name of the class.
        train: Constructor arguments for the training part.
        test: Constructor arguments for the test part; None if there is no official split.
        classes: Class names; torchvision's by default.
    """

    kind: str
    train: Mapping[str, Any]
    test: Mapping[str, Any] | None
    classes: tuple[str, ...] = ()

    def download(self, base: Path) -> None:
        """Download the data into a folder.

        Raises:
            UserError: If the download fails.
        """
        for arguments in (self.train, self.test or {}):
            try:
                self._class()(base, download=True, **arguments)
            except Exception as error:  # the network and the parsers may raise anything
                raise UserError(f"cannot download torchvision's {self.kind} to '{base}': {error}") from error

    def _class(self) -> Any:
        return getattr(import_module("torchvision.datasets"), self.kind)

    def _open(self, base: Path, arguments: Mapping[str, Any], **more: Any) -> Any:
        try:
            return self._class()(base, **arguments, **more)
        except Exception as error:  # torchvision's parsers may raise anything for a damaged file
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"cannot read {self.kind} in '{base}': {reason}. Download its files again.") from error

    def _names(self, part: Any) -> tuple[str, ...]:
        return self.classes or tuple(readable(name) for name in part.classes)


@dataclass(frozen=True)
class VisionPixels(Vision):
    """A data set of small images in a few files.

    Attributes:
        labels: Name of torchvision's attribute for the labels.
        axes: Permutation of the axes of torchvision's array to ``[N, H, W]`` or ``[N, H, W, 3]``.
        headers: Files with an idx header, whose length is checked.
    """

    labels: str = "targets"
    axes: tuple[int, ...] = ()
    headers: tuple[str, ...] = ()

    def __call__(self, base: Path) -> Manifest:
        """List the images of a folder.

        Raises:
            UserError: If a file is missing, truncated or changed; names it.
        """
        assert self.test is not None
        for name in self.headers:
            check_idx(base / name)
        check_files(base, self._checksums())
        train, test = (self._open(base, arguments) for arguments in (self.train, self.test))
        return list_pixels(self._arrays(train), self._arrays(test), self._names(train))

    def _arrays(self, part: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        images = np.asarray(part.data, dtype=np.uint8)
        labels = np.asarray(getattr(part, self.labels), dtype=np.int64)
        return np.ascontiguousarray(images.transpose(self.axes) if self.axes else images), labels

    def _checksums(self) -> dict[str, str]:
        """The official MD5 of each file, as torchvision lists them (none for unpacked files of MNIST and the like)."""
        kind = self._class()
        folder = f"{kind.base_folder}/" if hasattr(kind, "base_folder") else ""
        lists = [*getattr(kind, "train_list", []), *getattr(kind, "test_list", [])]
        sums = {f"{folder}{name}": checksum for name, checksum in lists}
        for part in ("train", "test"):
            if part in getattr(kind, "split_list", {}):
                _, name, checksum = kind.split_list[part]
                sums[name] = checksum
        return sums


@dataclass(frozen=True)
class VisionFiles(Vision):
    """A data set of image files: torchvision lists them, clsuite decodes them.

    Attributes:
        more_train: Arguments for a further part that is added to the training part (the validation part of some sets).
        seed: Seed of PyTorch's generator for a division as a whole, if there is no official one; by default each class
            is divided.
    """

    more_train: Mapping[str, Any] | None = None
    seed: int | None = None

    def __call__(self, base: Path) -> Manifest:
        """List the images of a folder.

        Raises:
            UserError: If a list is missing or broken.
        """
        train = self._open(base, self.train, loader=str)
        names = self._names(train)
        samples = self._samples(base, train, names, False)
        if self.more_train is not None:
            samples += self._samples(base, self._open(base, self.more_train, loader=str), names, False)
        if self.test is None and self.seed is not None:
            samples = random_division(samples, 1 - TEST_SHARE, self.seed)
        elif self.test is None:
            samples = with_split(samples, TEST_SHARE, f"{self.kind} split")
        else:
            samples += self._samples(base, self._open(base, self.test, loader=str), names, True)
        return list_samples(base, sorted(samples, key=lambda sample: (sample.is_test, sample.path)), names)

    @staticmethod
    def _samples(base: Path, part: Any, names: Sequence[str], is_test: bool) -> list[Sample]:
        found = []
        for index in range(len(part)):
            path, label = part[index]
            found.append(Sample(Path(path).relative_to(base).as_posix(), names[int(label)], is_test))
        return found


def check_files(base: Path, checksums: Mapping[str, str]) -> None:
    """Check the MD5 of files.

    Raises:
        UserError: If a file is missing or has another MD5; names the file and both values.
    """
    for name, stated in checksums.items():
        path = base / name
        if not path.is_file():
            raise UserError(f"'{path}' is missing: unpack the archive again")
        with open_regular(path) as opened:
            found = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if found != stated:
            raise UserError(f"'{path}' has the MD5 {found}, but the official file has {stated}: download it again")


def check_idx(path: Path) -> None:
    """Check that a file in the idx format has the length in its header.

    Raises:
        UserError: If it is missing, is not an idx file, or has another length.
    """
    if not path.is_file():
        raise UserError(f"'{path}' is missing: unpack '{path.name}.gz' there")
    with open_regular(path) as opened:
        magic = opened.read(4)
        if len(magic) < 4 or magic[:3] != b"\0\0\x08":
            raise UserError(f"'{path}' is not an idx file of bytes: download it again")
        header = opened.read(4 * magic[3])
    length = 4 + len(header) + int(np.prod(np.frombuffer(header, dtype=">u4"), dtype=np.int64))
    if length != path.stat().st_size:
        raise UserError(f"'{path}' has {path.stat().st_size} bytes, but its header says {length}: unpack it again")
