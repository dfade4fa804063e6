"""The result of `clsuite.run`: a record, with views of it for notebooks."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clsuite.errors import UserError
from clsuite.metrics import METRICS, PRIMARY, compute_all
from clsuite.records import RunRecord, read_predictions, read_record
from clsuite.records.curves import TrainingCurve, read_curves
from clsuite.records.order import run_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from clsuite.report.plots import ShownFigure
    from clsuite.runner.model_file import TrainedModel

SHOWN = (PRIMARY, "final_accuracy_weighted", "average_incremental_accuracy_weighted", "forgetting_max_before_last")


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        record: The run's record.
        path: Its file; predictions, heat map and model are beside it.
        folders: Folders of the files of its plugins.
    """

    record: RunRecord
    path: Path
    folders: Sequence[Path] = field(default=(), repr=False)

    @classmethod
    def read(cls, path: str | Path) -> RunResult:
        """Read a finished run from its record, such as one of ``clsuite bench``.

        Raises:
            UserError: If the record cannot be read, or the run is not finished.
        """
        record = read_record(Path(path))
        if record.status != "done":
            raise UserError(f"the run of '{path}' is not done but {record.status}")
        return cls(record, Path(path))

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The accuracy matrix ``[T, C]`` in [0, 1]: accuracy on part ``j`` after learning task ``i``.

        It is the one of the protocol by which the stream is evaluated (``record.protocol``): the task is known at test
        time in task-incremental streams and sequences of data sets. ``record.counts.of("task_aware")`` has another one.
        """
        return self.record.main_counts.accuracy

    @property
    def metrics(self) -> dict[str, float]:
        """Every metric by its exact name (see ``clsuite.metrics.METRICS``); nan if a stream is too short for it."""
        return compute_all(self.record.main_counts)

    @property
    def predictions(self) -> dict[str, NDArray[np.integer]]:
        """The stored predictions of every evaluation; see `clsuite.records.rescore` for the arrays.

        Raises:
            UserError: If their file is missing or truncated.
        """
        return read_predictions(self.path.with_suffix(".npz"))

    @property
    def curves(self) -> dict[str, TrainingCurve]:
        """The training curves by name: ``loss``, and what plugins log with ``learner.log(name, value)``.

        Each has the arrays ``task``, ``step`` (within the task) and ``value``; a point is the mean of the steps since
        the previous one. It is empty if no curves were stored.

        Raises:
            UserError: If their file is missing or truncated.
        """
        return read_curves(self.path.with_suffix(".npz"))

    def rows(self) -> list[dict[str, Any]]:
        """The matrix in long form: one dictionary for each task learned and part tested.

        Its keys are benchmark, method, seed, task (from 0), part, correct, n, accuracy and learned (whether the part
        has been learned by then).
        """
        record, counts = self.record, self.record.main_counts
        return [
            {
                "benchmark": record.benchmark,
                "method": record.method,
                "seed": record.seed,
                "task": task,
                "part": name,
                "correct": int(counts.correct[task + 1, part]),
                "n": int(counts.n[part]),
                "accuracy": float(counts.accuracy[task, part]),
                "learned": bool(counts.learned[part] <= task),
            }
            for task in range(counts.tasks)
            for part, name in enumerate(record.scenario.columns)
        ]

    def to_frame(self) -> Any:
        """`rows` as a pandas ``DataFrame``.

        Raises:
            UserError: If pandas is not installed, which clsuite does not need.
        """
        try:
            import pandas
        except ImportError as error:
            raise UserError("to_frame needs pandas: pip install pandas (or take result.rows())") from error
        return pandas.DataFrame(self.rows())

    def plot(self) -> Figure:
        """The accuracy matrix as a heat map: a matplotlib figure that is independent of pyplot."""
        return self._figure()

    def load_model(self) -> TrainedModel:
        """The trained model of a run with ``save_model=True``.

        Raises:
            UserError: If there is none, or a plugin has changed since.
        """
        from clsuite.runner.model_file import load_model

        return load_model(self.path, folders=self.folders, download=True)

    def __repr__(self) -> str:
        figures = ", ".join(f"{METRICS[name].label} {_percent(self.metrics[name])}" for name in SHOWN)
        return f"<{self._title} on {self.record.benchmark}: {figures}>"

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><td style='text-align:left'>{escape(METRICS[name].label)}</td><td>{_percent(self.metrics[name])}</td>"
            f"<td style='text-align:left'><code>{escape(METRICS[name].formula)}</code></td></tr>"
            for name in SHOWN
        )
        data = b64encode(self._figure()._repr_png_()).decode()
        heading = f"<b>{escape(self.record.method)}</b> on {escape(self.record.benchmark)}, seed {self.record.seed}"
        alt = escape(f"accuracy matrix of {self._title}", quote=True)
        return f"<p>{heading}</p><table>{cells}</table><img alt='{alt}' src='data:image/png;base64,{data}'>"

    def _figure(self) -> ShownFigure:
        from clsuite.report.plots import matrices_figure

        return matrices_figure({self._title: [self.record]})

    @property
    def _title(self) -> str:
        return run_name(self.record)


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f} %"
