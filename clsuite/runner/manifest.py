"""The planned runs of a folder in a file, so that workers without the benchmark's file can do them.

A manifest is data that may come from anyone, as records may: its runs are done with what their keys name and hash,
found here. It contains the texts of plugin files, for those who trust everyone who can write into the folder; otherwise
files are looked for where the caller says.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import Field, ValidationError

from clsuite.config.error_text import first_mistake
from clsuite.config.spec import Spec
from clsuite.errors import UserError, shortened
from clsuite.learner.options import TrainingSpec
from clsuite.plugin.introspection import PluginInfo
from clsuite.plugin.source_hash import Home, hashed_source, is_reference
from clsuite.records import PluginEntry, RunRecord, ScenarioEntry, atomic_path
from clsuite.records.canonical import canonical_json, sha256_of
from clsuite.regular_files import read_text
from clsuite.runner.devices import check_shares
from clsuite.runner.file_names import file_name
from clsuite.runner.own_classes import recorded_files
from clsuite.runner.plan import RunPlan
from clsuite.runner.recorded_inputs import (
    Allowed,
    known_benchmarks,
    restored_plugin,
    restored_probe,
    restored_stream,
    restored_weights,
)
from clsuite.runner.streams import recorded_stream, stream_loader
from clsuite.scenarios.spec import FromAvalanche
from clsuite.stream.within_task_spec import CURVE_POINTS
from clsuite.trackers.spec import Trackers, chosen_trackers

SUFFIX = ".plan"
SHORT = 12
"""Number of characters of a hash in a file name."""
ABSENT = "name its folder with --plugins-from FOLDER, or run the text that the plan holds with --trust"


class PlannedRun(Spec):
    """A run, with the hashes of what it shares with others."""

    method: str
    seed: int
    key: str
    config: str
    scenario: str
    plugins: tuple[str, ...]
    curve_points: int = Field(default=CURVE_POINTS, ge=0)
    save_model: bool = False
    keep_states: bool = False
    devices: int = Field(default=1, ge=1)
    checkpoint_minutes: float | None = Field(default=None, gt=0)
    log: Trackers = ()


class Manifest(Spec):
    """The planned runs of a call.

    Attributes:
        benchmark: Name of the benchmark.
        runs: The runs.
        configs: Their configurations by hash.
        scenarios: Their streams by fingerprint.
        plugins: Their plugins by hash.
        texts: The files of plugins and classes that are in no installed package: for each, by the hash of its content,
            a folder of relative paths and texts.
    """

    manifest_version: Literal[1] = 1
    benchmark: str
    runs: tuple[PlannedRun, ...]
    configs: dict[str, dict[str, Any]]
    scenarios: dict[str, ScenarioEntry]
    plugins: dict[str, PluginEntry]
    texts: dict[str, dict[str, str]] = Field(default_factory=dict)

    def pending(self, run: PlannedRun) -> RunRecord:
        """The record of a run as far as it is known before the run.

        Raises:
            UserError: If the run does not match its key.
        """
        try:
            record = RunRecord(
                key=run.key,
                benchmark=self.benchmark,
                method=run.method,
                seed=run.seed,
                status="interrupted",
                config=self.configs[run.config],
                plugins=[self.plugins[item] for item in run.plugins],
                scenario=self.scenarios[run.scenario],
            )
        except (KeyError, ValidationError, ValueError) as error:
            raise UserError(f"the plan of '{run.method}', seed {run.seed}, is incomplete") from error
        if record.recomputed_key() != run.key:
            raise UserError(
                f"the plan of '{run.method}', seed {run.seed}, was edited, or is of another version of clsuite: its "
                "key does not follow from its content"
            )
        return record


def training_of(pending: RunRecord) -> TrainingSpec:
    """The training of a run.

    Raises:
        KeyError: If the record does not have it.
        ValidationError: If this version has no such training.
    """
    return TrainingSpec.model_validate(pending.config["training"])


def record_path(folder: Path, run: PlannedRun) -> Path:
    """The path of a run's record, in the folder of its benchmark."""
    return folder / file_name(run.method) / f"seed{run.seed}-{run.key[:SHORT]}.json"


