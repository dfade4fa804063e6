"""Image folders: ``train/CLASS/*`` and ``test/CLASS/*``, or the same below one folder per domain."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from clsuite.data.decode import decode
from clsuite.data.manifest import Sample
from clsuite.errors import UserError, printable, warn_of

__all__ = [
    "LAYOUTS", "SUFFIXES", "TEST_NAMES", "TRAIN_NAMES", "LeftOut", "decode", "find_part", "folders_in", "is_image",
    "is_tree", "list_classes", "list_folder", "list_images", "names_in", "refuse_parts",
]  # fmt: skip

SUFFIXES = {
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".ico", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf",
    ".jpg", ".jpx", ".mpo", ".pbm", ".pcx", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".ras", ".sgi", ".tga",
    ".tif", ".tiff", ".webp", ".xbm",
}  # fmt: skip
"""File extensions of images, independent of the local Pillow: a file that it cannot read is an error, not ignored."""
TRAIN_NAMES = ("train",)
TEST_NAMES = ("test", "val", "valid", "validation")
"""Names of the parts, case-insensitive; of several test parts the first in this order is used."""
LAYOUTS = (
    "train/CLASS/*.png and test/CLASS/*.png (or val, valid, validation), both also below one folder per domain; "
    "CLASS/*.png or DOMAIN/CLASS/*.png, of which a share is held out; or a list with the columns path and label, and "
    "split and domain where there are any: files.csv, files.json, metadata.csv or metadata.jsonl"
)
"""The supported layouts of image folders."""
JUNK = {"thumbs.db", "desktop.ini", "icon\r", "__macosx"}
"""Files that operating systems create in folders, in lower case; hidden files are ignored too."""


def is_image(name: str) -> bool:
    """Whether a file name is that of an image: a known extension, and not hidden (such as ``._1.jpg`` of macOS)."""
    return PurePath(name).suffix.lower() in SUFFIXES and not _is_junk(name)


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name.lower() in JUNK


@dataclass
class LeftOut:
    """Files and folders in places of images that are ignored.

    Attributes:
        number: How many there are, without the usual files of operating systems.
        first: The first of them.
    """

    number: int = 0
    first: Path | None = None

    def add(self, folder: Path, names: Iterable[str]) -> None:
        """Add the names of a folder's entries."""
        for name in names:
            if not _is_junk(name):
                self.number += 1
                self.first = self.first or folder / name

    def warn(self, root: Path) -> None:
        """Warn if anything was ignored."""
        if self.first is not None:
            what = "1 file or folder" if self.number == 1 else f"{self.number} files and folders"
            warn_of(
                f"{what} in '{root}' left out, for example '{self.first.relative_to(root)}': images must be in class "
                f"folders, not deeper, and end in {_endings()}"
            )


def _endings() -> str:
    return ", ".join(sorted(SUFFIXES))


def is_tree(root: Path) -> bool:
    """Whether a folder contains ``train``, or a domain folder that contains it."""
    if not root.is_dir():
        return False
    return find_part(root, TRAIN_NAMES) is not None or bool(_domains(root))


def find_part(folder: Path, names: Sequence[str]) -> str | None:
    """The first of some names that a subfolder has, case-insensitive; returns the name as it is on disk."""
    known = {name.lower(): name for name in reversed(names_in(folder)) if name.lower() in names}
    return next((known[name] for name in names if name in known and (folder / known[name]).is_dir()), None)


def refuse_parts(folder: Path) -> None:
    """Check that no folder among those of classes or domains has the name of a part, which is probably a mistake.

    Raises:
        UserError: If one has.
    """
    for name in folders_in(folder):
        if name.lower() in (*TRAIN_NAMES, *TEST_NAMES):
            beside = [
                sibling
                for sibling in names_in(folder)
                if sibling.lower() in TRAIN_NAMES and not (folder / sibling).is_dir()
            ]
            why = f"'{beside[0]}' is a file" if beside else "there is no train folder beside it"
            raise UserError(
                f"'{folder / name}' has the name of a part, but {why}: add the train folder, or set path to the "
                "folder that contains the class folders; rename it if it is a class or domain"
            )


def _domains(root: Path) -> list[str]:
    return [name for name in folders_in(root) if find_part(root / name, TRAIN_NAMES) is not None]


