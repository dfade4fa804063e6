"""What a benchmark says about its stream."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["class_incremental", "domain_incremental"]


class ScenarioSpec(BaseModel):
    """A stream of tasks over one data set.

    Attributes:
        kind: ``class_incremental`` (new classes in each task) or ``domain_incremental`` (new domains of the same ones).
        tasks: Number of tasks; for domains, all of them where it is not given.
        first_task: Classes in the first task (B50 in ``B50-inc5``); the others share the rest.
        order: ``seed`` (classes or domains permuted by the run's seed) or ``given`` (as the data set lists them).
        validation: Share of each class's training images that is set aside as the validation part.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Kind = "class_incremental"
    tasks: int | None = Field(default=None, ge=1)
    first_task: int | None = Field(default=None, ge=1)
    order: Literal["seed", "given"] = "seed"
    validation: float = Field(default=0.0, ge=0.0, lt=1.0)
