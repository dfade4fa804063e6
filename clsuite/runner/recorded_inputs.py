"""Finds the inputs of a record: its plugins by their source, its weights and probe images by their content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from clsuite.backbones.clip_spec import is_clip, parse_clip
from clsuite.backbones.spec import KEYWORDS, OWN, BackboneSpec, Weights, find_weights
from clsuite.config.error_text import first_mistake
from clsuite.config.paths import files_below
from clsuite.data.spec import HUB, DatasetSpec
from clsuite.errors import AbsentError, UserError, printable, shortened
from clsuite.plugin.introspection import PluginInfo
from clsuite.plugin.loading import is_file
from clsuite.plugin.recorded_plugin import NAME_FOLDER, plain_name, recorded_plugins
from clsuite.probes.spec import AnyProbe, ProbeSpec
from clsuite.records import PluginEntry, RunRecord
from clsuite.records.canonical import sha256_of_file
from clsuite.runner.record_config import probe_config, without_path
from clsuite.runner.spec import BenchmarkSpec, load_benchmark, shipped_benchmarks
from clsuite.scenarios import ScenarioSpec

PROBE: TypeAdapter[AnyProbe] = TypeAdapter(ProbeSpec)
DOWNLOAD = "give --download to let it be fetched"
HUB_SCHEMES = ("hf-hub", "hf_hub", "timm")
"""Schemes of a backbone's name that a record may have, in any case."""
WEIGHT_FILES = (".safetensors", ".pt", ".pth", ".bin", ".npz")


@dataclass(frozen=True)
class Allowed:
    """What the caller allows a record to cause here; by itself a record is only data.

    Attributes:
        plugins_from: Folders in which the files of its plugins or its stream are searched, whose code is executed.
        download: Whether its data and weights may be downloaded.
    """

    plugins_from: Sequence[Path] = ()
    download: bool = False


NOTHING = Allowed()


def known_benchmarks(*own: str) -> list[BenchmarkSpec]:
    """The shipped benchmarks and the user's own, which have paths for the files of a record; records have no paths."""
    return [load_benchmark(name)[0] for name in (*shipped_benchmarks(), *own)]


def folders_of(data_root: Path | None) -> list[Path]:
    """The folders in which the files of a record are searched."""
    return list(dict.fromkeys([data_root or Path(), Path()]))


def restored_plugin(
    entry: PluginEntry,
    folders: Sequence[Path],
    published: Sequence[Path] = (),
    *,
    absent: str = NAME_FOLDER,
    otherwise: str = "run the benchmark again",
    allow_changed: bool = False,
) -> PluginInfo:
    """Find the plugin with a name and source; of several files with the name, the one with the source. Imports nothing.

    Args:
        entry: The plugin's entry in the record.
        folders: Folders in which the caller allows files to be searched and executed; a record has only a file's name.
        published: Files of the plugin that are published with the record, whatever their names.
        absent: What the reader can do if there is no such file.
        otherwise: What the reader can do instead of restoring the version of the run.
        allow_changed: Whether to accept a plugin of that name with another source.

    Raises:
        UserError: If there is none of that name, or only with another source.
    """
    found = recorded_plugins(entry.name, folders, published)
    for info in found:
        if info.source is not None and info.source.sha256 == entry.source:
            return info
    if not found:
        name, places = printable(entry.name), " or ".join(f"'{folder}'" for folder in folders)
        where = f", and there is none in {places}" if places else ""
        raise UserError(f"the run was made with the plugin file '{name}', whose code would run{where}: {absent}")
    if allow_changed:
        return found[0]
    info, now = found[0], found[0].source.sha256[:12] if found[0].source else "none"
    where = info.target.rpartition(":")[0] if is_file(entry.name) else info.distribution
    raise UserError(
        f"plugin '{entry.name}' ({where}) has changed since the run, which was made with {entry.distribution} "
        f"(source {entry.source[:12]}, now {now}): restore that version, or {otherwise}"
    )


