"""Streams whose tasks are domains or data sets."""

from __future__ import annotations

import numpy as np

from clsuite.data.sequence import MTIL_ORDERS
from clsuite.data.table import ImageTable
from clsuite.errors import UserError
from clsuite.scenarios.assemble import Named, Parts, Source, assemble
from clsuite.scenarios.order import Order, find_order
from clsuite.scenarios.scenario import Scenario
from clsuite.scenarios.spec import CrossDomain, DomainIncremental


def build_by_domain(source: Source, spec: DomainIncremental) -> Scenario:
    """A stream of domains; all classes are known from the first on, so that the head does not grow.

    Raises:
        UserError: If there are no or not enough domains, or the first lacks a class.
    """
    table = source.table
    if len(table.domain_names) < 2:
        raise UserError("a domain_incremental scenario needs a data set with domains (DOMAIN/train/CLASS/*.png)")
    chosen = _chosen(table, find_order("domain", table.domain_names, spec.order, source.order_seed), spec.tasks)
    _check_first_domain(table, int(chosen[0]))
    return assemble(spec.kind, table, np.arange(len(table.classes)), _by_domain(source, chosen))


def build_cross_domain(source: Source, spec: CrossDomain) -> Scenario:
    """A stream of data sets, each with classes of its own (MTIL: Zheng et al., ICCV 2023, section 4).

    Raises:
        UserError: If the table is no sequence of data sets, or they share classes.
    """
    table = source.table
    if len(table.domain_names) < 2:
        raise UserError("a cross_domain scenario needs several data sets: dataset: {name: sequence, parts: [...]}")
    order = MTIL_ORDERS[spec.order] if isinstance(spec.order, str) and spec.order in MTIL_ORDERS else spec.order
    chosen = _chosen(table, find_order("domain", table.domain_names, order, source.order_seed), spec.tasks)
    home = np.full(len(table.classes), -1)
    for domain in range(len(table.domain_names)):
        present = np.unique(table.labels[table.domains == domain])
        if (home[present] >= 0).any():
            raise UserError("these domains share classes: that is scenario domain_incremental, not cross_domain")
        home[present] = domain
    rank = np.full(len(table.domain_names), len(chosen))
    rank[chosen] = np.arange(len(chosen))
    return assemble(spec.kind, table, np.argsort(rank[home], kind="stable"), _by_domain(source, chosen))


def _chosen(table: ImageTable, order: Order, tasks: int | None) -> Order:
    count = len(table.domain_names)
    if tasks is not None and tasks > count:
        raise UserError(
            f"scenario.tasks is {tasks}, but the data set has only {count} domains: ask for at most {count}"
        )
    return order[:tasks]


def _by_domain(source: Source, chosen: Order) -> list[Named]:
    table, whole = source.table, source.parts()
    return [
        (table.domain_names[domain], Parts(*(rows[table.domains[rows] == domain] for rows in whole)))
        for domain in chosen
    ]


def _check_first_domain(table: ImageTable, first: int) -> None:
    """All classes must be known from the first domain on: the head does not grow."""
    present = np.unique(table.labels[(table.domains == first) & ~table.is_test])
    missing = sorted(set(range(len(table.classes))) - {int(label) for label in present})
    if missing:
        name = table.domain_names[first]
        raise UserError(
            f"domain '{name}' comes first but has no training images of class '{table.classes[missing[0]]}'"
        )
