"""What is planned in a folder, written down so that workers without the benchmark's file can do it.

A manifest is data, and may be anybody's, as a record may be: its runs are done with what their keys name and hash,
found here. The texts of plugin files lie in it for those who trust all that can write into the folder; else a file is
looked for where the caller says.
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

SUFFIX = ".plan"
SHORT = 12
"""Characters of a hash that name a file."""
ABSENT = "name its folder with --plugins-from FOLDER, or run the text that the plan holds with --trust"


class PlannedRun(Spec):
    """A run, with the names of what it shares with others."""

    method: str
    seed: int
    key: str
    config: str
    scenario: str
    plugins: tuple[str, ...]
    curve_points: int = Field(default=CURVE_POINTS, ge=0)
    save_model: bool = False
    devices: int = Field(default=1, ge=1)
    checkpoint_minutes: float | None = Field(default=None, gt=0)


class Manifest(Spec):
    """What a call has planned.

    Attributes:
        benchmark: Name of the benchmark.
        runs: The runs.
        configs: Their configurations by hash.
        scenarios: Their streams by fingerprint.
        plugins: Their plugins by hash.
        texts: The files of plugins and classes that no installed package brings: for each a folder, by the hash of what
            it has, of relative paths and texts.
    """

    manifest_version: Literal[1] = 1
    benchmark: str
    runs: tuple[PlannedRun, ...]
    configs: dict[str, dict[str, Any]]
    scenarios: dict[str, ScenarioEntry]
    plugins: dict[str, PluginEntry]
    texts: dict[str, dict[str, str]] = Field(default_factory=dict)

    def pending(self, run: PlannedRun) -> RunRecord:
        """The record of a run as far as it is known before.

        Raises:
            UserError: If the run is not what its key says.
        """
        try:
            record = RunRecord(
                key=run.key,
                benchmark=self.benchmark,
                method=run.method,
                seed=run.seed,
                status="interrupted",
                config=self.configs[run.config],
                plugins=[self.plugins[one] for one in run.plugins],
                scenario=self.scenarios[run.scenario],
            )
        except (KeyError, ValidationError, ValueError) as error:
            raise UserError(f"the plan of '{run.method}', seed {run.seed}, is not whole") from error
        if record.recomputed_key() != run.key:
            raise UserError(
                f"the plan of '{run.method}', seed {run.seed}, was edited, or is of another version of clsuite: its "
                "key does not follow from its content"
            )
        return record


def training_of(pending: RunRecord) -> TrainingSpec:
    """How a run trains.

    Raises:
        KeyError: If it does not say so.
        ValidationError: If this version does not train so.
    """
    return TrainingSpec.model_validate(pending.config["training"])


def record_path(folder: Path, run: PlannedRun) -> Path:
    """Where the record of a run goes, in the folder of its benchmark."""
    return folder / file_name(run.method) / f"seed{run.seed}-{run.key[:SHORT]}.json"


def make_manifest(plans: Sequence[RunPlan]) -> Manifest:
    """What is planned, as data."""
    configs: dict[str, dict[str, Any]] = {}
    plugins: dict[str, PluginEntry] = {}
    scenarios = {plan.pending.scenario.fingerprint: plan.pending.scenario for plan in plans}
    runs = []
    for plan in plans:
        pending = plan.pending
        entries = {sha256_of(one.model_dump(mode="json"))[:SHORT]: one for one in pending.plugins}
        config = sha256_of(pending.config)[:SHORT]
        configs[config], plugins = pending.config, plugins | entries
        run = PlannedRun(
            method=pending.method, seed=pending.seed, key=pending.key, config=config, plugins=tuple(entries),
            scenario=pending.scenario.fingerprint, curve_points=plan.curve_points, save_model=plan.save_model,
            devices=plan.devices,
            checkpoint_minutes=plan.checkpoint_minutes,
        )  # fmt: skip
        runs.append(run)
    return Manifest(
        benchmark=plans[0].pending.benchmark, runs=tuple(runs), configs=configs, scenarios=scenarios, plugins=plugins,
        texts=_texts(plans),
    )  # fmt: skip


def write_manifest(folder: Path, plans: Sequence[RunPlan]) -> Path:
    """Write down what is planned; the same runs are the same file.

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
    """The files of the plans that no package brings, with the local modules that they import."""
    paths = {info.target.rpartition(":")[0] for plan in plans for info in plan.plugins}
    paths |= {path for plan in plans for path in plan.files.values()}
    paths |= {plan.scenario.root.path for plan in plans if isinstance(plan.scenario.root, FromAvalanche)}
    found = {}
    for path in sorted(path for path in paths if path.endswith(".py")):
        with suppress(OSError, ValueError, SyntaxError):  # it can be named with --plugins-from still
            texts = dict(_files_of(Path(path)))
            found[sha256_of(texts)[:SHORT]] = texts
    return found


