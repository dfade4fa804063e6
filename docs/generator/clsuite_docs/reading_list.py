"""The page of the reading list: where the papers that clsuite was asked for from are found in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, model_validator

from clsuite.board.cite.references import references
from clsuite.cli.commands.analyze import ANALYSES
from clsuite.config.yaml_models import load_yaml
from clsuite.metrics import METRICS, WITHIN_TASK
from clsuite.plugin.catalog import catalog, find_plugin
from clsuite.probes.spec import MODELS as PROBES
from clsuite.runner.methods import PluginUse, parse_method
from clsuite.runner.spec import BenchmarkSpec
from clsuite.scenarios.spec import MODELS as SCENARIOS
from clsuite_docs.docstrings import cell, table
from clsuite_docs.types import anchor, models_inside

FILE = Path(__file__).parents[1] / "reading_list.yaml"
HEADING = """\
# Reading list

This list has {titles} papers on fine-tuning and continual learning. {listed} of them
are in its field or have a method in it: continual and robust fine-tuning of vision and vision-language models,
parameter-efficient tuning, rehearsal and the merging of weights. {here} have a place in clsuite, {absent} have none.
The other {rest} are about {outside}.
"""
BENCHMARK_FILE = "benchmark-file.md"


class Paper(BaseModel):
    """A title of the list.

    Attributes:
        title: The title.
        methods: Shipped methods, with arguments where these make it the paper's.
        scenarios: Kinds of streams.
        probes: Kinds of probes.
        metrics: Metrics of final or of within-task accuracies.
        analyses: Kinds of ``clsuite analyze``.
        options: Fields of a benchmark's file, such as ``training.schedule``.
        note: What these do not say.
        absent: Why none of them is there; empty if one is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    methods: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    analyses: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    note: str = ""
    absent: str = ""

    @model_validator(mode="after")
    def _here_or_absent(self) -> Paper:
        if self.is_here == bool(self.absent):
            raise ValueError(f"'{self.title}' needs either a place in clsuite or the reason why it has none")
        return self

    @property
    def is_here(self) -> bool:
        """Whether it has a place in clsuite."""
        return bool([*self.methods, *self.scenarios, *self.probes, *self.metrics, *self.analyses, *self.options])

    @property
    def uses(self) -> list[PluginUse]:
        """Its methods, parsed."""
        return [use for method in self.methods for use in parse_method(method).plugins]


class ReadingList(BaseModel):
    """The whole list.

    Attributes:
        outside: What the titles that are not among `papers` are about.
        titles: Number of all titles.
        papers: The titles in the field.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    outside: str
    titles: int
    papers: tuple[Paper, ...]


@cache
def read() -> ReadingList:
    """The list, from its file."""
    return load_yaml(FILE, ReadingList)


def page() -> str:
    """The whole page."""
    listed = read()
    here = [paper for paper in listed.papers if paper.is_here]
    absent = [paper for paper in listed.papers if not paper.is_here]
    heading = HEADING.format(
        titles=listed.titles, listed=len(listed.papers), here=len(here), absent=len(absent), outside=listed.outside,
        rest=listed.titles - len(listed.papers),
    )  # fmt: skip
    places = table(("paper", "where it is"), [(title(paper), where(paper)) for paper in here])
    reasons = table(("paper", "why it is not"), [(title(paper), cell(paper.absent)) for paper in absent])
    return f"{heading}\n## In clsuite\n\n{places}\n\n## Not in clsuite\n\n{reasons}\n"


def title(paper: Paper) -> str:
    """The title, with a link to the paper where one of the methods names it."""
    address = next((one.address for one in references() if plain(one.title) == plain(paper.title)), "")
    return f"[{cell(paper.title)}]({address})" if address else cell(paper.title)


def where(paper: Paper) -> str:
    """What there is of a paper, by kind and with links."""
    kinds = {
        "methods": [f"[`{text}`](methods/{parse_method(text).plugins[0].name}.md)" for text in paper.methods],
        "streams": [f"[`{kind}`]({BENCHMARK_FILE}#{anchor(SCENARIOS[kind])})" for kind in paper.scenarios],
        "probes": [f"[`{kind}`]({BENCHMARK_FILE}#{anchor(PROBES[kind])})" for kind in paper.probes],
        "metrics": [_metric(name) for name in paper.metrics],
        "analyses": [f"[`clsuite analyze {kind}`](command-line.md#clsuite-analyze)" for kind in paper.analyses],
        "options": [_option(option) for option in paper.options],
    }
    parts = [f"{_number(kind, len(links))} {', '.join(links)}" for kind, links in kinds.items() if links]
    return "; ".join(parts) + (f" ({cell(paper.note)})" if paper.note else "")


def unknown() -> Iterator[str]:
    """Names that the list has and clsuite has not, each with its title."""
    known = {
        "scenarios": {*SCENARIOS}, "probes": {*PROBES}, "metrics": {*METRICS, *WITHIN_TASK}, "analyses": {*ANALYSES}
    }  # fmt: skip
    for paper in read().papers:
        for use in paper.uses:
            if use.name not in catalog():
                yield f"{paper.title}: method {use.name}"
            elif missing := {*use.args} - {one.name for one in find_plugin(use.name)[1].parameters}:
                yield f"{paper.title}: argument {', '.join(sorted(missing))} of {use.name}"
        for kind, names in known.items():
            yield from (f"{paper.title}: {kind} {name}" for name in getattr(paper, kind) if name not in names)
        yield from (f"{paper.title}: option {name}" for name in paper.options if model_of(name) is None)


def unlisted(name: str) -> Iterator[str]:
    """Titles of the list that a method names in its traits, and that do not name the method.

    Args:
        name: A shipped method.
    """
    named = {*find_plugin(name)[1].traits.paper.split("; ")}
    own = {plain(one.title) for one in references() if named & {*one.papers}}
    yield from (
        paper.title
        for paper in read().papers
        if plain(paper.title) in own and name not in [use.name for use in paper.uses]
    )


def model_of(option: str) -> type[BaseModel] | None:
    """The model of a benchmark's file that has an option such as ``training.seeds.order``; None if there is no such."""
    *path, last = option.split(".")
    models: list[type[BaseModel]] = [BenchmarkSpec]
    for name in path:
        found = [model.model_fields[name].annotation for model in models if name in model.model_fields]
        models = [inside for annotation in found for inside in models_inside(annotation)]
    return next((model for model in models if last in model.model_fields), None)


def plain(text: str) -> str:
    """A title without what BibTeX and others write differently: its letters and digits."""
    return re.sub(r"[^a-z0-9]", "", text.casefold())


def _option(name: str) -> str:
    model = model_of(name)
    return f"[`{name}`]({BENCHMARK_FILE}#{anchor(model)})" if model else f"`{name}`"


def _metric(name: str) -> str:
    return f"[`{name}`](metrics.md#{name})" if name in METRICS else f"[`{name}`](../how-to/probes.md#within-the-tasks)"


def _number(kind: str, number: int) -> str:
    return kind if number > 1 else {"analyses": "analysis"}.get(kind, kind.removesuffix("s"))
