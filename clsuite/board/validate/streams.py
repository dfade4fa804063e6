"""Makes the stream of a record again from the data, and compares it with the record. Needs no torch."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clsuite.board.validate.costs import step_problem
from clsuite.board.validate.probe_images import probe_image_problem
from clsuite.data.seal import table_sha256
from clsuite.data.spec import DatasetSpec
from clsuite.errors import AbsentError, UserError
from clsuite.records import RunRecord
from clsuite.records.canonical import canonical_json
from clsuite.runner.own_classes import recorded_uses
from clsuite.runner.recorded_inputs import restored_stream
from clsuite.runner.spec import load_benchmark, shipped_benchmarks
from clsuite.runner.streams import stream_loader
from clsuite.scenarios import Scenario, ScenarioSpec

USUAL_SIZE = 32
"""Side of the images with which a stream is made again if it is not of a shipped benchmark.

Streams do not depend on it. A record cannot choose it, so that none can have images decoded at a huge size.
"""


@dataclass(frozen=True)
class Made:
    """What a record says of a stream, computed from the stream itself.

    Attributes:
        entries: The record's `scenario`.
        arrays: The arrays that are stored with the predictions.
        training: Number of training images of each task.
        seen: Classes seen after each task.
        of_parts: Classes of each evaluation part.
        batch_repeats: Number of consecutive steps on each batch.
        table_sha256: Hash of the decoded images.
        image_size: Size at which they were decoded.
        left_out: Number of test images of domains that no task trains on.
    """

    entries: Mapping[str, Any]
    arrays: Mapping[str, NDArray[np.integer]]
    training: tuple[int, ...]
    seen: tuple[int, ...]
    of_parts: tuple[tuple[int, ...], ...]
    batch_repeats: int
    table_sha256: str
    image_size: int
    left_out: int

    @classmethod
    def of(cls, scenario: Scenario) -> Made:
        """What a record of a run on a stream says of it."""
        tests = [part.test for part in scenario.eval_splits]
        arrays = {
            "labels": scenario.labels[np.concatenate(tests)],
            "task": np.repeat(np.arange(len(tests)), [len(rows) for rows in tests]),
        }
        if scenario.separate_splits:
            arrays["learned"] = np.array([part.learned for part in scenario.separate_splits])
        entries = {
            "kind": scenario.kind,
            "task_fingerprints": [task.fingerprint for task in scenario.tasks],
            "task_names": [task.name for task in scenario.tasks],
            "part_names": [part.name for part in scenario.separate_splits],
            "classes": list(scenario.classes),
            "fingerprint": scenario.fingerprint,
        }
        training = tuple(len(task.train) for task in scenario.tasks)
        seen = tuple(scenario.seen_classes(index + 1) for index in range(len(scenario.tasks)))
        of_parts = tuple(part.classes for part in scenario.eval_splits)
        table = scenario.table
        trained = np.unique(np.concatenate([table.domains[task.train] for task in scenario.tasks]))
        left_out = int((table.is_test & ~np.isin(table.domains, trained)).sum())
        return cls(
            entries, arrays, training, seen, of_parts, scenario.batch_repeats, table_sha256(table),
            table.images.shape[-1], left_out,
        )  # fmt: skip

    def prediction_problem(self, arrays: Mapping[str, NDArray[np.integer]]) -> str:
        """The problem with predictions: they must be of classes that were seen, and of the right part.

        With an open vocabulary all classes of the stream may be predicted, except among those seen.
        """
        labels, task = self.arrays["labels"], self.arrays["task"]
        names = {"class_incremental": False, "task_aware": "open_vocabulary" in arrays}
        names |= {"open_vocabulary": True} if "open_vocabulary" in arrays else {}
        members = np.zeros((len(self.of_parts), max(self.seen)), dtype=np.bool_)
        for part, classes in enumerate(self.of_parts):
            members[part, [label for label in classes if label < max(self.seen)]] = True
        for name, is_open in names.items():
            for row, predicted in enumerate(arrays[name]):
                seen = self.seen[-1 if is_open else max(row, 1) - 1]
                tested = labels < seen
                if not (
                    (predicted[~tested] == -1).all() and ((predicted[tested] >= 0) & (predicted[tested] < seen)).all()
                ):
                    return f"row {row} of {name} in its predictions names classes that are not seen by then"
                if name == "task_aware" and not members[task[tested], predicted[tested].astype(np.int64)].all():
                    return f"row {row} of {name} in its predictions names classes of other parts"
        return ""


class Streams:
    """Compares the streams of records with the data.

    Attributes:
        unchecked: Why some streams could not be compared, by benchmark.
        images_unchecked: Why decoded images, or those of probes, could not be compared, by what and by benchmark.
    """

    def __init__(self, data_root: Path | None) -> None:
        """Use the data in `data_root`."""
        self.data_root = data_root
        self.unchecked: dict[str, str] = {}
        self.images_unchecked: dict[tuple[str, str], str] = {}
        self._stream = lru_cache(maxsize=None)(self._made)
        self._loader = lru_cache(maxsize=1)(self._loaded)

    def problem(self, record: RunRecord) -> str:
        """The problem with the stream of a record; empty if there is none or the data are not available."""
        found = self._found(record)
        if not isinstance(found, Made):
            return found
        now = found.entries["fingerprint"]
        if now == record.scenario.fingerprint:
            return ""
        return (
            f"its stream is not the one that the data give now ({record.scenario.fingerprint[:12]} in the record, "
            f"{now[:12]} from the data): other data, another seed, or another version of the scenario"
        )

    def judge(self, record: RunRecord, arrays: Mapping[str, NDArray[np.integer]]) -> str:
        """The problem with what a record says of its stream, including the labels of the test images.

        Args:
            record: A finished record.
            arrays: Its predictions.
        """
        if problem := self.problem(record):
            return problem
        found = self._found(record)
        if not isinstance(found, Made):
            return found
        recorded = record.scenario.model_dump()
        for name, expected in found.entries.items():
            if recorded[name] != expected:
                return f"its scenario.{name} is not that of the stream: {_first_difference(recorded[name], expected)}"
        for name in ("labels", "task", "learned"):
            if not np.array_equal(arrays.get(name, ()), found.arrays.get(name, ())):
                return f"the {name} beside its predictions are not those of the stream's test images"
        return (
            found.prediction_problem(arrays)
            or step_problem(record, found.training, found.batch_repeats)
            or self._image_problem(record, found)
            or self._probe_problem(record, found)
        )

    def _image_problem(self, record: RunRecord, found: Made) -> str:
        """The problem with the hash of the decoded images; decoders of other versions and systems may differ."""
        recorded, size = record.environment.get("table_sha256"), record.config["backbone"]["image_size"]
        if recorded in (None, found.table_sha256):
            return ""
        decoder = (record.environment["packages"] or {}).get("pillow"), record.environment["system"]
        if size != found.image_size or decoder != (version("pillow"), platform.system()):
            self.images_unchecked["decoded images", record.benchmark] = (
                f"the record has them at {size} px by Pillow {decoder[0]} on {decoder[1]}, and here they are at "
                f"{found.image_size} px by Pillow {version('pillow')} on {platform.system()}"
            )
            return ""
        return (
            "environment.table_sha256: its images are not those that the data give "
            f"({recorded[:12]} in the record, {found.table_sha256[:12]} from the data)"
        )

    def _probe_problem(self, record: RunRecord, found: Made) -> str:
        """The problem with the images of its probes."""
        try:
            return probe_image_problem(record, _size(record.benchmark), self.data_root, found.left_out)
        except AbsentError as error:
            self.images_unchecked["images of probes", record.benchmark] = str(error)
            return ""
        except (UserError, KeyError, TypeError, ValueError) as error:
            return f"its probes cannot be made again: {error}"

    def _found(self, record: RunRecord) -> Made | str:
        """The record's stream made again; a message if it cannot be made, empty if data are not available."""
        try:
            dataset, scenario = restored_stream(record)
            if dataset is None:
                raise AbsentError("a stream from a Python file is not made again")
            if any(part in ("dataset", "scenario") for part, _ in recorded_uses(record.config)):
                raise AbsentError("a stream of user-defined classes is not made again: their code would run")
            specs = (canonical_json(dataset.model_dump()), canonical_json(scenario.model_dump()))
            return self._stream(*specs, _size(record.benchmark), record.seed, record.config.get("limit_tasks"))
        except AbsentError as error:
            self.unchecked[record.benchmark] = str(error)
            return ""
        except (UserError, KeyError, TypeError, ValueError) as error:
            return f"its stream cannot be made again: {error}"

    def _made(self, dataset: str, scenario: str, size: int, seed: int, limit: int | None) -> Made:
        return Made.of(self._loader(dataset, scenario, size)(seed, limit))

    def _loaded(self, dataset: str, scenario: str, size: int) -> Callable[[int, int | None], Scenario]:
        spec = ScenarioSpec.model_validate_json(scenario)
        return stream_loader(DatasetSpec.model_validate_json(dataset), spec, size, self.data_root)


def _size(benchmark: str) -> int:
    """The image size with which a stream is made again: that of the shipped benchmark, whose images are decoded so."""
    return load_benchmark(benchmark)[0].backbone.image_size if benchmark in shipped_benchmarks() else USUAL_SIZE


def _first_difference(recorded: Any, expected: Any) -> str:
    if isinstance(recorded, list) and isinstance(expected, list) and len(recorded) == len(expected):
        recorded, expected = next((one, other) for one, other in zip(recorded, expected, strict=True) if one != other)
    return f"{str(recorded)[:60]!r} in the record, {str(expected)[:60]!r} from the data"
