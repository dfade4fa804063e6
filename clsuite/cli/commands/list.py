"""``clsuite list``: list what is available, without importing torch."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from clsuite.cli.commands.base import PATH, Command, add_word
from clsuite.cli.console import left_out, make_console, table_width

if TYPE_CHECKING:
    from clsuite.plugin.introspection import PluginInfo

LISTS = (
    "plugins",
    "methods",
    "strategies",
    "benchmarks",
    "datasets",
    "scenarios",
    "backbones",
    "augmentations",
    "probes",
    "optimizers",
    "schedules",
)
SHORTEST_LINES = 24
"""Smallest width of a column of text, below which other columns are omitted."""


def print_listing(what: str, data_root: Path | None = None) -> None:
    """Print what is available of a kind (`LISTS`); for data sets also whether they are below the data root."""
    console = make_console()
    table = _datasets(data_root) if what == "datasets" else LISTINGS[what]()
    _fit(table, table_width(console))
    console.print(table)


def _fit(table: Table, width: int | None) -> None:
    """Remove the last columns if the terminal is too narrow for the text of all; prints which."""
    left: list[str] = []
    while width is not None and len(table.columns) > 2 and sum(map(_least, table.columns)) > width:
        left.insert(0, str(table.columns.pop().header))
    if left:
        table.caption = left_out(left)


def _least(column: Column) -> int:
    """The width, including blanks, at which no word of a column is broken and it does not need too many lines."""
    texts = [Text.from_markup(str(cell)).plain for cell in (column.header, *column.cells)]
    longest = max(len(text) for text in texts)
    words = max((len(word) for text in texts for word in text.split()), default=0)
    return 2 + (longest if column.no_wrap else max(words, min(longest, SHORTEST_LINES)))


def _plugins() -> Table:
    from clsuite.plugin.catalog import catalog

    table = _table("plugin", "what it does", "needs", "keeps between tasks", "from")
    imported = _imported()
    for name, info in sorted({**catalog(), **imported}.items()):
        if info.source is None:
            table.add_row(escape(name), f"[red]broken: {escape(info.problem)}[/red]", "", "", escape(info.distribution))
            continue
        traits = info.source.traits
        needs = [*traits.requires, *(["no gradient"] if traits.gradient_free else [])]
        cells = (name, info.source.summary, ", ".join(needs) or "-", ", ".join(traits.memory) or "-", info.distribution)
        table.add_row(*(escape(cell) for cell in cells))
    return table


def _strategies() -> Table:
    from clsuite.plugin.signature import MISSING
    from clsuite.plugin.strategies import strategies, unfit

    table = _table("strategy", "what it does", "arguments and their defaults", "keeps between tasks", "from")
    for info in strategies():
        assert info.source is not None
        given = [one.name if one.default == MISSING else f"{one.name}={one.default}" for one in info.source.parameters]
        kept = ", ".join(info.source.traits.memory) or "-"
        cells = (info.name, info.source.summary, ", ".join(given) or "-", kept, info.distribution)
        table.add_row(*(escape(cell) for cell in cells))
    table.add_section()
    for name, problem in sorted(unfit().items()):
        table.add_row(escape(name), escape(f"cannot be a method: {problem}"))
    return table


def _imported() -> dict[str, PluginInfo]:
    """The plugins of other distributions, read from their classes; clsuite's own need no import."""
    from clsuite.config.paths import cache_folder
    from clsuite.plugin.catalog import catalog, is_ours
    from clsuite.plugin.import_check import as_imported

    foreign = {name: info for name, info in catalog().items() if info.source and not is_ours(info.target)}
    if not foreign:
        return {}
    with make_console(stderr=True).status("importing new plugins once, to see that they work"):
        return dict(zip(foreign, as_imported(list(foreign.values()), cache_folder()), strict=True))


def _benchmarks() -> Table:
    from clsuite.errors import UserError
    from clsuite.runner.spec import load_benchmark, shipped_benchmarks

    table = _table("benchmark", "tier", "what it is", "methods", "seeds")
    for name in shipped_benchmarks():
        try:
            spec, _ = load_benchmark(name)
        except UserError as error:
            table.add_row(name, "", f"[red]broken: {escape(str(error))}[/red]", "", "")
            continue
        table.add_row(
            name,
            spec.tier,
            spec.title,
            f"{len(spec.methods)} of {len(spec.named_methods)}" if spec.more_methods else str(len(spec.methods)),
            str(len(spec.seeds)),
        )
    return table


