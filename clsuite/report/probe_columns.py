"""The columns of probes: what each kind reads, and how the reading changed over the stream."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from clsuite.metrics import Column
from clsuite.records import ProbeEntry, RunRecord

PROBE, CHANGE = "probe_", "_change"
KINDS = {
    "head": ("pre-trained head", "Accuracy, after the last task, of the head that the backbone was pre-trained with, "
             "on images of the pre-training's classes: how much of that knowledge is left."),
    "knn": ("k-NN accuracy", "Accuracy, after the last task, of k nearest neighbors of the features on images of the "
            "pre-training's classes: how much of that knowledge is left."),
    "left_out_domains": ("left-out domains", "Accuracy, after the last task, on the domains that no task trains on."),
    "zero_shot": ("zero-shot acc.", "Zero-shot accuracy of the CLIP, after the last task, on images that the stream "
                  "does not train on: how much of that knowledge is left."),
    "calibration": ("calibration error", "How far the confidence of predictions is from their accuracy, after the last "
                    "task, on the test images of the classes seen: the expected calibration error, from 0 to 1. A dash "
                    "if a method's scores are not logits."),
}  # fmt: skip
"""Heading and words of each kind of probe."""
SOURCES = {"calibration": ("sum_b n[b]/n |acc[b] - conf[b]|, b bins of the confidence", "Guo et al. 2017")}
DRIFT = (
    "How far the predictions of the pre-trained head have moved since before the stream, in nats: "
    "0 if they are the same."
)
CHANGED = (
    "The reading after the last task minus the reading of the pre-trained backbone before the stream; a dash if "
    "either is missing. It orders rows as the reading itself does, so no row is marked as best."
)


def probe_columns(records: Sequence[RunRecord]) -> Iterator[Column]:
    """The last reading of each probe of some records and, unless it is a drift, its change over the stream.

    If no configuration says what a probe reads, its name is the heading. A change has no direction, because it orders
    rows as the reading does.
    """
    known = {column.name: column for record in records for column in _configured(record.config)}
    for name, probe in sorted(_read(records).items()):
        described = known.get(name) or Column(
            name, f"probe {name}", about=f"What the probe '{name}' reads after the last task."
        )
        reading = replace(
            described,
            name=f"{PROBE}{name}",
            higher_is_better=probe.higher_is_better,
            unit="number" if probe.correct is None else "share",
        )
        yield reading
        if reading.about != DRIFT:
            label = f"change of {reading.label.removeprefix('probe ')}"
            yield Column(f"{reading.name}{CHANGE}", label, about=CHANGED, unit=reading.unit)


def is_probe(column: Column) -> bool:
    """Whether the column is the last reading of a probe."""
    return column.name.startswith(PROBE) and not column.name.endswith(CHANGE)


def _read(records: Sequence[RunRecord]) -> dict[str, ProbeEntry]:
    """An entry of each probe: one with a reading, if any record has one."""
    probes: dict[str, ProbeEntry] = {}
    for probe in (probe for record in records for probe in record.probes):
        if probe.name not in probes or probe.was_read:
            probes[probe.name] = probe
    return probes


def _configured(config: Mapping[str, Any]) -> Iterator[Column]:
    """What the probes of a run read, by the names of the readings in records."""
    probes = config.get("probes")
    for probe in probes if isinstance(probes, list) else []:
        kind = str(probe.get("kind")) if isinstance(probe, dict) else ""
        if kind not in KINDS:
            continue
        label, about = KINDS[kind]
        if kind == "head" and _ends_in_imagenet(config):
            label = "ImageNet head"
        name = str(probe.get("name") or kind)
        own = f"probe {name}" if name != kind else ""
        formula, source = SOURCES.get(kind, ("", ""))
        yield Column(name, own or label, formula, source, about=about)
        if kind == "head":
            yield Column(f"{name}_kl", f"{own}_kl" if own else f"{label} drift", "KL(before || now)", about=DRIFT)


def _ends_in_imagenet(config: Mapping[str, Any]) -> bool:
    """Whether the tag of the backbone says that its head is of ImageNet's 1000 classes, as ``in21k_ft_in1k`` does."""
    backbone = config.get("backbone")
    tag = str(backbone.get("name", "")).partition(".")[2] if isinstance(backbone, dict) else ""
    return re.findall(r"in\d+k", tag)[-1:] == ["in1k"]
