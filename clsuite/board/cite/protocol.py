"""The paragraph that says how the figures of a table came about: streams, orders, weights, splits and tuning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from clsuite.board.cite.references import OURS, Reference, of_backbone, of_data, references
from clsuite.board.cite.table import AVERAGE, INTERVAL, LEVEL, TESTED, CiteTable
from clsuite.board.status import has_setting
from clsuite.errors import UserError
from clsuite.metrics import LAST, PRIMARY, Column
from clsuite.records import RunRecord
from clsuite.report.format import short_number
from clsuite.runner.spec import load_benchmark, shipped_benchmarks
from clsuite.runner.tuned import TunedSpec, searches_of
from clsuite.scenarios import ScenarioSpec
from clsuite.scenarios.by_class import group_sizes
from clsuite.scenarios.spec import ByClass, PowerLaw, Recurring

HASH = 12
"""Characters of a hash that are shown."""
PROTOCOLS = {
    "class_incremental": "evaluated without the task of a test image",
    "task_aware": "evaluated with the task of each test image given",
    "open_vocabulary": "evaluated without the task of a test image, all classes of the stream competing from the start",
}
SHORT = {LAST: "last", PRIMARY: "final (macro)", AVERAGE: "avg. inc."}
"""Headings that are shorter than those of the columns."""
ORDERS = {
    "seed": "drawn for each seed",
    "given": "as the data set lists them",
}


def short_label(column: Column) -> str:
    """The heading of a column where room is scarce."""
    return SHORT.get(column.name, column.label)


def cited_by(table: CiteTable) -> list[Reference]:
    """All that a table and its paragraph cite: methods, data sets, backbones and clsuite."""
    records = [record for group in table.records.values() for record in group]
    used = [reference for row in table.rows for reference in row.cited]
    used += [reference for record in records for reference in (*of_data(record), *of_backbone(record))]
    return list(dict.fromkeys([*used, *(one for one in references() if one.key == OURS)]))


def paragraph(table: CiteTable) -> str:
    """The paragraph, with citations as ``[@key; @key]``."""
    sentences = [f"All runs were made with clsuite [@{OURS}]{_versions(table)}."]
    sentences += [sentence for name, group in table.records.items() for sentence in _benchmark(name, group)]
    return " ".join([*sentences, *_statistics(table)])


def _versions(table: CiteTable) -> str:
    """The versions of what the runs were made with."""
    packages = [record.environment.get("packages") or {} for group in table.records.values() for record in group]
    made = [
        f"{name} {' and '.join(versions)}"
        for name in ("clsuite", "torch")
        if (versions := sorted({str(known[name]) for known in packages if name in known}))
    ]
    return f" ({', '.join(made)})" if made else ""


def _benchmark(name: str, records: Sequence[RunRecord]) -> Iterator[str]:
    """The sentences on one benchmark."""
    first, seeds = records[0], sorted({record.seed for record in records})
    kind, protocol = first.scenario.kind.replace("_", "-"), PROTOCOLS[first.protocol]
    yield (
        f"On {_data(name, first)}, methods learn {_tasks(first)} ({kind}), {protocol}; "
        f"order {_order(first.config.get('scenario') or {})}; {_count(len(seeds), 'seed')} ({_list(seeds)}), whose "
        f"splits and orders have the hashes {_streams(records)}."
    )
    yield _backbone(first)
    if training := _training(records):
        yield training
    yield _tuning(records)


def _data(name: str, record: RunRecord) -> str:
    """The benchmark with its data set, and how many images of each class are used if not all are."""
    dataset = record.config.get("dataset") or {}
    data, cited = dataset.get("name", "unknown"), _keys(of_data(record))
    each = "class and domain" if record.scenario.kind == "domain_incremental" else "class"
    amounts = [
        f"{number} {part} images"
        for part, key in (("training", "train_per_class"), ("test", "test_per_class"))
        if (number := dataset.get(key))
    ]
    used = f", of which {' and '.join(amounts)} of each {each} are used" if amounts else ""
    return f"{name}{'' if data == name else f' (data set {data})'}{cited}{used}"


def _tasks(record: RunRecord) -> str:
    """How many tasks are learned; if they are only the first, of how many, and how many classes they have."""
    learned, limit = record.main_counts.tasks, record.config.get("limit_tasks")
    sizes = _sizes(record)
    if limit is None or learned < limit or learned == len(sizes):
        return _count(learned, "task")
    if not sizes:
        return f"the first {_count(learned, 'task')}"
    return f"the first {learned} of {len(sizes)} tasks, with {sum(sizes[:learned])} of {sum(sizes)} classes"


def _sizes(record: RunRecord) -> list[int]:
    """The number of classes of each task of the whole stream; empty if they are not what the stream divides."""
    try:
        stream = ScenarioSpec.model_validate(record.config.get("scenario")).root
        if not isinstance(stream, ByClass) or isinstance(stream, Recurring | PowerLaw):
            return []
        return group_sizes(len(record.scenario.classes), stream)
    except (ValidationError, UserError):  # a record of other sources
        return []


def _order(scenario: Mapping[str, Any]) -> str:
    """How classes or domains were ordered."""
    order, seed = scenario.get("order"), scenario.get("order_seed")
    if isinstance(order, dict):
        return f"drawn by NumPy's legacy generator with seed {order.get('numpy')}"
    if isinstance(order, list | tuple):
        return "listed in the benchmark"
    if order in (None, "seed") and seed is not None:
        return f"drawn with seed {seed} for all seeds"
    return ORDERS.get(str(order or "seed"), str(order))


def _streams(records: Sequence[RunRecord]) -> str:
    """The hashes of the streams, which cover images, labels, split and order, by seed."""
    hashes = {(record.seed, record.scenario.fingerprint[:HASH]) for record in records}
    return ", ".join(f"{print_} (seed {seed})" for seed, print_ in sorted(hashes))


def _backbone(record: RunRecord) -> str:
    backbone = record.config.get("backbone") or {}
    loaded, weights = record.environment.get("backbone_sha256"), backbone.get("weights", "hub")
    digest = backbone.get("sha256") or loaded
    known = "random weights" if weights == "random" else f"weights with sha256 {digest[:HASH]}" if digest else ""
    parts = [f"{backbone.get('image_size')} px input" if backbone.get("image_size") else "", known]
    named = f"{backbone.get('name', 'unknown')}{_keys(of_backbone(record))}"
    return f"Its backbone is {', '.join([named, *(part for part in parts if part)])}."


def _training(records: Sequence[RunRecord]) -> str:
    """What all runs have in common of epochs, batch size and optimizer; the rest is in the records."""
    settings = [_settings(record) for record in records]
    shared = {name: value for name, value in settings[0].items() if all(one[name] == value for one in settings)}
    texts = [f"{name} {value}" for name, value in shared.items() if value is not None]
    return f"All methods were trained with {', '.join(texts)}; the records have all other settings." if texts else ""


def _settings(record: RunRecord) -> dict[str, Any]:
    """The settings of a record's training that a paper states."""
    training = record.config.get("training") or {}
    optimizer = training.get("optimizer") or {}
    steps = training.get("steps")
    return {
        "steps": steps, "epochs": training.get("epochs") if steps is None else None,
        "batches of": training.get("batch_size"),
        "optimizer": optimizer.get("name"), "learning rate": optimizer.get("lr"),
    }  # fmt: skip