def restored_dataset(content: Any, download: bool = False) -> DatasetSpec | None:
    """The data set of a record, found below the data root by its name, and downloaded only if the caller allows it.

    Args:
        content: The record's entry; None for a stream with its own images.
        download: Whether it may be downloaded if it is missing.

    Raises:
        UserError: If the entry is invalid, or has a path.
    """
    if content is None:
        return None
    try:
        spec = DatasetSpec.model_validate(content)
    except ValidationError as error:
        raise UserError(f"its data set is not one of this version: {_words(error)}") from error
    _refuse_elsewhere(spec, download)
    return _downloaded(spec, download)


def _words(error: KeyError | ValidationError) -> str:
    if isinstance(error, ValidationError):
        return first_mistake(error, "it")
    return f"config.{error.args[0]} is missing"


def _refuse_elsewhere(spec: DatasetSpec, download: bool) -> None:
    """Refuse paths, and a hub's data unless they may be downloaded."""
    if spec.path:
        plain_name(spec.path, "folder of data")
    if spec.name.startswith(HUB) and not download:
        raise UserError(f"the run's data set '{shortened(spec.name)}' is on a hub: {DOWNLOAD}")
    for part in spec.parts:
        _refuse_elsewhere(part, download)


def _downloaded(spec: DatasetSpec, download: bool) -> DatasetSpec:
    """The data set, which is downloaded or not, whatever it says itself."""
    parts = tuple(_downloaded(part, download) for part in spec.parts)
    return spec.model_copy(update={"download": download, "parts": parts})


def restored_stream(record: RunRecord, download: bool = False) -> tuple[DatasetSpec | None, ScenarioSpec]:
    """The stream of a record.

    Args:
        record: The record.
        download: Whether missing data may be downloaded.

    Raises:
        UserError: If this version of clsuite has no such data set or scenario, or the record has a path.
    """
    try:
        scenario = ScenarioSpec.model_validate(record.config["scenario"])
        dataset = restored_dataset(record.config["dataset"], download)
        return _with_paths(dataset, record.benchmark, download), scenario
    except (KeyError, ValidationError) as error:
        raise UserError(f"its stream cannot be made by this version: {_words(error)}") from error


def _with_paths(dataset: DatasetSpec | None, benchmark: str, download: bool) -> DatasetSpec | None:
    """The data set with the paths of the shipped benchmark of that name, if it is the same but for its folders."""
    if dataset is None or benchmark not in shipped_benchmarks():
        return dataset
    spec, _ = load_benchmark(benchmark)
    recorded = without_path(dataset.model_dump())
    if spec.dataset is None or without_path(spec.dataset.model_dump()) != recorded:
        return dataset
    return _downloaded(spec.dataset, download)


def refuse_request(backbone: Mapping[str, Any], download: bool, fix: str = DOWNLOAD) -> None:
    """Check that building the backbone of a record does not use the network, unless the caller allows it.

    Args:
        backbone: The backbone's entry in the record.
        download: Whether the caller allows it.
        fix: How the caller can allow it.

    Raises:
        UserError: If it would, or the entry has a folder.
    """
    if "class" in backbone:
        return  # it is code, which may use the network if the caller allows it to run
    name = str(backbone["name"])
    scheme, has_scheme, _ = name.partition(":")
    if has_scheme and not is_clip(name) and scheme.lower() not in HUB_SCHEMES:
        raise UserError(
            f"the record's backbone '{shortened(name)}' is not on any hub, and a record may not give a path: it may "
            "name those of timm and OpenCLIP, and hf-hub:OWNER/NAME"
        )
    remote = _has_foreign_text(name) if is_clip(name) else ":" in name
    if remote and not download:
        raise UserError(f"the record's backbone '{shortened(name)}' is described on the network: {fix}")


def _has_foreign_text(name: str) -> bool:
    """Whether the text tower of a CLIP, or its tokenizer, is loaded from a hub."""
    parsed = parse_clip(name)
    if parsed.folder is not None:
        return False
    import open_clip

    config = open_clip.get_model_config(parsed.model) if parsed.model in open_clip.list_models() else None
    text = (config or {}).get("text_cfg", {})
    return any(key.startswith("hf_") for key in text)


