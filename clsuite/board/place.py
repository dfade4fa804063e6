"""Where the parts of a published leaderboard lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Leaderboard:
    """Where the parts of a published leaderboard lie.

    Attributes:
        folder: The folder of all of it.
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
        """The file that names every published row and its files' digests: none is lost or edited in silence."""
        return self.folder / "rows.json"

    @property
    def confirmed(self) -> Path:
        """The file that says which earlier sources give the counts that those of now give."""
        return self.folder / "confirmed.json"
