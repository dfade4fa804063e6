"""Builds the board from the published records and the reported figures, as a pure function."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten

from clsuite.board.confirmed import NONE, Confirmation, Confirmations, our_source
from clsuite.board.headline import bound_of, headline_of
from clsuite.board.model import Benchmark, Board, PluginUse, Rank, Reported, Row, Run, Tags
from clsuite.board.papers import linked
from clsuite.board.published import Published, read_published
from clsuite.board.ranking import rank_rows
from clsuite.board.sources import due_sources, published_sources, source_notes
from clsuite.board.status import all_stale_notes, badge_of, badge_of_row, read_rerun, uncompared
from clsuite.board.titles import title_of, told_apart
from clsuite.config.yaml_models import load_yaml
from clsuite.errors import UserError, printable
from clsuite.metrics.variants import accuracy_over_time_weighted
from clsuite.plugin.introspection import PluginSource, read_source
from clsuite.plugin.loading import class_of, is_file
from clsuite.records import PluginEntry, RunRecord
from clsuite.records.order import order_word, seed_name
from clsuite.regular_files import read_text
from clsuite.report.format import machine_of, rounded, short_number
from clsuite.report.summary import Row as ResultRow
from clsuite.report.summary import run_place, summarize
from clsuite.runner.spec import load_benchmark, shipped_benchmarks

SUMMARY = 300
"""Largest number of characters of a plugin's summary that are shown."""
PETS = frozenset({"lora", "adapter", "prefix", "prompt", "ia3", "adaptformer", "ssf"})
"""Kinds of parameter-efficient modules, the same as ``clsuite.peft.PET_KINDS``, which needs torch."""


def build_board(records: Path, reported: Path, confirmed: Confirmations = NONE) -> Board:
    """Build the board.

    Args:
        records: Folder of the published records.
        reported: The file of the reported figures; none are shown if it is missing.
        confirmed: Which earlier sources give the same counts as the current ones.

    Raises:
        UserError: If records or figures are not valid, with a line for each.
    """
    grouped: dict[str, list[Published]] = {}
    for item in read_published(records):
        grouped.setdefault(item.record.benchmark, []).append(item)
    boards = [_benchmark(name, group, records, confirmed) for name, group in sorted(grouped.items())]
    return Board(benchmarks=boards, reported=read_reported(reported))


def read_reported(path: Path) -> list[Reported]:
    """Read the figures that papers report.

    Raises:
        UserError: If the file is not valid.
    """
    return load_yaml(path, list[Reported]) if path.exists() else []


def _benchmark(name: str, group: Sequence[Published], folder: Path, confirmed: Confirmations) -> Benchmark:
    records = [item.record for item in group]
    results, first = summarize(records), records[0]
    headline = headline_of(first.scenario.kind)
    results.rows.sort(key=lambda row: (-(row.figures[headline].mean or 0.0), row.method))
    by_method = {
        result.method: sorted(
            (item for item in group if item.record.method == result.method), key=lambda item: run_place(item.record)
        )
        for result in results.rows
    }
    bounds = {method: bound_of(mine[0].record) for method, mine in by_method.items()}
    ranks = _ranks([row for row in results.rows if bounds[row.method] is None], headline)
    same = _same_predictions(group)
    rows = [_row(result, by_method[result.method], folder, confirmed) for result in results.rows]
    titles = told_apart({row.method: row.title for row in rows})
    rows = [
        row.model_copy(update={
            "rank": ranks.get(row.method), "bound": bounds[row.method], "same_as": same[row.method],
            "title": titles[row.method],
        })
        for row in rows
    ]  # fmt: skip
    title = load_benchmark(name)[0].title if name in shipped_benchmarks() else ""
    return Benchmark(
        name=name, title=title, headline=headline, kind=first.scenario.kind, protocol=first.protocol,
        dataset=(first.config.get("dataset") or {}).get("name", ""), tasks=first.main_counts.tasks,
        backbone=first.config.get("backbone", {}).get("name", ""), seeds=sorted({record.seed for record in records}),
        metrics=list(results.columns.values()), rows=rows,
    )  # fmt: skip


def _ranks(rows: Sequence[ResultRow], headline: str) -> dict[str, Rank]:
    """The rank of each method."""
    if not rows:
        return {}
    ranks = rank_rows([row.scores(headline) for row in rows])
    return {row.method: rank for row, rank in zip(rows, ranks, strict=True)}


def _row(result: ResultRow, mine: Sequence[Published], folder: Path, confirmed: Confirmations) -> Row:
    """A method's row, without what depends on the other rows."""
    runs = [_run(item.where, item.record, folder, confirmed) for item in mine]
    some = mine[0].record
    beside = (folder / mine[0].where).with_suffix
    plugins = [_plugin(entry, beside(f".{number}.py")) for number, entry in enumerate(some.plugins, 1)]
    return Row(
        method=result.method, title=title_of(result.method, {one.name: [*one.papers] for one in plugins}),
        rank=None, seeds=result.seeds, orders=result.orders, chosen=result.chosen,
        figures={column: figure.shortened for column, figure in result.figures.items()},
        badge=badge_of_row([run.badge for run in runs]), tags=_tags(some, plugins),
        plugins=plugins, config=some.config, runs=runs,
    )  # fmt: skip


