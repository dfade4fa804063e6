"""Which earlier sources of a method are known to give the same counts as the current ones.

A confirmation holds the method, the kind of stream, the source of each of its plugins and the version of results on
both sides. It stays valid, but only for these sources: a later change makes the rows stale again.
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
    """The sources of a plugin on both sides.

    Attributes:
        name: Its name.
        old: Hash of the source that made the rows.
        new: Hash of the source that gives the same counts.
        args: Arguments that the old source did not have, with the values with which the counts are the same.
    """

    name: str
    old: str
    new: str
    args: dict[str, Any] = Field(default_factory=dict)


class Confirmation(_Model):
    """Old and new sources of one method that gave the same counts in a canary run, on one machine.

    Attributes:
        method: Name of the method.
        kind: Kind of stream of the canary; only rows of that kind are confirmed.
        plugins: Its plugins, in order.
        old_results: Version of results of the clsuite that made the rows.
        new_results: Version of results that gives the same counts.
        training: Keys of the training that the old version did not have, with the values with which the counts are the
            same.
        canary: The run, ``benchmark/method/seed``, with the number of tasks if it learned only the first ones.
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
        return self.method, self.kind, self.old_results, tuple((item.name, item.old) for item in self.plugins)

    @property
    def is_current(self) -> bool:
        """Whether the new side is the current version."""
        now = [our_source(item.name) for item in self.plugins]
        same = all(source and source.sha256 == item.new for source, item in zip(now, self.plugins, strict=True))
        return same and self.new_results == RESULTS_VERSION


def made_with(record: RunRecord) -> tuple[Any, ...]:
    """Method and kind of stream of a record, and the versions of clsuite and plugins that made it."""
    plugins = tuple((item.name, item.source) for item in record.plugins)
    return record.method, record.scenario.kind, record.results_version(), plugins


class Confirmations:
    """All confirmations of a leaderboard."""

    def __init__(self, entries: Iterable[Confirmation] = ()) -> None:
        """Hold some confirmations."""
        self.entries = tuple(entries)
        self._current = {item.old_side: item for item in self.entries if item.is_current}

    def of(self, record: RunRecord) -> Confirmation | None:
        """The confirmation that the sources of a record give the same counts as the current ones, if there is one."""
        return self._current.get(made_with(record)) if self._current else None

    def with_entry(self, entry: Confirmation) -> Confirmations:
        """These confirmations and one more, which replaces one of the same sources on both sides."""
        kept = [item for item in self.entries if (item.old_side, _new_side(item)) != (entry.old_side, _new_side(entry))]
        return Confirmations([*kept, entry])


NONE = Confirmations()


def _new_side(entry: Confirmation) -> tuple[Any, ...]:
    return entry.new_results, tuple(item.new for item in entry.plugins)


def read_confirmed(path: Path) -> Confirmations:
    """Read the confirmations of a leaderboard; there are none if the file is missing.

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
    """The file of the confirmations, one a line, sorted."""
    entries = sorted(
        json.dumps(item.model_dump(), sort_keys=True, ensure_ascii=False) for item in confirmations.entries
    )
    return ("[\n" + ",\n".join(entries) + "\n]\n").encode("utf-8", "replace")


def completed_args(args: Mapping[str, Any], confirmation: Confirmation | None, position: int) -> dict[str, Any]:
    """The arguments of a plugin; those that were added since have the values with which it was confirmed."""
    return {**(confirmation.plugins[position].args if confirmation else {}), **args}


def completed_training(record: RunRecord, confirmation: Confirmation | None) -> dict[str, Any]:
    """The training of a record, with the keys that were added since.

    They are added only if no step of the run was a gradient step, because a key of the training then cannot change the
    result. One canary does not prove what a new key does to a method that trains, in another row's training: there, a
    key that an old record does not have counts as a difference.
    """
    options = record.config.get("training") or {}
    trained = any(task.gradient_samples for task in record.tasks)
    return options if confirmation is None or trained else merged(confirmation.training, options)


def our_source(name: str) -> PluginSource | None:
    """What a plugin of clsuite itself declares; other plugins are not read, as not every machine has them."""
    info = catalog().get(name)
    return info.source if info is not None and is_ours(info.target) else None
