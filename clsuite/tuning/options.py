"""The options of a search, besides those of all calls. Needs no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from clsuite.errors import did_you_mean
from clsuite.runner.options import BenchOptions, CallKeywords, Seed, as_field_error


def _known_metric(name: str) -> str:
    from clsuite.metrics import METRICS

    if name not in METRICS:
        raise did_you_mean("metric", name, METRICS)
    return name


class TuneOptions(BenchOptions):
    """Options of a search and of the final runs.

    Attributes:
        seeds: Seeds of the final runs.
        limit_tasks: Number of tasks of the final runs.
    """

    trials: int = Field(
        default=20, ge=1, description="largest number of trials; a space with fewer points is searched exhaustively"
    )
    tasks: int = Field(
        default=3, ge=1, description="number of first tasks in a trial, evaluated on their validation parts"
    )
    validation: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="share of the training images held out in trials; by default the benchmark's, or 0.1",
    )
    metric: Annotated[str, AfterValidator(as_field_error(_known_metric))] = Field(
        default="final_accuracy_macro", description="metric to optimize, by its name in `clsuite show`"
    )
    search_seed: Seed | None = Field(
        default=None, description="seed of the trials' stream and training; by default the first of the seeds"
    )
    sampler_seed: Seed = Field(default=0, description="seed of the proposals")


class TuneKeywords(CallKeywords, total=False):
    """The options of `clsuite.tune` for editors and type checkers; `TuneOptions` describes them."""

    trials: int
    tasks: int
    validation: float | None
    metric: str
    search_seed: int | None
    sampler_seed: int