def _same_predictions(group: Sequence[Published]) -> dict[str, list[str]]:
    """For each method, the others with the same predictions after every task, for all seeds that both have."""
    by_seed: dict[str, dict[str, str]] = {}
    for item in group:
        by_seed.setdefault(item.record.method, {})[seed_name(item.record)] = item.predictions
    return {
        method: sorted(other for other in by_seed if other != method and _agree(by_seed[method], by_seed[other]))
        for method in by_seed
    }


def _agree(first: Mapping[str, str], second: Mapping[str, str]) -> bool:
    shared = first.keys() & second.keys()
    return bool(shared) and all(first[seed] == second[seed] for seed in shared)


def _exact(value: float) -> float:
    return rounded(float(value)) or 0.0


def _run(where: str, record: RunRecord, folder: Path, confirmed: Confirmations) -> Run:
    assert record.cost is not None
    counts = record.main_counts
    rerun = read_rerun(folder / where, record)
    notes = all_stale_notes(record, rerun, confirmed)
    row = f"{record.benchmark}/{record.method}/{seed_name(record)}"
    sources = source_notes(record, folder / where, f"records/{where}")
    return Run(
        key=record.key, seed=record.seed, order=order_word(record.config), record=f"records/{where}",
        badge=badge_of(notes, rerun),
        notes=[*notes, *uncompared(record), *sources, *_confirmed(confirmed.of(record)), *_tuned(record)],
        rerun=rerun,
        command=f"clsuite leaderboard rerun {shlex.quote(row)} --folder . --data-root DATA"
        f"{_sources(record, folder / where)}",
        machine=machine_of(record.environment), tasks=record.scenario.task_names, parts=record.scenario.columns,
        initial=[_exact(value) for value in counts.initial], learned=counts.learned.tolist(),
        accuracy=[[_exact(value) for value in line] for line in counts.accuracy],
        over_tasks=[rounded(float(value)) for value in accuracy_over_time_weighted(counts)],
        probes={
            probe.name: [None if value is None else _exact(value) for value in probe.values] for probe in record.probes
        },
        stored_bytes=record.cost.stored_bytes, seconds=_exact(record.full_seconds), environment=record.environment,
    )  # fmt: skip


def _sources(record: RunRecord, path: Path) -> str:
    """What the command of a row needs in addition if the row's source is published with it."""
    return " --plugins-from ." if due_sources(record) and published_sources(path) else ""


def _confirmed(confirmation: Confirmation | None) -> list[str]:
    """Notes on how earlier sources are known to give the same counts."""
    return [f"made by earlier sources, which give the same counts in {confirmation.canary}"] if confirmation else []


def _tuned(record: RunRecord) -> list[str]:
    """Notes on the cost of a hyperparameter search before the run."""
    if record.tuning is None:
        return []
    number, samples = len(record.tuning.trials), short_number(record.tuning.gradient_samples)
    return [f"{', '.join(record.tuning.chosen)} chosen in {number} trials of {samples} gradient samples in all"]


def _plugin(entry: PluginEntry, published: Path) -> PluginUse:
    """A plugin with the summary of its class; for a file, of the source that is published beside the record."""
    source = our_source(entry.name) or _published_source(entry.name, published)
    papers = {printable(name): place for name, place in linked(source.traits.paper if source else "").items()}
    summary = shorten(printable(source.summary), SUMMARY) if source else ""
    return PluginUse(
        name=entry.name, args=entry.args, distribution=entry.distribution, summary=summary, papers=papers
    )  # fmt: skip


def _published_source(name: str, path: Path) -> PluginSource | None:
    """What a published file declares, read and not run; None if there is none or it cannot be read."""
    try:
        text = read_text(path) if is_file(name) and path.is_file() else ""
        return read_source(text, class_of(name, text)) if text else None
    except (OSError, SyntaxError, ValueError, RecursionError, UserError):
        return None


def _tags(record: RunRecord, plugins: Sequence[PluginUse]) -> Tags:
    assert record.cost is not None
    traits = [source.traits for plugin in plugins if (source := our_source(plugin.name))]
    needs = sorted({need for trait in traits for need in trait.requires})
    stores = sorted({kept for trait in traits for kept in trait.memory} | set(record.cost.stored_bytes))
    years = {int(year) for plugin in plugins for year in re.findall(r"\b(?:19|20)\d\d\b", " ".join(plugin.papers))}
    chosen = {str(plugin.args.get(name)) for plugin in plugins for name in ("pet", "kind")}
    pets = (chosen | {kind for trait in traits for kind in trait.pet}) & PETS
    return Tags(
        backbone=record.config.get("backbone", {}).get("name", ""),
        exemplars=bool({"exemplars", "all data"} & {*stores}),
        task_id=record.protocol == "task_aware" or "task_id" in needs,
        gradient=any(task.gradient_samples for task in record.tasks), pet=sorted(pets),
        needs=needs, stores=stores, years=sorted(years),
    )  # fmt: skip
