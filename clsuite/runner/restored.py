"""What a record was made of, found again: its plugins by their source, its weights and probe images by content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from clsuite.backbones.spec import KEYWORDS, BackboneSpec, Weights, find_weights
from clsuite.errors import AbsentError, UserError
from clsuite.plugin.catalog import PluginInfo, find_plugin
from clsuite.plugin.local import is_file
from clsuite.probes.spec import AnyProbe, ProbeSpec
from clsuite.records import PluginEntry
from clsuite.records.canonical import sha256_of_file
from clsuite.runner.plan import probe_config
from clsuite.runner.spec import BenchmarkSpec, load_benchmark, shipped_benchmarks

PROBE: TypeAdapter[AnyProbe] = TypeAdapter(ProbeSpec)
WEIGHT_FILES = (".safetensors", ".pt", ".pth", ".bin", ".npz")


def known_benchmarks(*own: str) -> list[BenchmarkSpec]:
    """The shipped benchmarks and some of one's own: they say where files of a record, which holds no paths, may lie."""
    return [load_benchmark(name)[0] for name in (*shipped_benchmarks(), *own)]


def folders_of(data_root: Path | None) -> list[Path]:
    """Where the files of a record are looked for."""
    return list(dict.fromkeys([data_root or Path(), Path()]))


def restored_plugin(
    entry: PluginEntry,
    folders: Sequence[Path],
    *,
    absent: str = "call it in the folder of that file, or say --data-root FOLDER",
    otherwise: str = "run the benchmark again",
    allow_changed: bool = False,
) -> PluginInfo:
    """The plugin of that name and source; of several files of that name, the one that ran.

    Args:
        entry: What the record knows of it.
        folders: Where files are looked for: a record knows a file's name, and no folder.
        absent: What the reader can do where there is no such file.
        otherwise: What the reader can do in place of bringing the version that ran back.
        allow_changed: Take one of that name although its source is another one.

    Raises:
        UserError: If there is none of that name, or only with another source.
    """
    for folder in folders if is_file(entry.name) else ():
        with suppress(UserError):
            info, source = find_plugin(entry.name, [folder])
            if source.sha256 == entry.source:
                return info
    try:
        info, source = find_plugin(entry.name, folders)
    except UserError as error:
        raise UserError(f"{error}: {absent}" if is_file(entry.name) else str(error)) from error
    if source.sha256 != entry.source and not allow_changed:
        where = info.target.rpartition(":")[0] if is_file(entry.name) else info.distribution
        raise UserError(
            f"plugin '{entry.name}' ({where}) has changed since the run, which was made with {entry.distribution} "
            f"(source {entry.source[:12]}, now {source.sha256[:12]}): bring that version back, or {otherwise}"
        )
    return info


def restored_weights(
    backbone: Mapping[str, Any],
    data_root: Path | None,
    known: Sequence[BenchmarkSpec],
    given: Path | None = None,
    mend: str = "say --data-root FOLDER",
) -> Weights:
    """The weights that a run started from: by keyword, or the file with their hash.

    Args:
        backbone: The record's account of its backbone.
        data_root: Files are looked for where benchmarks have them, in the current folder and anywhere below this one.
        known: The benchmarks that say where weights lie.
        given: The only file to look at.
        mend: What the reader can do where no file has the hash.

    Raises:
        UserError: If those of the keyword are others now.
        AbsentError: If no file has the hash.
    """
    kind, name, sha256 = backbone["weights"], backbone["name"], backbone["sha256"]
    if kind in KEYWORDS:
        weights = find_weights(BackboneSpec(name=name, weights=kind), folders_of(data_root))
        if weights.sha256 != sha256:
            raise UserError(f"the {kind} weights of '{name}' are not those of the record")
        return weights
    for path in [given] if given else dict.fromkeys(_weight_files(name, data_root, known)):
        if path.is_file() and sha256_of_file(path) == sha256:
            return Weights("file", path, sha256)
    places = "the current folder" if data_root is None else f"the current folder or below '{data_root}'"
    where = f"'{given}' has not" if given else f"no file in {places} has"
    raise AbsentError(f"the run started from weights of '{name}' with sha256 {sha256[:12]}, and {where} it: {mend}")


def _weight_files(name: str, data_root: Path | None, known: Sequence[BenchmarkSpec]) -> Iterator[Path]:
    """Files that may be the weights, the likely ones first: to hash them all takes its time."""
    own = [spec.backbone.weights for spec in known if spec.backbone.name == name and spec.backbone.weights]
    yield from (folder / weights for folder in folders_of(data_root) for weights in own)
    files = [*sorted(Path().glob("*")), *(sorted(data_root.rglob("*")) if data_root is not None else [])]
    yield from (path for path in files if path.suffix in WEIGHT_FILES)


def restored_probe(
    entry: Mapping[str, Any], image_size: int, data_root: Path | None, known: Sequence[BenchmarkSpec]
) -> AnyProbe:
    """The probe of an entry; its images, which the entry knows by their fingerprint, lie where a benchmark says.

    Raises:
        AbsentError: If no benchmark says a place that has them.
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
        "say --data-root FOLDER, and --benchmark FILE where the benchmark is one's own"
    )


def _probe_contents(entry: Mapping[str, Any], known: Sequence[BenchmarkSpec]) -> Iterator[dict[str, Any]]:
    """What the probe may have been in its benchmark: as it is, or with the paths and names of any probe there."""
    probes = [probe for spec in known for probe in spec.probes]
    paths = dict.fromkeys(path for probe in probes if (path := getattr(probe, "path", None)))
    names = dict.fromkeys(name for probe in probes if (name := getattr(probe, "names", None)))
    plain = {key: value for key, value in entry.items() if key != "fingerprint"}
    yield plain
    yield from ({**plain, "path": path} for path in paths)
    yield from ({**plain, "path": path, "names": name} for path in paths for name in names)