def make_manifest(plans: Sequence[RunPlan]) -> Manifest:
    """The planned runs as data."""
    configs: dict[str, dict[str, Any]] = {}
    plugins: dict[str, PluginEntry] = {}
    scenarios = {plan.pending.scenario.fingerprint: plan.pending.scenario for plan in plans}
    runs = []
    for plan in plans:
        pending = plan.pending
        entries = {sha256_of(item.model_dump(mode="json"))[:SHORT]: item for item in pending.plugins}
        config = sha256_of(pending.config)[:SHORT]
        configs[config], plugins = pending.config, plugins | entries
        run = PlannedRun(
            method=pending.method, seed=pending.seed, key=pending.key, config=config, plugins=tuple(entries),
            scenario=pending.scenario.fingerprint, curve_points=plan.curve_points, save_model=plan.save_model,
            keep_states=plan.keep_states,
            devices=plan.devices,
            checkpoint_minutes=plan.checkpoint_minutes,
            log=plan.trackers,
        )  # fmt: skip
        runs.append(run)
    return Manifest(
        benchmark=plans[0].pending.benchmark, runs=tuple(runs), configs=configs, scenarios=scenarios, plugins=plugins,
        texts=_texts(plans),
    )  # fmt: skip


def write_manifest(folder: Path, plans: Sequence[RunPlan]) -> Path:
    """Write the planned runs; the same runs give the same file.

    Args:
        folder: The folder of the benchmark.
        plans: The runs.

    Returns:
        The file.

    Raises:
        UserError: If it cannot be written.
    """
    content = make_manifest(plans).model_dump(mode="json")
    path = folder / f"{sha256_of(content)[:SHORT]}{SUFFIX}"
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


def _texts(plans: Sequence[RunPlan]) -> dict[str, dict[str, str]]:
    """The files of the plans that are in no package, with the local modules that they import."""
    paths = {info.target.rpartition(":")[0] for plan in plans for info in plan.plugins}
    paths |= {path for plan in plans for path in plan.files.values()}
    paths |= {plan.scenario.root.path for plan in plans if isinstance(plan.scenario.root, FromAvalanche)}
    found = {}
    for path in sorted(path for path in paths if path.endswith(".py")):
        with suppress(OSError, ValueError, SyntaxError):  # it can still be given with --plugins-from
            texts = dict(_files_of(Path(path)))
            found[sha256_of(texts)[:SHORT]] = texts
    return found


def _files_of(path: Path) -> Iterator[tuple[str, str]]:
    """A file and the local modules that it imports, with their relative paths."""
    text = read_text(path)
    yield path.name, text
    for name, module in hashed_source(ast.parse(text), Home("", path)).modules.items():
        if is_reference(name):
            continue
        place = name.replace(".", "/")
        content = module.content if isinstance(module.content, str) else module.content.decode()
        yield f"{place}/__init__.py" if Path(module.path).name == "__init__.py" else f"{place}.py", content


def unpack_texts(manifest: Manifest, folder: Path) -> list[Path]:
    """Write the texts of a manifest into folders of their own, if the caller allows their code; see `write_texts`."""
    return write_texts(manifest.texts, folder)


def write_texts(by_folder: Mapping[str, Mapping[str, str]], folder: Path) -> list[Path]:
    """Write the texts of plugin files, folder by folder.

    Args:
        by_folder: The texts of each folder by their relative paths.
        folder: Where the folders are created.

    Returns:
        The folders.

    Raises:
        UserError: If a path leads outside its folder.
    """
    places = []
    for number, texts in enumerate(by_folder.values()):
        place = folder / str(number)
        for name, text in texts.items():
            relative = PurePosixPath(name)
            if relative.is_absolute() or ".." in relative.parts or not name.endswith(".py") or not name.isprintable():
                raise UserError(f"the plan names a file '{shortened(name)}', which belongs to no plugin")
            target = place / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        places.append(place)
    return places


