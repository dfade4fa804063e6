"""Pairs of runs of two methods on the same streams: by seed, and by order if there are several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from clsuite.errors import UserError
from clsuite.records import RunRecord
from clsuite.records.order import StreamOrder, order_name, order_of
from clsuite.report.units import Spread, Units

Stream = tuple[int, StreamOrder | None]
Sides = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class PairedRuns:
    """The runs of two methods on the same streams.

    Attributes:
        pairs: A run of each, by seed and order.
        apart: The runs in orders that were chosen for one of the methods alone, such as by its search.
        units: The units of the pairs.
    """

    pairs: list[tuple[RunRecord, RunRecord]]
    apart: tuple[list[RunRecord], list[RunRecord]] = field(default_factory=lambda: ([], []))

    @property
    def units(self) -> Units:
        """The units that mean and test are over."""
        return Units.of([a for a, _ in self.pairs])

    def values(self, value: Callable[[RunRecord], float]) -> Sides:
        """A quantity of both methods for each unit that mean and test are over."""
        units = self.units
        first, second = ([value(pair[side]) for pair in self.pairs] for side in (0, 1))
        return tuple(units.sampled(units.means(first))), tuple(units.sampled(units.means(second)))

    def spreads(self, value: Callable[[RunRecord], float]) -> tuple[Spread | None, ...]:
        """Minimum, median and maximum of both methods over all orders; empty without several orders."""
        if not self.units.orders:
            return ()
        sides = [[pair[side] for pair in self.pairs] + self.apart[side] for side in (0, 1)]
        return tuple(Units.of(runs).spread([value(run) for run in runs]) for runs in sides)


def pair_runs(first: Sequence[RunRecord], second: Sequence[RunRecord]) -> PairedRuns:
    """Pair the runs of two methods.

    Raises:
        UserError: If seeds, orders, streams or test parts differ; says which.
    """
    by_first, by_second = ({_stream(record): record for record in records} for records in (first, second))
    chosen = [{key for key in side if key[1] is not None and not key[1].drawn} for side in (by_first, by_second)]
    alone = (chosen[0] - by_second.keys(), chosen[1] - by_first.keys())
    apart = (_of(by_first, alone[0]), _of(by_second, alone[1]))
    shared = [by_first.keys() - alone[0], by_second.keys() - alone[1]]
    if shared[0] != shared[1] or not shared[0]:
        raise _unpaired(first, second, shared if any(shared) else [by_first.keys(), by_second.keys()])
    pairs = [(by_first[key], by_second[key]) for key in by_first if key in shared[0]]
    pairs.sort(key=lambda pair: (pair[0].seed, order_name(pair[0])))
    for a, b in pairs:
        _check_same_stream(a, b)
    return PairedRuns(pairs, apart)


def _of(runs: Mapping[Stream, RunRecord], keys: Set[Stream]) -> list[RunRecord]:
    return [run for key, run in runs.items() if key in keys]


def _stream(record: RunRecord) -> Stream:
    return record.seed, order_of(record)


def _unpaired(first: Sequence[RunRecord], second: Sequence[RunRecord], keys: Sequence[Iterable[Stream]]) -> UserError:
    """The error for methods that have not the same seeds or orders."""
    seeds = [{seed for seed, _ in side} for side in keys]
    orders = [sorted({order.name if order else "of the seed" for _, order in side}) for side in keys]
    if seeds[0] != seeds[1]:
        both = sorted(seeds[0] & seeds[1])
        what, have = "seeds", [", ".join(str(seed) for seed in sorted(side)) for side in seeds]
        fix = (
            f"compare those that both have with --seeds {','.join(str(seed) for seed in both)}"
            if both
            else "run the missing ones"
        )
    else:
        what, have, fix = "orders", [", ".join(side) for side in orders], "run the missing ones"
    return UserError(
        f"'{first[0].method}' has {what} {have[0]} and '{second[0].method}' has {have[1]}; "
        f"paired differences need the same: {fix}"
    )


def order_notes(runs: PairedRuns) -> list[str]:
    """What the comparison says nothing of: orders of one method alone, and orders that were not drawn."""
    notes = []
    for side, others in ((0, 1), (1, 0)):
        if apart := runs.apart[side]:
            number, name = len({order_name(run) for run in apart}), runs.pairs[0][side].method
            notes.append(
                f"{number} order{'s' * (number > 1)} of '{name}' alone, found by a search or listed, count for its "
                f"minimum and maximum, and not for the comparison with '{runs.pairs[0][others].method}'"
            )
    orders = runs.units.orders
    if orders and not any(order.drawn for order in orders):
        notes.append("the orders were chosen, not drawn at random: interval and p say nothing of other orders")
    return notes


def _check_same_stream(a: RunRecord, b: RunRecord) -> None:
    order = order_name(a)
    where = f"'{a.method}' and '{b.method}' with seed {a.seed}" + (f" and order {order}" if order else "")
    if a.key == b.key:
        raise UserError(f"{where} are the same run ({a.key[:12]})")
    if a.scenario.kind != b.scenario.kind:
        raise UserError(f"{where} learned different kinds of stream: {a.scenario.kind} and {b.scenario.kind}")
    if len(a.scenario.task_names) != len(b.scenario.task_names):
        numbers = f"{len(a.scenario.task_names)} and {len(b.scenario.task_names)}"
        raise UserError(f"{where} learned streams of different lengths: {numbers} tasks")
    if a.scenario.fingerprint != b.scenario.fingerprint:
        prints = f"{a.scenario.fingerprint[:12]} and {b.scenario.fingerprint[:12]}"
        raise UserError(
            f"{where} learned different streams (fingerprints {prints}): other images, labels, order or split"
        )
    if a.main_counts.n.tolist() != b.main_counts.n.tolist():
        raise UserError(f"{where} were tested on parts of different sizes")
    for record in (a, b):
        if len(record.scenario.columns) != len(record.main_counts.n):
            parts, names = len(record.main_counts.n), len(record.scenario.columns)
            raise UserError(f"'{record.method}' with seed {record.seed} names {names} test parts and counts {parts}")
