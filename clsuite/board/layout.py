"""Paths of the parts of a published leaderboard."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from clsuite.errors import UserError

LOCK = ".lock"
"""The file that `Leaderboard.locked` holds."""
OWN = (LOCK, "records", "site", "data")
"""Parts that are written or cleaned; a link there would lead to changes in files outside the leaderboard."""


@dataclass(frozen=True)
class Leaderboard:
    """Paths of the parts of a published leaderboard.

    Attributes:
        folder: The folder of the leaderboard.
    """

    folder: Path

    @property
    def records(self) -> Path:
        """The folder of the records."""
        return self.folder / "records"

    @property
    def reported(self) -> Path:
        """The file of the figures that papers report."""
        return self.folder / "reported.yaml"

    @property
    def index(self) -> Path:
        """The file with every published row and the hashes of its files, so that none is lost or edited unnoticed."""
        return self.folder / "rows.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the leaderboard: while the lock is held, no other process changes what is published.

        Raises:
            UserError: If the folder cannot be written, or a part of it is a link.
        """
        self.refuse_links([self.folder / name for name in OWN])
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / LOCK)
            lock.acquire()
        except OSError as error:
            raise UserError(f"cannot write into '{self.folder}': {error.strerror or error}") from error
        try:
            yield
        finally:
            lock.release()

    @staticmethod
    def refuse_links(paths: Iterable[Path]) -> None:
        """Make sure that parts of a leaderboard do not lead outside its folder.

        Raises:
            UserError: If one is a link.
        """
        for path in paths:
            if path.is_symlink():
                raise UserError(f"'{path}' is a link, and what it leads to would be changed: put a real one there")

    @property
    def confirmed(self) -> Path:
        """The file with the earlier sources that give the same counts as the current ones."""
        return self.folder / "confirmed.json"
