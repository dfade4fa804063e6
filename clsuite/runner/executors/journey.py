"""Runs on machines without access to the caller's disk: what is sent with them, and which files are returned."""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from clsuite.config.paths import cache_folder
from clsuite.errors import AbsentError, UserError
from clsuite.plugin.catalog import source_now
from clsuite.plugin.loading import is_file
from clsuite.records import atomic_path
from clsuite.runner.manifest import Manifest, Restorer, unpack_texts
from clsuite.runner.plan import RunPlan
from clsuite.runner.recorded_inputs import Allowed
from clsuite.scenarios.spec import FromAvalanche
from clsuite.trackers.journal import JOURNAL, add_rows
from clsuite.trackers.process import WriterProcess

BROUGHT_HOME = (".npz", ".pt", ".log", JOURNAL, ".json")
"""Files of a run; its record is written last, because it marks the run as done."""


@dataclass(frozen=True)
class Luggage:
    """What is sent with all runs of a call.

    Attributes:
        mark: A file in the caller's folder: a machine that sees it shares the folder.
        manifest: The runs as JSON, with the texts of their plugin files.
    """

    mark: Path
    manifest: str

    @property
    def is_at_home(self) -> bool:
        """Whether this machine sees the caller's folder."""
        return self.mark.exists()


@contextmanager
def marked(folder: Path) -> Iterator[Path]:
    """Create a file with a unique name in a folder, by which another machine sees whether it shares the folder."""
    mark = folder.absolute() / f".shared-{secrets.token_hex(8)}"
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)


class AbsentWeightsError(Exception):
    """The weights of a run are not on this machine and must be sent."""


def arrived(plan: RunPlan, luggage: Luggage) -> RunPlan:
    """The plan of a run on this machine: unchanged if all its files are here, otherwise restored from what was sent.

    If a plugin file was changed after the plan was made, the text that was sent is used, so that its hash is right.

    Args:
        plan: The plan of the caller.
        luggage: What was sent.

    Raises:
        AbsentWeightsError: If the file of its weights is neither here nor was sent.
        UserError: If anything else is missing.
    """
    if all(os.path.exists(path) for path in _files_of(plan)) and _is_as_planned(plan):
        return plan
    manifest, restorer = _unpacked(luggage.manifest, plan.data_root, plan.device)
    sent = sent_weights(plan)
    if here := [path for path in (plan.weights.path, sent) if path is not None and path.exists()]:
        restorer.given[str(plan.weights.sha256)] = here[0]
    run = next(planned for planned in manifest.runs if planned.key == plan.pending.key)
    try:
        made = restorer.plan(manifest, run, plan.record_path.parent.parent)
    except AbsentError as error:
        if plan.weights.kind == "file" and not here:
            raise AbsentWeightsError from error
        raise
    return replace(made, record_path=plan.record_path, shares_features=plan.shares_features, trackers=plan.trackers)


def _files_of(plan: RunPlan) -> Iterator[str]:
    """The files that a plan refers to."""
    yield from (path for info in plan.plugins if (path := info.target.rpartition(":")[0]).endswith(".py"))
    yield from plan.files.values()
    if isinstance(plan.scenario.root, FromAvalanche):
        yield plan.scenario.root.path
    if plan.weights.path is not None:
        yield str(plan.weights.path)


def _is_as_planned(plan: RunPlan) -> bool:
    """Whether the plugin files of a plan are unchanged."""
    named = [(info, entry) for info, entry in zip(plan.plugins, plan.pending.plugins, strict=True)]
    return all(source_now(info) == entry.source for info, entry in named if is_file(entry.name))


@cache
def _unpacked(text: str, data_root: Path | None, device: str) -> tuple[Manifest, Restorer]:
    """A manifest and the restorer of its plans; the texts of plugin files are unpacked once per process."""
    manifest = Manifest.model_validate_json(text)
    folder = mkdtemp(prefix="clsuite-run-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    places = unpack_texts(manifest, Path(folder))
    allowed = Allowed(plugins_from=tuple(places), download=True)
    return manifest, Restorer(allowed, data_root, device, log=())  # the caller has checked its trackers


def sent_weights(plan: RunPlan) -> Path:
    """The path of a run's weights on a machine to which they were sent."""
    assert plan.weights.path is not None or plan.weights.kind != "file"
    return cache_folder() / "weights" / f"{plan.weights.sha256}{Path(plan.weights.path or '').suffix}"


def keep_weights(plan: RunPlan, content: bytes) -> None:
    """Store the weights that were sent, once per machine."""
    if not sent_weights(plan).exists():
        with atomic_path(sent_weights(plan)) as temporary:
            temporary.write_bytes(content)


def away(plan: RunPlan) -> RunPlan:
    """The plan with its files in a local folder, in which a restarted run finds its checkpoint.

    States are not kept there: all of them together may be larger than what can be sent.
    """
    folder = cache_folder() / "runs" / plan.pending.key
    return replace(plan, record_path=folder / "run" / plan.record_path.name, trackers_later=True, keep_states=False)


def files_of(plan: RunPlan) -> dict[str, bytes]:
    """The files of a run, by suffix; they are deleted here, except for the checkpoint of an unfinished run."""
    found = {}
    for suffix in BROUGHT_HOME:
        path = plan.beside(suffix)
        with suppress(FileNotFoundError):
            found[suffix] = path.read_bytes()
            path.unlink()
    return found


def bring_home(plan: RunPlan, files: Mapping[str, bytes]) -> None:
    """Write the files of a run elsewhere to their usual places, the record last; add to a journal that is here.

    Raises:
        UserError: If it cannot be written.
    """
    for suffix in BROUGHT_HOME:
        if suffix == JOURNAL and suffix in files:
            try:
                add_rows(plan.beside(JOURNAL), files[suffix])
            except OSError as error:
                raise UserError(f"cannot write '{plan.beside(JOURNAL)}': {error.strerror or error}") from error
        elif suffix in files:
            with atomic_path(plan.beside(suffix)) as temporary:
                temporary.write_bytes(files[suffix])


def write_trackers(plan: RunPlan, files: Mapping[str, bytes], status: str) -> WriterProcess | None:
    """Start to hand the journal of a run elsewhere to its trackers, on this machine; None if it has none.

    Args:
        plan: The run.
        files: Its files, which were brought home.
        status: How it ended.
    """
    if JOURNAL not in files:
        return None
    writer = WriterProcess(plan.beside(JOURNAL), plan.trackers)
    writer.end(status)
    return writer
