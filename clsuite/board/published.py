"""Reads the published records one by one, and checks each by itself and against the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clsuite.board.validate.costs import Method
from clsuite.board.validate.record import examine, read_foreign, record_place
from clsuite.config.paths import files_below
from clsuite.errors import MistakesError, printable
from clsuite.records import RecordError, RunRecord
from clsuite.records.order import seed_name
from clsuite.report.consistency import ConsistencyCheck

FIXED = ("total_parameters", "forward_flops_per_image")
MOST_APART_IN_SIZE, MOST_APART = 1.1, 2.0
"""How many times more one seed of a method may cost than another: of the network's size, and of other costs."""


@dataclass(frozen=True)
class Published:
    """A published record that passes every check.

    Attributes:
        where: Its file, relative to the folder of the records.
        record: The record.
        samples: Hash of the test samples that it was evaluated on.
        predictions: Hash of its predictions after each task.
    """

    where: str
    record: RunRecord
    samples: str
    predictions: str


@dataclass
class RecordSetCheck:
    """Checks records against those that came before."""

    keys: dict[str, str] = field(default_factory=dict)
    seeds: dict[tuple[str, str, str], str] = field(default_factory=dict)
    alike: ConsistencyCheck = field(default_factory=ConsistencyCheck)
    images: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    networks: dict[Any, tuple[Any, str]] = field(default_factory=dict)
    costs: dict[Any, tuple[RunRecord, str]] = field(default_factory=dict)

    def problem(self, record: RunRecord, samples: str, where: str) -> str:
        """The problem with a record compared to those before it; empty if there is none, and it is then remembered.

        Args:
            record: The record.
            samples: Hash of its test samples.
            where: Its name in later messages.
        """
        name, seed = record.benchmark, seed_name(record)
        same_key = self.keys.setdefault(record.key, where)
        if same_key != where:
            return f"it is the same run as '{same_key}'"
        same_seed = self.seeds.setdefault((name, record.method, seed), where)
        if same_seed != where:
            return f"'{same_seed}' is {record.method} on {name} with seed {seed} too: name the one that is to stand"
        if unlike := self.alike.problem(record, where):
            return unlike
        judged_on, other = self.images.setdefault((name, seed), (samples, where))
        if judged_on != samples:
            return f"its predictions are of other test images than those of '{other}' with the same seed"
        return self._unlike_network(record, where) or self._unlike_costs(record, where)

    def _unlike_network(self, record: RunRecord, where: str) -> str:
        """How the network differs from that of other records whose network is backbone and head alone, as its own is.

        The weights before training are the same in all runs of a seed, whatever the method.
        """
        assert record.cost is not None
        weights = (record.environment.get("backbone_sha256"), record.benchmark, record.seed, record.results_version())
        if weights[0] is not None:
            first, other = self.networks.setdefault(weights[1:], (weights[0], where))
            if first != weights[0]:
                return f"its backbone began with other weights than that of '{other}' with the same seed"
        if not Method.of(record).is_plain:
            return ""
        size = (record.cost.total_parameters, record.cost.forward_flops_per_image)
        training = record.config.get("training") or {}
        kind = (record.benchmark, record.results_version(), *map(training.get, ("head", "head_classes", "tune")))
        first, other = self.networks.setdefault(kind, (size, where))
        if first != size:
            detail = "parameters and FLOPs for an image, both of the backbone with a head"
            return f"it says {size[0]} and {size[1]}, but '{other}' {first[0]} and {first[1]} {detail}"
        return ""

    def _unlike_costs(self, record: RunRecord, where: str) -> str:
        """How its costs differ from those of another seed of the same method with the same sources."""
        sources = tuple((entry.name, entry.source) for entry in record.plugins)
        kind = (record.benchmark, record.method, record.results_version(), sources)
        first, other = self.costs.setdefault(kind, (record, where))
        new, earlier = _cost_of(record), _cost_of(first)
        for name in sorted({*new, *earlier}):
            most = MOST_APART_IN_SIZE if name in FIXED else MOST_APART
            low, high = sorted((new.get(name, 0), earlier.get(name, 0)))
            if high > most * low:
                detail = f"{earlier.get(name, 0)} in '{other}', another seed of {record.method}"
                return f"its {name} is {new.get(name, 0)}, but {detail}"
        return ""


def _cost_of(record: RunRecord) -> dict[str, int]:
    """The costs of a record that hardly depend on its seed."""
    assert record.cost is not None
    return {
        "total_parameters": record.cost.total_parameters,
        "forward_flops_per_image": record.cost.forward_flops_per_image,
        "trainable_parameters": record.cost.trainable_parameters,
        "gradient samples": sum(task.gradient_samples for task in record.tasks),
        **{f"stored_bytes.{kind}": size for kind, size in record.cost.stored_bytes.items()},
    }


def read_published(folder: Path) -> Iterator[Published]:
    """Read all published records in the order of their paths, keeping only hashes of their predictions.

    Args:
        folder: The folder of the records.

    Raises:
        MistakesError: After the last record, with a line for each that is not valid.
    """
    record_set, problems = RecordSetCheck(), []
    paths = [path for path in files_below(folder, "*.json") if not path.name.endswith(".rerun.json")]
    for path in paths:
        where = path.relative_to(folder).as_posix()
        try:
            record = read_foreign(path)
        except RecordError as error:
            problems.append(printable(str(error).replace(str(path), where)))
            continue
        found = examine(record, path.with_suffix(".npz"))
        problem = found.problem or record_set.problem(record, found.samples, where)
        if not problem and record_place(record).as_posix() != where:
            problem = f"its place is '{record_place(record).as_posix()}'"
        if problem:
            problems.append(printable(f"{where}: {problem.replace(str(folder) + '/', '')}"))
        else:
            yield Published(where, record, found.samples, found.predictions)
    if problems:
        raise MistakesError("records that cannot be published:\n" + "\n".join(problems))