def _datasets(data_root: Path | None) -> Table:
    from clsuite.data.catalog import DATASETS, HUGGING_FACE, SEQUENCES
    from clsuite.data.locate import missing_reason
    from clsuite.errors import UserError

    if data_root is not None and not data_root.is_dir():
        raise UserError(f"--data-root '{data_root}' is not a folder")
    facts = ("split", "license") if data_root is None else (f"below {escape(str(data_root))}",)
    table = _table("data set", "what it is", "classes", "domains", "images", "pixels", *facts)
    for name, dataset in DATASETS.items():
        domains = str(dataset.domains) if dataset.domains > 1 else "-"
        cells = [name, dataset.summary, str(dataset.classes or "any"), domains, dataset.images, dataset.native]
        if data_root is None:
            cells += [dataset.split, dataset.license]
        else:
            cells.append(
                missing_reason(name, dataset, None, data_root) or ("there" if dataset.homes else "always there")
            )
        table.add_row(*(escape(cell) for cell in cells))
    table.add_section()
    for name, summary in {**SEQUENCES, **HUGGING_FACE}.items():
        table.add_row(name, escape(summary))
    return _with_offered(table, "dataset")


def _backbones() -> Table:
    from clsuite.backbones.catalog import CATALOG

    table = _table("backbone", "what it is")
    for name, summary in CATALOG.items():
        table.add_row(name, summary)
    table.add_row("any timm ViT", "by its full tag, such as vit_large_patch16_224.augreg_in21k")
    table.add_row("any OpenCLIP model", "as open_clip:MODEL/TAG, such as open_clip:ViT-H-14/laion2b_s32b_b79k")
    return table


def _augmentations() -> Table:
    from clsuite.data.augment_spec import PRESETS, STEPS

    table = _table("augmentation", "what it does", "parameters and their defaults")
    for name, (summary, steps) in PRESETS.items():
        table.add_row(name, summary, ", ".join(step.kind for step in steps) or "-")
    table.add_section()
    for name, step in STEPS.items():
        defaults = [f"{key}={escape(str(value))}" for key, value in step().model_dump(exclude={"kind"}).items()]
        table.add_row(f"step {name}", (step.__doc__ or "").split("\n")[0], ", ".join(defaults) or "-")
    return table


def _scenarios() -> Table:
    from clsuite.scenarios.catalog import KINDS

    table = _table("scenario", "what it is")
    for name, summary in KINDS.items():
        table.add_row(name, escape(summary))
    return _with_offered(table, "scenario")


def _probes() -> Table:
    from clsuite.probes.spec import MODELS

    table = _table("probe", "what it reads")
    for name, model in MODELS.items():
        table.add_row(name, escape((model.__doc__ or "").split("\n")[0]))
    return _with_offered(table, "probe")


def _optimizers() -> Table:
    from clsuite.learner.options import OPTIMIZERS

    return _of_training("optimizer", OPTIMIZERS, "{class: torch.optim:NAdam, lr: 0.001, betas: [0.9, 0.99]}")


def _schedules() -> Table:
    from clsuite.learner.options import SCHEDULES

    return _of_training("schedule", SCHEDULES, "{class: torch.optim.lr_scheduler:StepLR, step_size: 10}")


def _of_training(part: str, own: Mapping[str, str], example: str) -> Table:
    """A table of a part of training: from clsuite, from PyTorch, and from entry points."""
    table = _table(part, "what it is")
    for name, words in own.items():
        table.add_row(name, words)
    table.add_row("any of PyTorch's", escape(f"by its class: {example}"))
    return _with_offered(table, part)


def _with_offered(table: Table, part: str) -> Table:
    """Add what entry points of other distributions provide to a table; clsuite's own names take precedence."""
    from clsuite.config.class_use import offered

    own = {str(cell) for column in table.columns[:1] for cell in column.cells}
    brought = offered(part)
    if brought:
        table.add_section()
    for name, (target, distribution) in brought.items():
        taken = f"broken: the name '{name}' is taken by clsuite; " if name in own else ""
        table.add_row(escape(name), escape(f"{taken}{target}, from {distribution}"))
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for position, heading in enumerate(headings):
        table.add_column(heading, no_wrap=position == 0, overflow="fold")
    return table


LISTINGS: dict[str, Callable[[], Table]] = {
    "plugins": _plugins,
    "methods": _plugins,
    "strategies": _strategies,
    "benchmarks": _benchmarks,
    "backbones": _backbones,
    "augmentations": _augmentations,
    "scenarios": _scenarios,
    "probes": _probes,
    "optimizers": _optimizers,
    "schedules": _schedules,
}


def _arguments(parser: ArgumentParser) -> None:
    add_word(parser, "list", LISTS, help="what to list; methods are plugins, strategies those of Avalanche")
    parser.add_argument(
        "--data-root", type=PATH, help="for datasets: show which of them are available, and what is missing"
    )


def _run(arguments: Namespace) -> int:
    print_listing(arguments.list, arguments.data_root)
    return 0


COMMAND = Command(
    "List plugins, Avalanche's strategies, benchmarks, data sets, scenarios, probes, backbones, optimizers, "
    "schedules or augmentations.",
    ("clsuite list plugins", "clsuite list benchmarks", "clsuite list datasets --data-root data"),
    _arguments,
    _run,
)