def list_folder(root: Path) -> list[Sample]:
    """List the image files of a tree in sorted order; warns of ignored files.

    Args:
        root: Folder with ``train`` and ``test`` (or another of `TEST_NAMES`) inside, or with domain folders that have
            them inside.

    Raises:
        UserError: If the folder is missing or has another layout, a class folder is empty, or a class is only in test.
    """
    if not root.is_dir():
        raise UserError(f"no data at '{root}': expected a folder with train/CLASS/*.png and test/CLASS/*.png")
    domains = [""]
    if not find_part(root, TRAIN_NAMES):
        domains = _domains(root)
        for folder in (root, *(root / name for name in folders_in(root) if name not in domains)):
            refuse_parts(folder)
    if not domains:
        raise UserError(f"'{root}' has neither train/CLASS/*.png nor DOMAIN/train/CLASS/*.png inside")
    left_out = LeftOut()
    files = [file for domain in domains for file in _list_domain(root, domain, left_out)]
    if not files:
        raise UserError(f"'{root}' has no class folders in train and test; own images can be organized as {LAYOUTS}")
    _refuse_untrained(root, files)
    left_out.warn(root)
    return files


def _refuse_untrained(root: Path, files: Sequence[Sample]) -> None:
    """Check that every class of a domain has training images."""
    trained = {(file.domain, file.label) for file in files if not file.is_test}
    for file in files:
        if (file.domain, file.label) not in trained:
            train = find_part(root / file.domain, TRAIN_NAMES)
            raise UserError(
                f"class '{file.label}' has images in '{(root / file.path).parents[1]}', but none in "
                f"'{root / file.domain / (train or '')}'"
            )


def _list_domain(root: Path, domain: str, left_out: LeftOut) -> list[Sample]:
    folder = root / domain
    train, test = find_part(folder, TRAIN_NAMES), find_part(folder, TEST_NAMES)
    if train is None or test is None:
        raise UserError(
            f"'{folder}' has a train folder but no test folder ({', '.join(TEST_NAMES)}); if there is none, name the "
            "train folder itself as path: a share of each class is held out then"
        )
    prefix = f"{domain}/" if domain else ""
    samples = []
    for part in (train, test):
        samples += [
            Sample(path, label, part == test, domain) for path, label in list_classes(root, f"{prefix}{part}", left_out)
        ]
        left_out.add(folder / part, (name for name in list_images(folder / part) if (folder / part / name).is_file()))
    return samples


def list_classes(root: Path, part: str = "", left_out: LeftOut | None = None) -> list[tuple[str, str]]:
    """List ``part/CLASS/*`` in sorted order; hidden folders are ignored.

    Args:
        root: Folder of the data set.
        part: Subfolder of it.
        left_out: Collects the files that are not images.

    Returns:
        Path relative to `root` and class of each image.

    Raises:
        UserError: If a class folder is empty.
    """
    found = []
    for label in folders_in(root / part):
        folder = root / part / label
        names = names_in(folder)
        images = [name for name in names if is_image(name)]
        others = [name for name in names if not is_image(name)]
        if not images:
            raise UserError(_empty(folder, [name for name in others if not _is_junk(name)]))
        if left_out is not None:
            left_out.add(folder, others)
        prefix = folder.relative_to(root).as_posix()
        found += [(f"{prefix}/{name}", label) for name in images]
    return found


def _empty(folder: Path, others: list[str]) -> str:
    if not others:
        return f"class folder '{folder}' holds no images: fill it or remove it"
    return (
        f"class folder '{folder}' holds no images by their ending, but {len(others)} other files or folders, for "
        f"example '{others[0]}': images end in {_endings()}"
    )


def list_images(folder: Path) -> list[str]:
    """Names of the images of a folder in sorted order.

    Raises:
        UserError: If there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"'{folder}' is missing: unpack the archive again")
    return [name for name in names_in(folder) if is_image(name)]


def folders_in(parent: Path) -> list[str]:
    """Names of the subfolders of a folder, sorted, without hidden ones and those of operating systems.

    Raises:
        UserError: If a name is not UTF-8: records could not store it as a class or domain.
    """
    names = [name for name in names_in(parent) if not _is_junk(name) and (parent / name).is_dir()]
    for name in names:
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise UserError(f"the name of the folder '{printable(str(parent / name))}' is not UTF-8: rename it")
    return names


def names_in(folder: Path) -> list[str]:
    """Names of all entries of a folder, sorted.

    Raises:
        UserError: If it cannot be read.
    """
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise UserError(f"cannot read the folder '{folder}': {error.strerror or error}") from error