def restored_weights(
    backbone: Mapping[str, Any],
    data_root: Path | None,
    known: Sequence[BenchmarkSpec],
    given: Path | None = None,
    fix: str = "give --data-root FOLDER",
    download: bool = False,
) -> Weights:
    """The weights that a run started from: by keyword, or the file with their hash.

    Args:
        backbone: The backbone's entry in the record.
        data_root: A folder in which files are searched, besides the places in benchmarks and the current folder.
        known: The benchmarks with possible places of the weights.
        given: The only file to consider.
        fix: What the reader can do if no file has the hash.
        download: Whether they may be downloaded if the run used weights of a hub.

    Raises:
        UserError: If those of the keyword have changed, or would be downloaded.
        AbsentError: If no file has the hash.
    """
    kind, name, sha256 = backbone["weights"], backbone["name"], backbone["sha256"]
    refuse_request(backbone, download)
    if kind == OWN:
        return Weights(OWN)
    if kind == "hub" and not download:
        raise UserError(f"the run used weights of '{name}' from a hub: {DOWNLOAD}, or run it again with a file")
    if kind in KEYWORDS:
        weights = find_weights(BackboneSpec(name=name, weights=kind), folders_of(data_root))
        if weights.sha256 != sha256:
            raise UserError(f"the {kind} weights of '{name}' are not those of the record")
        return weights
    for path in [given] if given else dict.fromkeys(_weight_files(name, data_root, known)):
        with suppress(OSError):  # files that are missing or cannot be read are skipped
            if sha256_of_file(path) == sha256:
                return Weights("file", path, sha256)
    places = "the current folder" if data_root is None else f"the current folder or below '{data_root}'"
    where = f"'{given}' has not" if given else f"no file in {places} has"
    raise AbsentError(f"the run started from weights of '{name}' with sha256 {sha256[:12]}, and {where} it: {fix}")


def _weight_files(name: str, data_root: Path | None, known: Sequence[BenchmarkSpec]) -> Iterator[Path]:
    """Files that may be the weights, the most likely first, because hashing all of them takes long."""
    own = [spec.backbone.weights for spec in known if spec.backbone.name == name and spec.backbone.weights]
    yield from (folder / weights for folder in folders_of(data_root) for weights in own)
    files = [*sorted(Path().glob("*")), *(files_below(data_root) if data_root is not None else [])]
    yield from (path for path in files if path.suffix in WEIGHT_FILES)


def restored_probe(
    entry: Mapping[str, Any], image_size: int, data_root: Path | None, known: Sequence[BenchmarkSpec]
) -> AnyProbe:
    """The probe of an entry; its images are searched where benchmarks have them, by the fingerprint in the entry.

    Raises:
        AbsentError: If they are in none of these places.
    """
    for content in _probe_contents(entry, known):
        try:
            probe = PROBE.validate_python(content)
            if probe_config(probe, image_size, data_root) == entry:
                return probe
        except (UserError, ValidationError):
            continue
    raise AbsentError(
        f"the images of probe '{entry.get('name') or entry['kind']}' are not where a shipped benchmark has them: "
        "give --data-root FOLDER, and --benchmark FILE if the benchmark is your own"
    )


def _probe_contents(entry: Mapping[str, Any], known: Sequence[BenchmarkSpec]) -> Iterator[dict[str, Any]]:
    """Possible contents of the probe in its benchmark: unchanged, or with the paths and names of any probe there."""
    probes = [probe for spec in known for probe in spec.probes]
    paths = dict.fromkeys(path for probe in probes if (path := getattr(probe, "path", None)))
    names = dict.fromkeys(name for probe in probes if (name := getattr(probe, "names", None)))
    if "class" in entry:
        yield dict(entry)
        return
    plain = {key: value for key, value in entry.items() if key not in ("fingerprint", "path", "names")}
    if isinstance(plain.get("dataset"), dict):
        dataset = restored_dataset(plain["dataset"])
        plain["dataset"] = dataset.model_dump() if dataset else None
    yield plain
    yield from ({**plain, "path": path} for path in paths)
    yield from ({**plain, "path": path, "names": name} for path in paths for name in names)