def find_manifests(folder: Path) -> list[Path]:
    """The manifests of a folder of runs, or of the folder of one benchmark."""
    return sorted(path for pattern in (f"*{SUFFIX}", f"*/*{SUFFIX}") for path in folder.glob(pattern))


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        UserError: If it is not valid.
    """
    try:
        return Manifest.model_validate(json.loads(read_text(path)))
    except OSError as error:
        raise UserError(f"cannot read the plan '{path}': {error.strerror or error}") from error
    except ValidationError as error:
        raise UserError(f"'{path}' is not a plan of this version: {first_mistake(error, 'it')}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"'{path}' is not a plan: {error}") from error


@dataclass
class Restorer:
    """Makes plans of planned runs, with what is found on this machine.

    Attributes:
        allowed: What the caller allows them to import and load.
        data_root: Folder of data and weights, besides the current folder.
        device: The device.
        shares_features: Whether runs may use features that others have stored, and store their own.
        given: Files of weights that are known to be here, by their hash.
        log: The trackers instead of the planned ones; None for no other.
    """

    allowed: Allowed
    data_root: Path | None
    device: str
    shares_features: bool = True
    given: dict[str, Path] = field(default_factory=dict)
    log: tuple[str, ...] | None = None
    _plugins: dict[str, PluginInfo] = field(default_factory=dict)
    _parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    _streams: dict[str, Any] = field(default_factory=dict)
    _fingerprints: dict[tuple[str, int], str] = field(default_factory=dict)

    def plan(self, manifest: Manifest, run: PlannedRun, folder: Path) -> RunPlan:
        """The plan of a run.

        Args:
            manifest: The manifest with the run.
            run: The run.
            folder: The folder of its benchmark.

        Raises:
            UserError: If something that it needs is missing or different here.
        """
        pending = manifest.pending(run)
        try:
            parts = self._parts.get(run.config) or self._parts_of(pending)
            self._parts[run.config] = parts
            self._check_stream(pending, parts)
            check_shares("--devices", run.devices, training_of(pending).batch_size)
        except ValidationError as error:
            mistake = first_mistake(error, "it")
            raise UserError(f"the plan of '{run.method}' is not one of this version: {mistake}") from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # a foreign plan may contain anything
            raise UserError(f"the plan of '{run.method}' is not clsuite's: {type(error).__name__}: {error}") from error
        return RunPlan(
            pending=pending,
            plugins=tuple(self._plugin(entry) for entry in pending.plugins),
            record_path=record_path(folder, run),
            data_root=self.data_root,
            device=self.device,
            save_model=run.save_model,
            keep_states=run.keep_states,
            curve_points=run.curve_points,
            devices=run.devices,
            checkpoint_minutes=run.checkpoint_minutes,
            trackers=chosen_trackers(self.log, run.log),
            shares_features=self.shares_features,
            **parts,
        )

    def _plugin(self, entry: PluginEntry) -> PluginInfo:
        name = f"{entry.name} {entry.source}"
        if name not in self._plugins:
            self._plugins[name] = restored_plugin(entry, self.allowed.plugins_from, absent=ABSENT)
        return self._plugins[name]

    def _parts_of(self, pending: RunRecord) -> dict[str, Any]:
        """The parts that a configuration names, found here."""
        config, folders = pending.config, self.allowed.plugins_from
        backbone, known = config["backbone"], known_benchmarks()
        dataset, scenario = restored_stream(pending, self.allowed.download)
        return {
            "dataset": dataset,
            "scenario": recorded_stream(scenario, folders, absent=ABSENT),
            "weights": restored_weights(
                backbone, self.data_root, known, self.given.get(backbone["sha256"]), download=self.allowed.download
            ),
            "probes": tuple(
                restored_probe(entry, backbone["image_size"], self.data_root, known)
                for entry in config.get("probes", [])
            ),
            "files": recorded_files(config, folders, absent=ABSENT),
        }

    def _check_stream(self, pending: RunRecord, parts: dict[str, Any]) -> None:
        """Check that the data on this machine give the planned stream.

        Raises:
            UserError: If they are missing, or differ.
        """
        config = pending.config
        size, limit = config["backbone"]["image_size"], config["limit_tasks"]
        name = canonical_json([config["dataset"], config["scenario"], size, limit])
        if name not in self._streams:
            chosen = parts["dataset"], parts["scenario"], size, self.data_root, parts["files"]
            self._streams[name] = stream_loader(*chosen)
        if (name, pending.seed) not in self._fingerprints:
            self._fingerprints[name, pending.seed] = self._streams[name](pending.seed, limit).fingerprint
        if self._fingerprints[name, pending.seed] != pending.scenario.fingerprint:
            raise UserError("the data found here are not those of the plan: give --data-root FOLDER")