def _files_of(path: Path) -> Iterator[tuple[str, str]]:
    """A file and the local modules that it imports, by their places in a folder."""
    text = read_text(path)
    yield path.name, text
    for name, module in hashed_source(ast.parse(text), Home("", path)).modules.items():
        if is_reference(name):
            continue
        place = name.replace(".", "/")
        content = module.content if isinstance(module.content, str) else module.content.decode()
        yield f"{place}/__init__.py" if Path(module.path).name == "__init__.py" else f"{place}.py", content


def unpack_texts(manifest: Manifest, folder: Path) -> list[Path]:
    """Write the texts of a manifest into folders of their own, for a caller who lets them run; see `write_texts`."""
    return write_texts(manifest.texts, folder)


def write_texts(by_folder: Mapping[str, Mapping[str, str]], folder: Path) -> list[Path]:
    """Write texts of plugin files, folder by folder.

    Args:
        by_folder: The texts of each folder by their relative paths.
        folder: Where the folders are made.

    Returns:
        The folders.

    Raises:
        UserError: If one would lie elsewhere.
    """
    places = []
    for number, texts in enumerate(by_folder.values()):
        place = folder / str(number)
        for name, text in texts.items():
            relative = PurePosixPath(name)
            if relative.is_absolute() or ".." in relative.parts or not name.endswith(".py") or not name.isprintable():
                raise UserError(f"the plan names a file '{shortened(name)}', which is none of a plugin")
            target = place / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        places.append(place)
    return places


def find_manifests(folder: Path) -> list[Path]:
    """The manifests of a folder of runs, or of one of a benchmark."""
    return sorted(path for pattern in (f"*{SUFFIX}", f"*/*{SUFFIX}") for path in folder.glob(pattern))


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        UserError: If it is none.
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
    """Makes plans of planned runs, with what is found here.

    Attributes:
        allowed: What the caller lets them bring about.
        data_root: Where data and weights are looked for, besides the current folder.
        device: Where to compute.
        shares_features: Whether runs may take features that others have kept, and keep theirs for them.
        given: Files of weights that are known to be here, by their hash.
    """

    allowed: Allowed
    data_root: Path | None
    device: str
    shares_features: bool = True
    given: dict[str, Path] = field(default_factory=dict)
    _plugins: dict[str, PluginInfo] = field(default_factory=dict)
    _parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    _streams: dict[str, Any] = field(default_factory=dict)
    _fingerprints: dict[tuple[str, int], str] = field(default_factory=dict)

    def plan(self, manifest: Manifest, run: PlannedRun, folder: Path) -> RunPlan:
        """The plan of a run.

        Args:
            manifest: Where it is planned.
            run: The run.
            folder: The folder of its benchmark.

        Raises:
            UserError: If something that it needs is not here, or is another one here.
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
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # a foreign plan may say anything
            raise UserError(f"the plan of '{run.method}' is not clsuite's: {type(error).__name__}: {error}") from error
        return RunPlan(
            pending=pending,
            plugins=tuple(self._plugin(entry) for entry in pending.plugins),
            record_path=record_path(folder, run),
            data_root=self.data_root,
            device=self.device,
            save_model=run.save_model,
            curve_points=run.curve_points,
            devices=run.devices,
            checkpoint_minutes=run.checkpoint_minutes,
            shares_features=self.shares_features,
            **parts,
        )

    def _plugin(self, entry: PluginEntry) -> PluginInfo:
        name = f"{entry.name} {entry.source}"
        if name not in self._plugins:
            self._plugins[name] = restored_plugin(entry, self.allowed.plugins_from, absent=ABSENT)
        return self._plugins[name]

    def _parts_of(self, pending: RunRecord) -> dict[str, Any]:
        """What a configuration names, found here."""
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
        """See that the data that are here give the stream that was planned.

        Raises:
            UserError: If they are not here, or are others.
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
