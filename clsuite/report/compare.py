"""Comparison of two methods on the same streams: paired differences over seeds or orders, and an exact test."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from clsuite.errors import UserError
from clsuite.metrics import METRICS, MTIL, OPEN_VOCABULARY, PRIMARY, mean_interval, open_vocabulary_values
from clsuite.records import RunRecord
from clsuite.records.record import RESULTS_VERSION
from clsuite.report.format import kind_of
from clsuite.report.pairing import PairedRuns, order_notes, pair_runs
from clsuite.report.summary import judged_by
from clsuite.report.units import Spread

COMPARED = (
    PRIMARY,
    "final_accuracy_weighted",
    "average_incremental_accuracy_weighted",
    "forgetting_max_before_last",
    "learning_accuracy",
    "backward_transfer",
)
EXACT_UP_TO = 16
"""Largest number of seeds for which all sign flips are tried; for more, 2^16 random ones with a fixed seed are used."""


@dataclass(frozen=True)
class Paired:
    """A quantity of both methods for each seed, or for each order (the mean over its seeds), as fractions.

    Attributes:
        name: Name of the metric or test part.
        higher_is_better: Direction.
        first: The first method's value for each seed or order; of orders, only those that mean and test are over.
        second: The second method's value for each.
        spreads: Minimum, median and maximum over all orders, of the first method and of the second; empty without
            several orders.
    """

    name: str
    higher_is_better: bool
    first: tuple[float, ...]
    second: tuple[float, ...]
    spreads: tuple[Spread | None, ...] = ()

    @property
    def differences(self) -> tuple[float, ...]:
        """The first method's value minus the second's, for each seed or order."""
        return tuple(a - b for a, b in zip(self.first, self.second, strict=True))

    @property
    def interval(self) -> tuple[float, float]:
        """Mean difference and half-width of its 95 % Student-t interval over seeds or orders (`nan` for one)."""
        return mean_interval(self.differences)

    @property
    def p(self) -> float:
        """The p-value of the sign-flip test, see `sign_flip_p`."""
        return sign_flip_p(self.first, self.second)


@dataclass(frozen=True)
class Comparison:
    """The comparison of two methods.

    Attributes:
        first: Name of the first method.
        second: Name of the second method.
        seeds: The seeds that both methods have in common.
        orders: The orders that mean and test are over; empty without several orders.
        metrics: The metrics; the verdict is about the first of them.
        parts: The accuracy on each test part after the last task.
        notes: Other differences between the runs.
    """

    first: str
    second: str
    seeds: tuple[int, ...]
    metrics: tuple[Paired, ...]
    parts: tuple[Paired, ...]
    notes: tuple[str, ...]
    orders: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join([verdict(self), *(f"note: {note}" for note in self.notes)])


def only_seeds(records: Sequence[RunRecord], name: str, seeds: Sequence[int]) -> list[RunRecord]:
    """The records of some seeds; of all if none are passed.

    Raises:
        UserError: If a seed has no record.
    """
    missing = sorted(set(seeds) - {record.seed for record in records})
    if missing:
        raise UserError(f"'{name}' has no finished run with seed {', '.join(str(seed) for seed in missing)}")
    return [record for record in records if not seeds or record.seed in seeds]


def sign_flip_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p-value of the mean paired difference under random exchanges within pairs (Fisher 1935, section 21).

    All ``2^n`` exchanges are tried, so the value is exact and at least ``2 / 2^n``.

    Args:
        first: Values of the first method, ``[n]``.
        second: Values of the second method, ``[n]``.

    Returns:
        The p-value; 1 for a single pair, `nan` if a value is undefined.
    """
    if len(first) < 2:
        return 1.0
    if not np.isfinite([first, second]).all():
        return float("nan")
    from scipy.stats import permutation_test

    result = permutation_test(
        (np.asarray(first), np.asarray(second)),
        lambda a, b, axis: (a - b).mean(axis=axis),
        permutation_type="samples",
        n_resamples=np.inf if len(first) <= EXACT_UP_TO else 2**EXACT_UP_TO,
        vectorized=True,
        random_state=np.random.RandomState(0),
    )
    return float(result.pvalue)


def compare(first: Sequence[RunRecord], second: Sequence[RunRecord]) -> Comparison:
    """Compare two methods.

    Args:
        first: Finished records of one method, one per seed and order.
        second: Finished records of the other method, with the same seeds, orders and streams. Orders that were chosen
            for one of them alone are not compared, but count for its minimum and maximum.

    Raises:
        UserError: If seeds, streams or test parts differ; says which.
    """
    runs = pair_runs(first, second)
    names = [first[0].method, second[0].method]
    if names[0] == names[1]:
        names = [f"{name} ({letter})" for name, letter in zip(names, "AB", strict=True)]
    judged = judged_by([record for pair in runs.pairs for record in pair])
    metrics = [_metric(runs, name) for name in (*COMPARED, *(MTIL if judged else ()))]
    if all(record.counts and record.counts.open_vocabulary for pair in runs.pairs for record in pair):
        metrics += [_paired(runs, column.label, True, _over_names(name)) for name, column in OPEN_VOCABULARY.items()]
    aware = _paired(runs, "task-aware acc.", True, _task_aware)
    labels = _labels([a for a, _ in runs.pairs])
    parts = [_paired(runs, label, True, _last_on(j)) for j, label in enumerate(labels)]
    seeds = tuple(dict.fromkeys(a.seed for a, _ in runs.pairs))
    notes = (*_notes(runs.pairs), *order_notes(runs))
    orders = runs.units.orders
    compared = tuple(order.name for order in orders if order.drawn or not any(other.drawn for other in orders))
    return Comparison(names[0], names[1], seeds, (*metrics, aware), tuple(parts), notes, compared)


