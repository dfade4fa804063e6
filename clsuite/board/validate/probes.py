"""Checks the readings of a record's probes."""

from __future__ import annotations

import numpy as np

from clsuite.probes.spec import readings_of
from clsuite.records import ProbeEntry, RunRecord

LARGEST_READING = 1e12
"""Readings above it do not occur, and no plot can show them."""


def reading_problem(record: RunRecord) -> str:
    """The problem with the readings of its probes; empty if they are possible and consistent with their counts."""
    kinds = {
        f"{entry.get('name') or entry['kind']}{end}": f"{entry['kind']}{end}"
        for entry in record.config.get("probes", [])
        for end in ("", "_kl")
    }
    for probe in record.probes:
        read = [value for value in probe.values if value is not None]
        if max(map(abs, read), default=0) > LARGEST_READING:
            return f"probes.{probe.name}: a reading is above {LARGEST_READING:g}"
        if problem := _out_of_range(probe, kinds.get(probe.name, "")):
            return f"probes.{probe.name}: {problem}"
        if probe.correct is None or not probe.n:
            continue
        shares = [right / probe.n for right in probe.correct if right is not None]
        if not np.allclose(shares, read, rtol=0, atol=1e-9):
            return f"probes.{probe.name}: its values are not the right answers divided by {probe.n}"
    return ""


def _out_of_range(probe: ProbeEntry, kind: str) -> str:
    """What is impossible for a probe of its kind: a negative divergence, an early reading, an error outside 0 to 1."""
    read = [value for value in probe.values if value is not None]
    if kind == "calibration" and not all(0 <= value <= 1 for value in read):
        return "a calibration error lies in 0..1"
    if kind == "head_kl" and any(value < 0 for value in read):
        return "a divergence is never negative"
    if kind == "head_kl" and probe.values[0] not in (None, 0):
        return "before the stream nothing has moved, and its divergence is 0"
    return ""


def probe_problem(record: RunRecord) -> str:
    """The problem with the names of its readings, which must be those of the probes in its configuration, each once."""
    due: dict[str, tuple[bool, bool]] = {}
    own = {probe.get("name") for probe in record.config.get("probes", []) if probe.get("kind") == "own"}
    for probe in record.config.get("probes", []):
        try:
            readings = readings_of(probe["kind"], probe.get("name") or probe["kind"])
        except ValueError as error:
            return f"config.probes: {error}"
        if doubled := due.keys() & readings:
            return f"config.probes: two are called '{min(doubled)}'"
        due |= readings
    names = [probe.name for probe in record.probes]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        return f"probes.{twice}: it is listed twice"
    if other := {*names} ^ due.keys():
        name = min(other)
        problem = "is not of a probe that its configuration names" if name in names else "is missing"
        return f"probes.{name}: it {problem}"
    for reading in record.probes:
        better, counted = due[reading.name]
        counts = reading.correct is not None if reading.was_read else counted
        if reading.name not in own and (reading.higher_is_better, counts) != (better, counted):
            return (
                f"probes.{reading.name}: of its kind of probe {'more' if better else 'less'} is better, "
                f"and right answers are {'counted' if counted else 'not counted'}; it says otherwise"
            )
    return ""
