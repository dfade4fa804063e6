"""Which earlier sources of a method are known to give the counts that those of now give, and what follows for its rows.

A confirmation is of content: the method, the kind of stream, the source of each of its plugins and the version of
results on both sides. It is written once and stays valid; it says nothing of other sources, so that a later change
makes the rows stale again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from clsuite.config.error_text import first_mistake
from clsuite.errors import UserError
from clsuite.plugin.catalog import catalog, is_ours
from clsuite.plugin.introspection import PluginSource
from clsuite.records import RunRecord
from clsuite.records.record import RESULTS_VERSION
from clsuite.regular_files import read_bytes
from clsuite.runner.training import merged


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sources(_Model):
    """A plugin on both sides.

    Attributes:
        name: Its name.
        old: Hash of the source that made the rows.
        new: Hash of the source that gives the same counts.
        args: Arguments that the old one did not have, with the values under which the counts are the same.
    """

    name: str
    old: str
    new: str
    args: dict[str, Any] = Field(default_factory=dict)


class Confirmation(_Model):
    """Old and new sources of one method that gave the same counts in a canary run, on one machine.

    Attributes:
        method: Name of the method.
        kind: Kind of stream that the canary learned: the confirmation is of rows of that kind.
        plugins: Its plugins, in order.
        old_results: Version of results of the framework that made the rows.
        new_results: The one that gives the same counts.
        training: Keys of the training that the old framework did not have, with the values under which the counts are
            the same.
        canary: The run, ``benchmark/method/seed``; one that learned only the first tasks says how many.
        commit: Commit that has the old sources.
        clsuite: Version of the clsuite that confirmed it.
    """

    method: str
    kind: str
    plugins: tuple[Sources, ...]
    old_results: int
    new_results: int
    training: dict[str, Any] = Field(default_factory=dict)
    canary: str
    commit: str
    clsuite: str

    @property
    def old_side(self) -> tuple[Any, ...]:
        """What a record must have been made with."""
        return self.method, self.kind, self.old_results, tuple((one.name, one.old) for one in self.plugins)

    @property
    def is_current(self) -> bool:
        """Whether the new side is what there is now."""
        now = [our_source(one.name) for one in self.plugins]
        same = all(source and source.sha256 == one.new for source, one in zip(now, self.plugins, strict=True))
        return same and self.new_results == RESULTS_VERSION


def made_with(record: RunRecord) -> tuple[Any, ...]:
    """The method of a record, its kind of stream, and the versions of framework and plugins that made it."""
    plugins = tuple((one.name, one.source) for one in record.plugins)
    return record.method, record.scenario.kind, record.results_version(), plugins


class Confirmations:
    """All confirmations of a leaderboard."""

    def __init__(self, entries: Iterable[Confirmation] = ()) -> None:
        """Hold some."""
        self.entries = tuple(entries)
        self._current = {one.old_side: one for one in self.entries if one.is_current}

    def of(self, record: RunRecord) -> Confirmation | None:
        """The confirmation that what made a record gives the same counts as what there is now."""
        return self._current.get(made_with(record)) if self._current else None

    def with_entry(self, entry: Confirmation) -> Confirmations:
        """With one more; it takes the place of one of the same sources on both sides."""
        kept = [one for one in self.entries if (one.old_side, _new_side(one)) != (entry.old_side, _new_side(entry))]
        return Confirmations([*kept, entry])


NONE = Confirmations()


def _new_side(entry: Confirmation) -> tuple[Any, ...]:
    return entry.new_results, tuple(one.new for one in entry.plugins)


def read_confirmed(path: Path) -> Confirmations:
    """Read the confirmations of a leaderboard; there are none where the file is missing.

    Raises:
        UserError: If the file is not what `confirmed_bytes` makes.
    """
    if not path.exists():
        return NONE
    try:
        return Confirmations(TypeAdapter(list[Confirmation]).validate_json(read_bytes(path)))
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        raise UserError(f"'{path}' is not valid: {first_mistake(error, 'it')}: restore it from the history") from error


def confirmed_bytes(confirmations: Confirmations) -> bytes:
    """The file of the confirmations, one a line, in an order of its own."""
    entries = sorted(json.dumps(one.model_dump(), sort_keys=True, ensure_ascii=False) for one in confirmations.entries)
    return ("[\n" + ",\n".join(entries) + "\n]\n").encode("utf-8", "replace")


def completed_args(args: Mapping[str, Any], confirmation: Confirmation | None, position: int) -> dict[str, Any]:
    """The arguments of a plugin, with those that came since as they were when the counts came out the same."""
    return {**(confirmation.plugins[position].args if confirmation else {}), **args}


def completed_training(record: RunRecord, confirmation: Confirmation | None) -> dict[str, Any]:
    """The training of a record, with the keys that came since.

    Only where no step of the run was one along a gradient: a key of the training then says nothing about the result.
    One canary does not show what a new key does to a method that trains, in another row's training: there, a key that
    an old record does not have counts as one that differs.
    """
    given = record.config.get("training") or {}
    trained = any(task.gradient_samples for task in record.tasks)
    return given if confirmation is None or trained else merged(confirmation.training, given)


def our_source(name: str) -> PluginSource | None:
    """What a plugin of the same distribution declares; others' are not read, as not every machine has them."""
    info = catalog().get(name)
    return info.source if info is not None and is_ours(info.target) else None
