"""The order of classes, domains or data sets of a run, which its configuration states.

Runs that differ in it alone are runs of one benchmark in several orders: tables, comparisons and the leaderboard show
them in one row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clsuite.records.canonical import sha256_of
from clsuite.records.record import RunRecord

OWN = ("order", "order_seed")
"""The fields of a stream that state its order."""
SHORT = 8
"""Number of characters of the hash of a listed order."""


@dataclass(frozen=True)
class StreamOrder:
    """An order that does not follow the seed of the run.

    Attributes:
        name: Its name: the seed of the order, ``numpy SEED``, ``given``, or a hash of a list of names.
        drawn: Whether it was drawn at random. An order that was listed or found by a search was chosen, so that it
            counts for the minimum and the maximum over orders, and neither for the mean nor for an interval.
    """

    name: str
    drawn: bool


def order_of(record: RunRecord) -> StreamOrder | None:
    """The order of a run; None if it follows the seed of the run, or a file or class decides it."""
    return configured_order(record.config)


def configured_order(config: Mapping[str, Any]) -> StreamOrder | None:
    """The order that a configuration states; see `order_of`."""
    scenario = _scenario(config)
    order, seed = scenario.get("order", "seed"), scenario.get("order_seed")
    if order == "seed":
        return None if seed is None else StreamOrder(str(seed), True)
    if isinstance(order, Mapping):
        return StreamOrder(f"numpy {order.get('numpy')}", True)
    if isinstance(order, list | tuple):
        return StreamOrder(sha256_of([str(name) for name in order])[:SHORT], False)
    return StreamOrder(str(order), False)


def order_name(record: RunRecord) -> str:
    """The name of the order of a run; empty if it has none of its own."""
    order = order_of(record)
    return order.name if order else ""


def run_name(record: RunRecord) -> str:
    """The name of a run for readers: its method, its seed, and its order if that is worth a word."""
    order = order_word(record.config)
    return f"{record.method}, seed {record.seed}" + (f", order {order}" if order else "")


def seed_name(record: RunRecord) -> str:
    """The seed of a run, and its order if that is worth a word: what tells the runs of a method apart."""
    order = order_word(record.config)
    return f"{record.seed} order {order}" if order else str(record.seed)


def order_word(config: Mapping[str, Any]) -> str:
    """The name of an order that the seed does not decide; empty for the order of the data set too."""
    order = configured_order(config)
    return order.name if order and order.name != "given" else ""


def without_order(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration that the runs of all orders share; unchanged if the order follows the seed of the run."""
    if configured_order(config) is None:
        return dict(config)
    stream = {key: value for key, value in _scenario(config).items() if key not in OWN}
    return {**config, "scenario": {**stream, "order": "apart from the seed"}}


def _scenario(config: Mapping[str, Any]) -> Mapping[str, Any]:
    stated = config.get("scenario")
    return stated if isinstance(stated, Mapping) else {}
