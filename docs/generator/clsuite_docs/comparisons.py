"""The page of the comparisons that papers make: the two rows of each, paired by seed, on every board that has both."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from clsuite.config.yaml_models import load_yaml
from clsuite_docs.board import FORGETTING, Benchmark, benchmarks, difference, share_text
from clsuite_docs.docstrings import cell, code, table

FILE = Path(__file__).parents[1] / "comparisons.yaml"
HEADING = """\
# What papers compare

A paper says that its method is better than another. Here are both on the boards of clsuite, with the figures of the
leaderboard: the difference is paired by seed, with half of its 95 % Student-t interval. `clsuite compare A B --runs
leaderboard/records/BOARD` says the same of any two rows, with all metrics. *Shown* is a difference in the paper's
direction whose interval excludes zero, *in the mean* one whose interval does not, *not shown* a difference in the
other direction, and *the other way* one whose interval excludes zero too. Where a comparison is not shown, the last
column says what we know of the reason. Streams, networks and budgets are not those of the papers: of {number}
comparisons on a board {shown} are shown, {mean} in the mean, {others} not.
"""
VERDICTS = ("shown", "in the mean", "not shown", "the other way")


class Claim(BaseModel):
    """A comparison that a paper makes.

    Attributes:
        first: The row of the paper's method.
        second: The row that it is held against.
        by: By what the paper's method is better: the figure by which the board is ranked, what it forgets, or MTIL's
            Transfer.
        reason: Why it is not shown, by board.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    first: str
    second: str
    by: Literal["accuracy", "forgetting", "transfer"] = "accuracy"
    reason: dict[str, str] = {}


class Family(BaseModel):
    """Comparisons under one heading.

    Attributes:
        name: The heading.
        claims: The comparisons.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    claims: tuple[Claim, ...]


class Families(BaseModel):
    """All comparisons.

    Attributes:
        families: The headings with their comparisons.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    families: tuple[Family, ...]


@cache
def read() -> tuple[Family, ...]:
    """The comparisons, from their file."""
    return load_yaml(FILE, Families).families


def page() -> str:
    """The whole page."""
    found = [verdict for family in read() for claim in family.claims for *_, verdict in of_claim(claim)]
    heading = HEADING.format(
        number=len(found), shown=found.count("shown"), mean=found.count("in the mean"),
        others=found.count("not shown") + found.count("the other way"),
    )  # fmt: skip
    return "\n\n".join([heading, *map(section, read())]) + "\n"


def section(family: Family) -> str:
    """The comparisons of a family."""
    headings = ("method", "over", "by", "board", "it", "the other", "difference", "verdict", "reason")
    rows = [
        (code(claim.first), code(claim.second), claim.by, board.name, *figures, verdict,
         cell(claim.reason.get(board.name, "")) if verdict in VERDICTS[2:] else "")
        for claim in family.claims
        for board, figures, verdict in of_claim(claim)
    ]  # fmt: skip
    return f"## {family.name}\n\n{table(headings, rows, 'llllrrrll')}"


def of_claim(claim: Claim) -> Iterator[tuple[Benchmark, tuple[str, str, str], str]]:
    """Each board that has both rows: the two figures and their difference, and what they say of the claim."""
    for board in benchmarks():
        first, second = board.row(claim.first), board.row(claim.second)
        metric = {"accuracy": board.headline, "forgetting": FORGETTING, "transfer": "mtil_transfer"}[claim.by]
        has_it = claim.by != "transfer" or board.kind == "cross_domain"
        if first and second and has_it and not (first.is_stale or second.is_stale):
            mean, half = difference(first, second, metric)
            figures = (first.text(metric), second.text(metric), share_text(mean, half, "+"))
            yield board, figures, verdict_of(-mean if claim.by == "forgetting" else mean, half)


def verdict_of(gain: float, half: float) -> str:
    """What a paired difference says of a claim.

    Args:
        gain: The mean difference, positive in the direction of the claim.
        half: Half of its interval; `nan` for one seed, which shows nothing.
    """
    excludes_zero = abs(gain) > half
    if gain > 0:
        return VERDICTS[0] if excludes_zero else VERDICTS[1]
    return VERDICTS[3] if excludes_zero else VERDICTS[2]


def unexplained() -> Iterator[str]:
    """Comparisons that are not shown and have no reason, and names of rows that no board has."""
    names = {row.method for board in benchmarks() for row in board.rows}
    for claim in (claim for family in read() for claim in family.claims):
        yield from (f"no row: {name}" for name in (claim.first, claim.second) if name not in names)
        for board, _, verdict in of_claim(claim):
            if verdict in VERDICTS[2:] and not claim.reason.get(board.name):
                yield f"{claim.first} over {claim.second} on {board.name}: {verdict}"
