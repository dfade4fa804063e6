"""The tables of metrics: every variant with its formula, and whose it is."""

from __future__ import annotations

import inspect
import re

from clsuite.metrics import METRICS, NOTATION
from clsuite_docs.docstrings import cell, parse, table

CODES = ("Avalanche", "Mammoth", "PILOT")
"""The code bases that the metrics are compared with; the registry names them as sources."""
HEADING = """\
# Metrics

A record stores counts of right answers, and every metric is a pure function of them. Papers and libraries call
different formulas by one word, so each variant has a name of its own, with its formula and whose it is. This page is
made from the registry of metrics.
"""


def page() -> str:
    """The whole page."""
    return "\n\n".join([HEADING, NOTATION, "## At a glance", glance(), "## One by one", *map(section, METRICS)]) + "\n"


def glance() -> str:
    """The table of all variants, with the code bases that have them."""
    rows = [(f"[`{one.name}`](#{one.name})", cell(one.label), *map(_mark, [one.source] * 3, CODES), _way(one.name))
            for one in METRICS.values()]  # fmt: skip
    return table(("name", "column", *CODES, "better"), rows)


def section(name: str) -> str:
    """What one metric is."""
    metric = METRICS[name]
    text = parse(inspect.getdoc(metric.compute) or "").text
    formula = f"`{metric.formula}`"
    return f"### `{name}` {{ #{name} }}\n\n{metric.about}\n\n{formula} — {metric.source}\n\n{text}"


def _mark(source: str, code: str) -> str:
    return "yes" if re.search(rf"\b{code}\b", source) else ""


def _way(name: str) -> str:
    return "higher" if METRICS[name].higher_is_better else "lower"
