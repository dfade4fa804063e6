"""What the runs in one table must have in common: the benchmark's setup, a method's configuration, a seed's stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clsuite.records import RunRecord
from clsuite.records.order import order_name, without_order


@dataclass
class ConsistencyCheck:
    """Compares each record with those seen before of the same benchmark and method."""

    setups: dict[str, tuple[dict[str, Any], str]] = field(default_factory=dict)
    methods: dict[tuple[str, str], tuple[dict[str, Any], str]] = field(default_factory=dict)
    streams: dict[tuple[str, int, str], tuple[str, str]] = field(default_factory=dict)
    probes: dict[tuple[str, str], tuple[tuple[bool, bool], str]] = field(default_factory=dict)
    sizes: dict[tuple[str, str, int], tuple[int | None, str]] = field(default_factory=dict)

    def problem(self, record: RunRecord, where: str) -> str:
        """How a record differs from earlier ones; empty if it does not, and later records are then compared with it.

        Args:
            record: The record.
            where: Name of the record in later messages.
        """
        name, method = record.benchmark, record.method
        setup, configuration = _setup(record), _configuration(record)
        first, place = self.setups.setdefault(name, (setup, where))
        if first != setup:
            return f"its {_differing(first, setup)} differs from that of '{place}'"
        usual, place = self.methods.setdefault((name, method), (configuration, where))
        if usual != configuration:
            return f"its {_differing(usual, configuration)} differs from that of '{place}', another seed of {method}"
        fingerprint = record.scenario.fingerprint
        order = order_name(record)
        stream, place = self.streams.setdefault((name, record.seed, order), (fingerprint, where))
        if stream != fingerprint:
            same = "seed and order" if order else "seed"
            return (
                f"its stream is another one than that of '{place}' with the same {same}: other data, seed or scenario"
            )
        return self._unlike_probe(record, where)

    def _unlike_probe(self, record: RunRecord, where: str) -> str:
        """How a probe differs from an earlier one of the same name; a column has only one quantity and one direction.

        A probe without any value does not show what it measures, so it may be in the column of any other.
        """
        for probe in (entry for entry in record.probes if entry.was_read):
            sign = probe.higher_is_better, probe.correct is not None
            first, place = self.probes.setdefault((record.benchmark, probe.name), (sign, where))
            if first != sign:
                detail = "only one counts right answers" if first[0] == sign[0] else "more is better of only one"
                return f"its probe '{probe.name}' is unlike that of '{place}': {detail}"
            size, place = self.sizes.setdefault((record.benchmark, probe.name, record.seed), (probe.n, where))
            if size != probe.n:
                return f"its probe '{probe.name}' reads {probe.n} images, but that of '{place}' {size}"
        return ""


def _setup(record: RunRecord) -> dict[str, Any]:
    """The stream and backbone, which all runs of a benchmark share."""
    config = without_order(record.config)
    shared = {key: value for key, value in config.items() if key not in ("training", "probes")}
    return {**shared, "kind of stream": record.scenario.kind}


def _configuration(record: RunRecord) -> dict[str, Any]:
    """The configuration that all seeds and orders of a method share."""
    return {
        **without_order(record.config),
        "plugins": [{"name": entry.name, "args": entry.args, "files": entry.files} for entry in record.plugins],
    }


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    return ", ".join(sorted(key for key in {*first, *second} if first.get(key) != second.get(key)))
