"""Checks the readings of a record's probes with their images, if these are available. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clsuite.errors import AbsentError, UserError
from clsuite.probes.counted import images_classified
from clsuite.probes.spec import AnyProbe, CalibrationProbe, LeftOutProbe, OwnProbe, probe_name
from clsuite.records import RunRecord
from clsuite.runner.record_config import probe_config
from clsuite.runner.recorded_inputs import known_benchmarks, restored_probe
from clsuite.runner.spec import load_benchmark, shipped_benchmarks


def probe_image_problem(record: RunRecord, image_size: int, data_root: Path | None, left_out: int) -> str:
    """The problem with the images of its probes; empty if they are the images, and as many, that it says.

    Args:
        record: A record whose readings are valid by themselves.
        image_size: Size at which images are decoded.
        data_root: Folder of the images.
        left_out: Number of test images of the stream's data whose domains no task trains on.

    Raises:
        AbsentError: If images are not available.
    """
    readings = {probe.name: probe for probe in record.probes}
    for entry in record.config.get("probes", []):
        name = entry.get("name") or entry["kind"]
        if entry["kind"] in ("calibration", "own"):
            continue
        due = left_out
        if entry["kind"] != "left_out_domains":
            probe = _shipped(record.benchmark, name)
            if probe is None:
                probe = restored_probe(entry, image_size, data_root, known_benchmarks())
            elif problem := _other_images(probe, entry, image_size, data_root):
                return f"config.probes: '{name}' {problem}"
            assert not isinstance(probe, LeftOutProbe | CalibrationProbe | OwnProbe)
            due = images_classified(probe, image_size, data_root)
        if readings[name].n not in (None, due):
            return f"probes.{name}: it says {readings[name].n} images, but classifies {due}"
    return ""


def _shipped(benchmark: str, name: str) -> AnyProbe | None:
    """The probe of that name of a shipped benchmark, if there is one."""
    probes = load_benchmark(benchmark)[0].probes if benchmark in shipped_benchmarks() else ()
    return next((probe for probe in probes if probe_name(probe) == name), None)


def _other_images(probe: AnyProbe, entry: Mapping[str, Any], image_size: int, data_root: Path | None) -> str:
    """How a record's probe differs from that of its benchmark."""
    try:
        due = probe_config(probe, image_size, data_root)
    except UserError as error:
        raise AbsentError(str(error)) from error
    differing = [key for key, value in due.items() if key in entry and entry[key] != value]
    if differing == ["fingerprint"]:
        return "is on other images than those available"
    return f"has another {', '.join(differing)} than its benchmark asks for" if differing else ""
