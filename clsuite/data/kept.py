"""The contents of the cache folder: tables of decoded images and features that runs share, to list, check and delete.

Both are made again if they are missing, so deleting them costs nothing but time. Needs no torch.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from clsuite.data.feature_files import ABOUT, FOLDER, SUFFIX, DamagedBlockError, forget_if_empty, read_block
from clsuite.data.seal import DamagedTableError, open_table
from clsuite.errors import UserError, shortened

Kind = Literal["tables", "features"]
KINDS: tuple[Kind, ...] = ("tables", "features")
TABLES, CHECKED = "tables", "checked"
AGE = re.compile(r"(\d+(?:\.\d+)?)([mhdw])")
UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
LEFTOVER_S = 86400.0
"""Age in seconds after which an unfinished file is taken for abandoned."""


@dataclass(frozen=True)
class Kept:
    """A cached table, or the cached features of one network on one table.

    Attributes:
        kind: Which of the two.
        path: Its folder.
        what: A description.
        files: All its files, each with its size and the time of its last change or use.
    """

    kind: Kind
    path: Path
    what: str
    files: tuple[tuple[Path, int, float], ...]

    @property
    def size(self) -> int:
        """Total size of its files in bytes."""
        return sum(size for _, size, _ in self.files)

    @property
    def used(self) -> float:
        """Time of last use in seconds since 1970, to the hour."""
        if self.kind == "tables":
            return self.path.stat().st_mtime
        return max((used for path, _, used in self.files if path.suffix == SUFFIX), default=0.0)


def all_kept(root: Path, kinds: Sequence[Kind] = KINDS) -> list[Kept]:
    """Everything in a cache folder, the largest first."""
    found = []
    for kind in KINDS:
        folder = root / (TABLES if kind == "tables" else FOLDER)
        if kind not in kinds or not folder.is_dir():
            continue
        for path in folder.iterdir():
            with suppress(OSError):
                if path.is_dir():
                    found.append(Kept(kind, path, _what(kind, path), tuple(_files(path))))
    return sorted(found, key=lambda item: (-item.size, item.path))


def damage_in(kept: Kept) -> list[str]:
    """Read all content of a table or of features; returns one line for each damaged part."""
    if kept.kind == "tables":
        if kept.path.name.startswith("."):
            return []
        try:
            open_table(kept.path, kept.path.with_name(f".unknown-{kept.path.name}"))
        except DamagedTableError as error:
            return [f"{kept.path}: {error}"]
        finally:
            kept.path.with_name(f".unknown-{kept.path.name}").unlink(missing_ok=True)
        return []
    lines = []
    for path, _, _ in kept.files:
        try:
            if path.suffix == SUFFIX:
                read_block(path)
        except FileNotFoundError:
            continue
        except (DamagedBlockError, OSError) as error:
            lines.append(f"{path}: {error}")
    return lines


def clear(kept: Kept, root: Path, before: float) -> int:
    """Delete a table, or those blocks of features, last used before a point in time; returns the bytes deleted.

    Raises:
        UserError: If something cannot be deleted.
    """
    try:
        if kept.kind == "tables":
            return _delete_table(kept, root) if kept.used < before else 0
        return _delete_features(kept, before)
    except OSError as error:
        raise UserError(f"cannot delete '{error.filename or kept.path}': {error.strerror or error}") from error


def read_age(text: str) -> float:
    """Read an age such as ``30d``, ``12h`` or ``2w`` in seconds.

    Raises:
        UserError: If the text is not an age.
    """
    found = AGE.fullmatch(text.strip().lower())
    if found is None:
        raise UserError(f"'{shortened(text)}' is not an age, such as 30d, 12h or 2w")
    return float(found[1]) * UNITS[found[2]]


def _delete_table(kept: Kept, root: Path) -> int:
    """Rename the folder before deleting it, so that no partly deleted table exists under its name."""
    going = kept.path.with_name(f".going-{kept.path.name.lstrip('.')}")
    shutil.rmtree(going, ignore_errors=True)
    kept.path.rename(going)
    shutil.rmtree(going)
    (root / CHECKED / kept.path.name).unlink(missing_ok=True)
    return kept.size


def _delete_features(kept: Kept, before: float) -> int:
    deleted = 0
    for path, size, used in kept.files:
        if used < (before if path.suffix == SUFFIX else min(before, time.time() - LEFTOVER_S)) and path.name != ABOUT:
            path.unlink(missing_ok=True)
            deleted += size
    forget_if_empty(kept.path)
    return deleted


def _files(folder: Path) -> list[tuple[Path, int, float]]:
    found = []
    for path in sorted(folder.iterdir()):
        with suppress(OSError):
            status = path.stat()
            found.append((path, status.st_size, status.st_mtime))
    return found


def _what(kind: Kind, path: Path) -> str:
    try:
        about = json.loads((path / (ABOUT if kind == "features" else "meta.json")).read_text(encoding="utf-8"))
        return _of_features(path, about) if kind == "features" else _of_table(path, about)
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return "interrupted, or being made" if path.name.startswith(".") else "of another make"


def _of_table(path: Path, about: dict[str, Any]) -> str:
    import numpy as np

    images = np.load(path / "images.npy", mmap_mode="r").shape
    names = [str(name) for name in about["classes"]]
    return f"{images[0]} images of {images[-1]} px, {len(names)} classes ({', '.join(names[:2])}, ...)"


def _of_features(path: Path, about: dict[str, Any]) -> str:
    blocks = sum(item.suffix == SUFFIX for item in path.iterdir())
    images = about["images"]
    precision = str(about["precision"] or "float32").removeprefix("torch.")
    where = f"{about['device']}, {precision}, {about['threads']} thread{'s' * (about['threads'] > 1)}"
    return f"{about['backbone']} on a table of {images[0]} images of {images[-1]} px ({where}): {blocks} blocks"
