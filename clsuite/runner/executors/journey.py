"""A run that travels to a machine without the caller's disk, and the files that come home from it."""

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
from clsuite.errors import AbsentError
from clsuite.plugin.catalog import source_now
from clsuite.plugin.loading import is_file
from clsuite.records import atomic_path
from clsuite.runner.manifest import Manifest, Restorer, unpack_texts
from clsuite.runner.plan import RunPlan
from clsuite.runner.recorded_inputs import Allowed
from clsuite.scenarios.spec import FromAvalanche

BROUGHT_HOME = (".npz", ".pt", ".log", ".json")
"""What a run leaves; its record comes last, as who sees it takes the run for done."""


@dataclass(frozen=True)
class Luggage:
    """What the runs of a call take with them.

    Attributes:
        mark: A file in the caller's folder: where it is seen, the folder is shared.
        manifest: The runs as data in JSON, with the texts of their plugin files.
    """

    mark: Path
    manifest: str

    @property
    def is_at_home(self) -> bool:
        """Whether the caller's folder is seen here."""
        return self.mark.exists()


@contextmanager
def marked(folder: Path) -> Iterator[Path]:
    """A file in a folder by whose name, which no other has, another machine sees whether it shares the folder."""
    mark = folder.absolute() / f".shared-{secrets.token_hex(8)}"
    mark.touch()
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)


class AbsentWeightsError(Exception):
    """The weights of a run are not on this machine: they have to be sent."""


def arrived(plan: RunPlan, luggage: Luggage) -> RunPlan:
    """The plan of a run on this machine: as it is where all its files are here, else made of what travels with it.

    A plugin file that was changed since the plan was made is not the plan's, so that what runs is what was hashed.

    Args:
        plan: The plan as the caller made it.
        luggage: What travels.

    Raises:
        AbsentWeightsError: If the file of its weights is neither here nor has been sent.
        UserError: If something else that it needs is not here.
    """
    if all(os.path.exists(path) for path in _files_of(plan)) and _is_as_planned(plan):
        return plan
    manifest, restorer = _unpacked(luggage.manifest, plan.data_root, plan.device)
    sent = sent_weights(plan)
    if here := [path for path in (plan.weights.path, sent) if path is not None and path.exists()]:
        restorer.given[str(plan.weights.sha256)] = here[0]
    run = next(one for one in manifest.runs if one.key == plan.pending.key)
    try:
        made = restorer.plan(manifest, run, plan.record_path.parent.parent)
    except AbsentError as error:
        if plan.weights.kind == "file" and not here:
            raise AbsentWeightsError from error
        raise
    return replace(made, record_path=plan.record_path)


def _files_of(plan: RunPlan) -> Iterator[str]:
    """The files that a plan names."""
    yield from (path for info in plan.plugins if (path := info.target.rpartition(":")[0]).endswith(".py"))
    yield from plan.files.values()
    if isinstance(plan.scenario.root, FromAvalanche):
        yield plan.scenario.root.path
    if plan.weights.path is not None:
        yield str(plan.weights.path)


def _is_as_planned(plan: RunPlan) -> bool:
    """Whether the plugin files of a plan still hold what they held."""
    named = [(info, entry) for info, entry in zip(plan.plugins, plan.pending.plugins, strict=True)]
    return all(source_now(info) == entry.source for info, entry in named if is_file(entry.name))


@cache
def _unpacked(text: str, data_root: Path | None, device: str) -> tuple[Manifest, Restorer]:
    """What makes plans of a manifest here; the texts of plugin files are unpacked once for each process."""
    manifest = Manifest.model_validate_json(text)
    folder = mkdtemp(prefix="clsuite-run-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    places = unpack_texts(manifest, Path(folder))
    return manifest, Restorer(Allowed(plugins_from=tuple(places), download=True), data_root, device)


def sent_weights(plan: RunPlan) -> Path:
    """Where the file of a run's weights lies on a machine that they were sent to."""
    assert plan.weights.path is not None or plan.weights.kind != "file"
    return cache_folder() / "weights" / f"{plan.weights.sha256}{Path(plan.weights.path or '').suffix}"


def keep_weights(plan: RunPlan, content: bytes) -> None:
    """Keep the weights of a run that were sent, once for the machine."""
    if not sent_weights(plan).exists():
        with atomic_path(sent_weights(plan)) as temporary:
            temporary.write_bytes(content)


def away(plan: RunPlan) -> RunPlan:
    """The plan with its files in a folder of this machine, where a run that is begun again finds its checkpoint."""
    folder = cache_folder() / "runs" / plan.pending.key
    return replace(plan, record_path=folder / "run" / plan.record_path.name)


def files_of(plan: RunPlan) -> dict[str, bytes]:
    """What a run has left, by suffix; it is removed here, but for the checkpoint of one that is not done."""
    found = {}
    for suffix in BROUGHT_HOME:
        path = plan.beside(suffix)
        with suppress(FileNotFoundError):
            found[suffix] = path.read_bytes()
            path.unlink()
    return found


def bring_home(plan: RunPlan, files: Mapping[str, bytes]) -> None:
    """Write what a run has left elsewhere beside its record, the record at last.

    Raises:
        UserError: If it cannot be written.
    """
    for suffix in BROUGHT_HOME:
        if suffix in files:
            with atomic_path(plan.beside(suffix)) as temporary:
                temporary.write_bytes(files[suffix])
