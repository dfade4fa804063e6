"""Streams whose tasks are domains or data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clsuite.data.catalog import MTIL_ORDERS
from clsuite.data.table import ImageTable
from clsuite.errors import UserError
from clsuite.scenarios.assemble import Named, Parts, Source, assemble, evaluation_parts
from clsuite.scenarios.order import Order, find_order
from clsuite.scenarios.order_spec import NumpyOrder
from clsuite.scenarios.scenario import Scenario
from clsuite.scenarios.spec import CrossDomain, DomainIncremental


def build_by_domain(source: Source, spec: DomainIncremental) -> Scenario:
    """A stream of domains; all classes are known from the first task on, so that the head does not grow.

    If no domain has both training and test images (CORe50: Lomonaco & Maltoni, CoRL 2017, scenario NI), the domains
    with training images are the tasks, and each of the others is an evaluation part from the first task on.

    Raises:
        UserError: If there are no domains or too few, or the first lacks a class.
    """
    table = source.table
    if len(table.domain_names) < 2:
        raise UserError("a domain_incremental scenario needs a data set with domains (DOMAIN/train/CLASS/*.png)")
    trained, tested = _domains(table, ~table.is_test), _domains(table, table.is_test)
    apart = not np.intersect1d(trained, tested).size
    domains = trained if apart else np.arange(len(table.domain_names))
    chosen = domains[_chosen([table.domain_names[d] for d in domains], spec.order, source.order_seed, spec.tasks)]
    _check_first_domain(table, int(chosen[0]))
    order = np.arange(len(table.classes))
    if not apart:
        return assemble(spec.kind, table, order, _by_domain(source, chosen))
    test = source.parts().test
    tasks = [(name, parts._replace(test=test)) for name, parts in _by_domain(source, chosen)]
    scenario = assemble(spec.kind, table, order, tasks)
    named = [(table.domain_names[domain], test[table.domains[test] == domain]) for domain in tested]
    return replace(scenario, separate_splits=evaluation_parts(scenario, named))


def whole_domains(source: Source, spec: DomainIncremental) -> list[Named]:
    """Name and rows of each domain, if all of them have training and test images.

    Raises:
        UserError: If there are no domains or too few, one has no training or no test images, or the first lacks a
            class.
    """
    table = source.table
    if len(table.domain_names) < 2:
        raise UserError("tasks that are domains need a data set with domains (DOMAIN/train/CLASS/*.png)")
    chosen = _chosen(table.domain_names, spec.order, source.order_seed, spec.tasks)
    _check_first_domain(table, int(chosen[0]))
    return _by_domain(source, chosen)


def build_cross_domain(source: Source, spec: CrossDomain) -> Scenario:
    """A stream of data sets, each with its own classes (MTIL: Zheng et al., ICCV 2023, section 4).

    Raises:
        UserError: If the table is not a sequence of data sets, or they have classes in common.
    """
    table = source.table
    if len(table.domain_names) < 2:
        raise UserError("a cross_domain scenario needs several data sets: dataset: {name: sequence, parts: [...]}")
    order = MTIL_ORDERS[spec.order] if isinstance(spec.order, str) and spec.order in MTIL_ORDERS else spec.order
    chosen = _chosen(table.domain_names, order, source.order_seed, spec.tasks)
    home = np.full(len(table.classes), -1)
    for domain in range(len(table.domain_names)):
        present = np.unique(table.labels[table.domains == domain])
        if (home[present] >= 0).any():
            raise UserError("these domains share classes: that is scenario domain_incremental, not cross_domain")
        home[present] = domain
    rank = np.full(len(table.domain_names), len(chosen))
    rank[chosen] = np.arange(len(chosen))
    return assemble(spec.kind, table, np.argsort(rank[home], kind="stable"), _by_domain(source, chosen))


def _domains(table: ImageTable, among: NDArray[np.bool_]) -> Order:
    """Indices of the domains in a selection of rows, ascending."""
    return np.unique(table.domains[among]).astype(np.int64)


def _chosen(names: Sequence[str], order: str | tuple[str, ...] | NumpyOrder, seed: int, tasks: int | None) -> Order:
    """The first `tasks` domains in the requested order, as indices into `names`."""
    if tasks is not None and tasks > len(names):
        raise UserError(
            f"scenario.tasks is {tasks}, but the data set has only {len(names)} domains: ask for at most {len(names)}"
        )
    return find_order("domain", names, order, seed)[:tasks]


def _by_domain(source: Source, chosen: Order) -> list[Named]:
    table, whole = source.table, source.parts()
    return [
        (table.domain_names[domain], Parts(*(rows[table.domains[rows] == domain] for rows in whole)))
        for domain in chosen
    ]


def _check_first_domain(table: ImageTable, first: int) -> None:
    """Check that the first domain has all classes, because the head does not grow."""
    present = np.unique(table.labels[(table.domains == first) & ~table.is_test])
    missing = sorted(set(range(len(table.classes))) - {int(label) for label in present})
    if missing:
        name = table.domain_names[first]
        raise UserError(
            f"domain '{name}' comes first but has no training images of class '{table.classes[missing[0]]}'"
        )