def _tuning(records: Sequence[RunRecord]) -> str:
    """How hyperparameters were chosen: by searches in the records, at what cost, and by those of the benchmark."""
    tuned = {record.method: record.tuning for record in records if record.tuning}
    stated = list(_stated([record for record in records if record.method not in tuned]))
    if not tuned and not stated:
        return "No search for hyperparameters is recorded: methods have the values of the benchmark, or their defaults."
    recorded = [
        f"{method} ({', '.join(search.chosen)}: {len(search.trials)} trials, {short_number(search.gradient_samples)} "
        f"gradient samples)"
        for method, search in sorted(tuned.items())
    ]
    known = [f"{', '.join(search.methods)} ({_tried(search)}; {search.how})" for search in stated]
    texts = [f" for {'; '.join(recorded)}"] * bool(recorded)
    texts += [f", as the benchmark states, for {'; '.join(known)}"] * bool(known)
    named = {*tuned, *(method for search in stated for method in search.methods)}
    rest = " All others have the values of the benchmark, or their defaults." * (
        len(named) < len({record.method for record in records})
    )
    return f"Hyperparameters were searched on validation parts{' and'.join(texts)}.{rest}"


def _tried(search: TunedSpec) -> str:
    """What was searched, and among how many values if that is known."""
    return f"{search.setting}: {search.number} values" if search.number else search.setting


def _stated(records: Sequence[RunRecord]) -> Iterator[TunedSpec]:
    """The searches that the shipped benchmark states for the methods of records, if these have the values it chose."""
    if records and records[0].benchmark in shipped_benchmarks():
        for search in load_benchmark(records[0].benchmark)[0].tuned:
            having = [record.method for record in records if has_setting(record, search.setting)]
            yield from searches_of([search], having)


def _statistics(table: CiteTable) -> Iterator[str]:
    """What intervals and marks mean."""
    yield "Figures are means with half the width of the 95 % Student-t interval over seeds; bounds are not compared."
    for column in {column.name: column for _, column in table.columns}.values():
        yield f"{short_label(column)}: {column.about.split('. ')[0].rstrip('.')}."
    number = table.fewest_seeds
    worse = "worse than the best of the column"
    if TESTED in table.marks:
        yield f"{TESTED}: {worse} by the exact paired sign-flip test over seeds (p < {LEVEL:g})."
    if INTERVAL in table.marks:
        least = f"; {_count(number, 'seed')} cannot give p below {2 / 2**number:.2g} in the exact paired test"
        excluded = "the 95 % interval of the paired difference excludes zero"
        yield f"{INTERVAL}: {worse}: {excluded}{least if 2 / 2**number >= LEVEL else ''}."


def _keys(cited: Sequence[Reference]) -> str:
    """A citation of some references; empty without any."""
    return f" [{'; '.join(f'@{reference.key}' for reference in cited)}]" if cited else ""


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers)
