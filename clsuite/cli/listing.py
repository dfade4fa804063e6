"""`clsuite list`: what there is, without importing torch."""

from __future__ import annotations

from collections.abc import Callable

from rich.markup import escape
from rich.table import Table

from clsuite.cli.console import make_console


def print_listing(what: str) -> None:
    """Print plugins, benchmarks, datasets or backbones."""
    make_console().print(LISTINGS[what]())


def _plugins() -> Table:
    from clsuite.plugin.catalog import catalog

    table = _table("plugin", "what it does", "needs", "keeps between tasks", "from")
    problems = _problems()
    for name, info in sorted(catalog().items()):
        problem = info.problem or problems.get(name, "")
        if info.source is None or problem:
            table.add_row(escape(name), f"[red]broken: {escape(problem)}[/red]", "", "", escape(info.distribution))
            continue
        traits = info.source.traits
        needs = [*traits.needs, *(["no gradient"] if traits.gradient_free else [])]
        cells = (name, info.source.summary, ", ".join(needs) or "-", ", ".join(traits.stores) or "-", info.distribution)
        table.add_row(*(escape(cell) for cell in cells))
    return table


def _problems() -> dict[str, str]:
    """Import problems of the plugins that others bring; ours are known to import."""
    from clsuite.data.cache import cache_folder
    from clsuite.plugin.catalog import catalog, is_ours
    from clsuite.plugin.verify import import_problems

    foreign = [info for info in catalog().values() if info.source and not is_ours(info.target)]
    if not foreign:
        return {}
    with make_console(stderr=True).status("importing new plugins once, to see that they work"):
        return import_problems(foreign, cache_folder())


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
        table.add_row(name, spec.tier, spec.title, str(len(spec.methods)), str(len(spec.seeds)))
    return table


def _datasets() -> Table:
    from clsuite.data.datasets import DATASETS

    table = _table("data set", "what it is")
    for name, dataset in DATASETS.items():
        table.add_row(name, dataset.summary)
    return table


def _backbones() -> Table:
    from clsuite.backbones.catalog import CATALOG

    table = _table("backbone", "what it is")
    for name, summary in CATALOG.items():
        table.add_row(name, summary)
    table.add_row("any timm ViT", "by its full tag, such as vit_large_patch16_224.augreg_in21k")
    table.add_row("any OpenCLIP model", "as open_clip:MODEL/TAG, such as open_clip:ViT-H-14/laion2b_s32b_b79k")
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for position, heading in enumerate(headings):
        table.add_column(heading, no_wrap=position == 0)
    return table


LISTINGS: dict[str, Callable[[], Table]] = {
    "plugins": _plugins,
    "benchmarks": _benchmarks,
    "datasets": _datasets,
    "backbones": _backbones,
}
