"""From names to contents: weights, streams and probe images of a benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clsuite.backbones.spec import Weights, find_weights
from clsuite.data.datasets import beside, path_beside
from clsuite.runner.options import RunOptions
from clsuite.runner.own_classes import bind_classes
from clsuite.runner.record_config import probe_config, tasks_learned
from clsuite.runner.spec import BenchmarkSpec
from clsuite.runner.streams import find_stream_file, stream_loader
from clsuite.scenarios import Scenario, ScenarioSpec
from clsuite.scenarios.validation import judged_on_validation


@dataclass(frozen=True)
class Bound:
    """A benchmark whose data and weights have been found.

    Attributes:
        spec: The benchmark, with absolute paths.
        weights: The backbone's weights.
        stream: Makes the stream of a seed, cut as the options say; in the benchmark's order, or in that of another
            specification of the stream.
        probes: The probes as records store them, with the fingerprints of their images.
        files: The files of its user-defined classes, by their source.
    """

    spec: BenchmarkSpec
    weights: Weights
    stream: Callable[[int, ScenarioSpec | None], Scenario]
    probes: list[dict[str, Any]]
    files: Mapping[str, str]


def bind(spec: BenchmarkSpec, folder: Path, options: RunOptions) -> Bound:
    """Find the data and weights of a benchmark, and read the data.

    Args:
        spec: The benchmark.
        folder: The folder of its YAML file, in which relative paths are looked for too.
        options: The options of the call.

    Raises:
        UserError: If data or weights are missing or cannot be read.
    """
    root = options.data_root
    spec, files = bind_classes(spec, (Path(), folder))
    weights = find_weights(spec.backbone, [folder] if root is None else [root, folder])
    scenario = find_stream_file(spec.scenario, [folder] if root is None else [folder, root])
    spec = with_whole_paths(spec.model_copy(update={"scenario": scenario}), root, folder)
    load = stream_loader(spec.dataset, scenario, spec.backbone.image_size, root, files)
    probes = [probe_config(probe, spec.backbone.image_size, root) for probe in spec.probes]

    def stream(seed: int, other: ScenarioSpec | None = None) -> Scenario:
        made = load(seed, tasks_learned(spec, options.limit_tasks), other)
        return judged_on_validation(made) if options.on_validation else made

    return Bound(spec, weights, stream, probes, files)


def with_whole_paths(spec: BenchmarkSpec, data_root: Path | None, folder: Path) -> BenchmarkSpec:
    """The benchmark with the absolute paths of data beside its file; records keep only the last part."""
    probes = []
    for probe in spec.probes:
        path = getattr(probe, "path", None)
        placed = {"path": path_beside(path, data_root, folder)} if path else {}
        probes.append(probe.model_copy(update=placed))
    dataset = beside(spec.dataset, data_root, folder) if spec.dataset else None
    return spec.model_copy(update={"dataset": dataset, "probes": type(spec.probes)(probes)})