def _notes(pairs: Sequence[tuple[RunRecord, RunRecord]]) -> list[str]:
    notes = []
    for section in ("backbone", "training"):
        if any(a.config.get(section) != b.config.get(section) for a, b in pairs):
            notes.append(f"the two differ in their {section} too, not only in the method")
    notes += _kinds(pairs)
    return notes + _strange_keys([record for pair in pairs for record in pair])


def _strange_keys(records: Sequence[RunRecord]) -> list[str]:
    """The records that this version would not produce."""
    versions = [(f"{record.method}, seed {record.seed}", record.results_version()) for record in records]
    edited = "; ".join(name for name, version in versions if version is None)
    older = "; ".join(name for name, version in versions if version not in (None, RESULTS_VERSION))
    notes = {
        "keys that do not follow from the content (edited, or made by a later clsuite)": edited,
        "made by an older version of clsuite, whose results may differ": older,
    }
    return [f"{what}: {names}" for what, names in notes.items() if names]


def _kinds(pairs: Sequence[tuple[RunRecord, RunRecord]]) -> list[str]:
    """The seeds by kind of machine and precision, if there are several."""
    kinds: dict[tuple[str, str], dict[str, list[int]]] = {}
    for record in (record for pair in pairs for record in pair):
        methods = kinds.setdefault(kind_of(record.environment), {})
        methods.setdefault(record.method, []).append(record.seed)
    if len(kinds) < 2:
        return []
    parts = []
    for (machine, precision), methods in sorted(kinds.items()):
        names = [f"{name} (seed{'s' * (len(seeds) > 1)} {_list(seeds)})" for name, seeds in methods.items()]
        parts.append(f"{', '.join(names)} on {machine} in {precision}")
    return [f"the runs are of {len(kinds)} kinds of machine and precision, part of a difference may be theirs: "
            f"{'; '.join(parts)}"]  # fmt: skip


def _labels(records: Sequence[RunRecord]) -> list[str]:
    """Names of the test parts, if they are the same for all seeds; otherwise their numbers."""
    columns = [record.scenario.columns for record in records]
    return [
        f"{j + 1}: {name}" if all(c[j] == name for c in columns) else f"{j + 1}" for j, name in enumerate(columns[0])
    ]


def _task_aware(record: RunRecord) -> float:
    assert record.counts is not None
    return METRICS[PRIMARY].compute(record.counts.of("task_aware"))


def _over_names(column: str) -> Callable[[RunRecord], float]:
    def value(record: RunRecord) -> float:
        assert record.counts is not None
        return open_vocabulary_values(record.counts.of("open_vocabulary"))[column]

    return value


def _last_on(part: int) -> Callable[[RunRecord], float]:
    return lambda record: float(record.main_counts.accuracy[-1, part])


def _metric(runs: PairedRuns, name: str) -> Paired:
    metric = METRICS[name]
    return _paired(runs, metric.label, metric.higher_is_better, lambda record: metric.compute(record.main_counts))


def _paired(runs: PairedRuns, name: str, higher: bool, value: Callable[[RunRecord], float]) -> Paired:
    return Paired(name, higher, *runs.values(value), runs.spreads(value))


def _list(seeds: Iterable[int], separator: str = ", ") -> str:
    return separator.join(str(seed) for seed in sorted(seeds))


def verdict(comparison: Comparison) -> str:
    """One or two sentences on the difference in final accuracy."""
    main, number = comparison.metrics[0], len(comparison.metrics[0].first)
    many = _orders(number) if comparison.orders else _seeds(number)
    mean, half = main.interval
    worst = _worst(comparison)
    if not any(main.differences):
        return f"{comparison.first} and {comparison.second} have the same final accuracy over {many}.{worst}"
    better, worse = (comparison.first, comparison.second) if mean > 0 else (comparison.second, comparison.first)
    points = f"{_points(abs(mean))} points"
    if number == 1:
        return f"{better} is {points} better than {worse} in final accuracy on one seed; one run cannot exclude chance."
    low, high = abs(mean) - half, abs(mean) + half
    figures = f"95 % interval {_points(low)} to {_points(high)}, p = {main.p:.2g} with {many}"
    if mean == 0:
        text = f"{better} and {worse} are level in final accuracy on average ({figures})."
    elif math.isfinite(low) and low > 0:
        text = f"{better} is {points} better than {worse} in final accuracy ({figures})."
    else:
        text = f"{better} is {points} ahead of {worse} in final accuracy, but that may be chance ({figures})."
    least = 2 / 2**number
    return text + (f" {many.capitalize()} cannot give p below {least:.2g}." if least > 0.05 else "") + worst


def _worst(comparison: Comparison) -> str:
    """A sentence on the worst order of each method, if there are several orders."""
    found = [spread for spread in comparison.metrics[0].spreads if spread is not None]
    if len(found) < 2:
        return ""
    first, second = (f"{100 * spread.minimum:.1f}" for spread in found)
    return f" In its worst order {comparison.first} has {first} %, {comparison.second} in its worst {second} %."


def _points(share: float) -> str:
    """A difference of accuracies in percentage points, with enough digits to see that it is not zero."""
    text = f"{100 * share:.1f}"
    return text if share == 0 or float(text) else f"{100 * share:.2g}"


NUMBERS = ("no", "one", "two", "three", "four", "five")


def _seeds(number: int) -> str:
    return f"{NUMBERS[number] if number < len(NUMBERS) else number} seed{'s' * (number != 1)}"


def _orders(number: int) -> str:
    return _seeds(number).replace("seed", "order")
