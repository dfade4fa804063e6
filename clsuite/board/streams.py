"""The stream of a record made anew from the data, and compared by its fingerprint. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from clsuite.data.spec import DatasetSpec
from clsuite.errors import AbsentError, UserError
from clsuite.records import RunRecord
from clsuite.records.canonical import canonical_json
from clsuite.runner.streams import find_stream_file, stream_loader
from clsuite.scenarios import Scenario, ScenarioSpec
from clsuite.written.words import first_mistake


def stream_specs(record: RunRecord) -> tuple[DatasetSpec | None, ScenarioSpec]:
    """What a record says about its stream; paths are below the data root.

    Raises:
        UserError: If this version of clsuite has no such data set or scenario.
    """
    try:
        dataset = record.config["dataset"]
        return (
            DatasetSpec.model_validate(dataset) if dataset is not None else None,
            ScenarioSpec.model_validate(record.config["scenario"]),
        )
    except KeyError as error:
        raise UserError(f"its stream cannot be made by this version: config.{error.args[0]} is missing") from error
    except ValidationError as error:
        raise UserError(f"its stream cannot be made by this version: {first_mistake(error, 'it')}") from error


class Streams:
    """Compares the streams of records with the data.

    Attributes:
        unchecked: Why some streams could not be compared, by benchmark.
    """

    def __init__(self, data_root: Path | None) -> None:
        """Look for data in `data_root`."""
        self.data_root = data_root
        self.unchecked: dict[str, str] = {}
        self._fingerprint = lru_cache(maxsize=None)(self._made)
        self._loader = lru_cache(maxsize=1)(self._loaded)

    def complaint(self, record: RunRecord) -> str:
        """What stands against the stream of a record; empty where nothing does or the data are not at hand."""
        try:
            dataset, scenario = stream_specs(record)
            size, limit = record.config["backbone"]["image_size"], record.config.get("limit_tasks")
            if dataset is None:
                raise AbsentError("a stream from a Python file is not made anew")
            specs = (canonical_json(dataset.model_dump()), canonical_json(scenario.model_dump()))
            found = self._fingerprint(*specs, size, record.seed, limit)
        except AbsentError as error:
            self.unchecked[record.benchmark] = str(error)
            return ""
        except (UserError, KeyError, TypeError) as error:
            return f"its stream cannot be made anew: {error}"
        if found == record.scenario.fingerprint:
            return ""
        return (
            f"its stream is not the one that the data give now ({record.scenario.fingerprint[:12]} in the record, "
            f"{found[:12]} from the data): other data, another seed, or another version of the scenario"
        )

    def _made(self, dataset: str, scenario: str, size: int, seed: int, limit: int | None) -> str:
        return self._loader(dataset, scenario, size)(seed, limit).fingerprint

    def _loaded(self, dataset: str, scenario: str, size: int) -> Callable[[int, int | None], Scenario]:
        spec = ScenarioSpec.model_validate_json(scenario)
        found = find_stream_file(spec, [self.data_root or Path()])
        return stream_loader(DatasetSpec.model_validate_json(dataset), found, size, self.data_root)
