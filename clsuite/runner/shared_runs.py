"""The runs of a call, some of which are done by other processes that work in the same folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clsuite.records import RecordError, read_record
from clsuite.runner.claims import STALE_AFTER, Claims, holder_of
from clsuite.runner.plan import RunPlan

LOOK_AGAIN = 0.5
"""Seconds between two looks at runs that others have."""

Version = tuple[int, int]
"""Version of the file at a path, which every atomic write changes."""


def version_of(path: Path) -> Version:
    """The version of the file at a path; zeros if there is none."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_ino, status.st_mtime_ns


def fits_always(plan: RunPlan) -> bool:
    """Accept any run."""
    return True


class SharedRuns:
    """Runs that are claimed one by one, and the progress of those that others do meanwhile.

    An executor takes a run, does it, and gives it back when its record is written. While the block is open the claims
    are renewed; at its end, however it comes, they are given back.
    """

    def __init__(
        self,
        plans: Sequence[RunPlan],
        seen: Mapping[Path, Version] | None = None,
        stale_after: float = STALE_AFTER,
        wait: bool = True,
    ) -> None:
        """Prepare.

        Args:
            plans: The runs to do.
            seen: The version of each record when it was read. A run whose record has another version since was done by
                another process.
            stale_after: Seconds without a heartbeat after which a run of another process is taken over.
            wait: Whether to wait for runs that others are doing; otherwise the work is over when they have the rest.
        """
        self._places = {plan.record_path: plan.record_path.absolute() for plan in plans}  # a plugin may change folders
        self._open = {self._places[plan.record_path]: plan for plan in plans}
        self._seen = {place: version_of(place) for place in self._open}
        self._seen |= {path.absolute(): version for path, version in (seen or {}).items()}
        self._claims, self._wait = Claims(stale_after), wait
        self._holders: dict[Path, str] = {}
        self._news: list[tuple[RunPlan, dict[str, Any]]] = []
        self._looked = float("-inf")

    def __enter__(self) -> SharedRuns:
        """Start to renew claims."""
        self._claims.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Give all claims back."""
        self._claims.__exit__(*error)

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to take or to wait for."""
        return not self._open

    @property
    def left(self) -> list[RunPlan]:
        """The runs that this process has not taken and that are not known to be done."""
        return list(self._open.values())

    def look(self) -> None:
        """See which runs others have started or finished, for `news`; nothing is claimed."""
        for place, plan in list(self._open.items()):
            if not self._is_done_elsewhere(place, plan):
                self._report_holder(place, plan)

    def take(self, fits: Callable[[RunPlan], bool] = fits_always) -> RunPlan | None:
        """Claim a run for this process; None if others have all that is left, or all are done.

        Args:
            fits: Whether there is room for a run here; a run without room is left for now.
        """
        if time.monotonic() - self._looked < LOOK_AGAIN:
            return None
        for place, plan in list(self._open.items()):
            if self._is_done_elsewhere(place, plan) or not fits(plan):
                continue
            if not self._claims.take(place):
                self._report_holder(place, plan)
            elif self._is_done_elsewhere(place, plan):  # between the look and the claim
                self._claims.release(place)
            else:
                return self._open.pop(place)
        self._looked = time.monotonic()
        if not self._wait:
            self._open.clear()
        return None

    def give_back(self, plan: RunPlan, again: bool = False) -> None:
        """Give up the claim of a run whose record is written.

        Args:
            plan: The run.
            again: Whether it is still to be done, by whoever takes it.
        """
        place = self._places[plan.record_path]
        self._claims.release(place)
        if again:  # unless whoever took it over has done it meanwhile, which the record says
            self._open = {place: plan, **self._open}

    def report_progress(self, plan: RunPlan, progress: Mapping[str, Any]) -> None:
        """Let others see the progress of a run."""
        self._claims.report_progress(self._places[plan.record_path], progress)

    def is_lost(self, plan: RunPlan) -> bool:
        """Whether a run was taken over because this process was silent; it must then end here."""
        return self._claims.is_lost(self._places[plan.record_path])

    def news(self) -> list[tuple[RunPlan, dict[str, Any]]]:
        """What others did since the last call, as events for a listener: kinds ``claimed`` and ``elsewhere``."""
        news, self._news = self._news, []
        return news

    def _is_done_elsewhere(self, place: Path, plan: RunPlan) -> bool:
        """Whether another process has finished a run; an interrupted run is still to be done."""
        version = version_of(place)
        if version == self._seen[place]:
            return False
        self._seen[place] = version
        try:
            record = read_record(place)
        except RecordError:
            return False
        if record.key != plan.pending.key or record.status == "interrupted":
            return False
        del self._open[place]
        self._news.append((plan, {"kind": "elsewhere", "status": record.status}))
        return True

    def _report_holder(self, place: Path, plan: RunPlan) -> None:
        """Note the holder of a run, once."""
        holder = holder_of(place)
        if holder is not None and self._holders.get(place) != holder.token:
            self._holders[place] = holder.token
            self._news.append((plan, {"kind": "claimed", "by": holder.place}))


class GivenRuns(SharedRuns):
    """Runs that the caller has claimed already."""

    def take(self, fits: Callable[[RunPlan], bool] = fits_always) -> RunPlan | None:
        """The next run, whatever room there is; None if there is none left."""
        place = next(iter(self._open), None)
        return None if place is None else self._open.pop(place)
