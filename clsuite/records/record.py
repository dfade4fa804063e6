"""The run record: everything needed to trust a run, rescore it and repeat it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from clsuite.metrics import Counts, Curves
from clsuite.records.canonical import sha256_of
from clsuite.records.entries import (
    Amount,
    CostEntry,
    CountsEntry,
    Entry,
    FeaturesEntry,
    PluginEntry,
    ProbeEntry,
    Protocol,
    ScenarioEntry,
    StateEntry,
    TaskEntry,
    TuningEntry,
    WithinTaskEntry,
    portable,
)

SCHEMA_VERSION = 1
RESULTS_VERSION = 3
"""Increased when a change of clsuite itself changes results, so that older records do not count as current."""
Status = Literal["done", "failed", "timeout", "interrupted"]
TASK_KNOWN = ("task_incremental", "cross_domain")
"""Kinds of stream in which the task is known at test time, unless the scenario says ``task_known: false``."""


class RunRecord(Entry):
    """One run: one method on one stream with one seed.

    Attributes:
        config: The resolved configuration (data, scenario, backbone with the sha256 of its weights, training).
        key: sha256 over configuration, plugins, seed and the scenario's fingerprint; see `RunRecord.make_key`.
        within_task: The accuracy within tasks, if the benchmark asks for it; otherwise absent from the file.
        tuning: How hyperparameters were chosen; absent from the file if there was no search.
        features: What it read from the features that runs share; absent from the file if it read none.
        states: The commitment to its state after each task, of a run with ``--keep-states``; otherwise absent from the
            file.
        environment: Library versions, processor, precision, threads, git commit, hash of the backbone as it was loaded
            (that of a file is in the configuration); no host names, no paths.
        error: The traceback or reason if the status is not ``done``.
        predictions: Name of the file beside the record that has the predictions.
    """

    absent = ("within_task", "tuning", "features", "states")

    schema_version: int = Field(default=SCHEMA_VERSION, ge=1, le=SCHEMA_VERSION, strict=True)
    key: str
    benchmark: str
    method: str
    seed: int = Field(ge=-(2**63), lt=2**63)
    status: Status
    config: dict[str, Any]
    plugins: list[PluginEntry]
    scenario: ScenarioEntry
    counts: CountsEntry | None = None
    probes: list[ProbeEntry] = Field(default_factory=list)
    within_task: WithinTaskEntry | None = None
    tuning: TuningEntry | None = None
    features: FeaturesEntry | None = None
    states: list[StateEntry] | None = None
    tasks: list[TaskEntry] = Field(default_factory=list)
    cost: CostEntry | None = None
    environment: dict[str, Any] = Field(default_factory=dict)
    seconds: Amount = 0.0
    predictions: str | None = None
    error: str | None = None

    @field_validator("environment", mode="before")
    @classmethod
    def _american(cls, environment: Any) -> Any:
        """Records of the first months spell one entry ``normalisation``."""
        if not isinstance(environment, dict) or "normalisation" not in environment:
            return environment
        return {"normalization" if name == "normalisation" else name: value for name, value in environment.items()}

    @field_validator("config")
    @classmethod
    def _gives_a_key(cls, config: dict[str, Any]) -> dict[str, Any]:
        return portable(config)

    @model_validator(mode="after")
    def _done_has_counts(self) -> RunRecord:
        if self.status == "done" and (self.counts is None or self.cost is None):
            raise ValueError("a finished run has counts and a cost")
        return self

    @property
    def full_seconds(self) -> float:
        """Approximate seconds that the run would have taken without features from the store."""
        return self.seconds + (self.features.seconds if self.features else 0.0)

    @property
    def training_seconds(self) -> float:
        """Seconds of training over all tasks, including what features from the store had taken."""
        return sum(task.train_seconds for task in self.tasks) + (
            self.features.training_seconds if self.features else 0.0
        )

    @property
    def evaluation_seconds(self) -> float:
        """Seconds of the evaluations after tasks, including what features from the store had taken."""
        return sum(task.eval_seconds for task in self.tasks) + (
            self.features.evaluation_seconds if self.features else 0.0
        )

    @property
    def protocol(self) -> Protocol:
        """The protocol by which the stream is evaluated: whether the task is known at test time.

        In a sequence of data sets without the task (X-TAIL), all names compete if the method has an open vocabulary.
        """
        kind, scenario = self.scenario.kind, self.config.get("scenario")
        if kind in TASK_KNOWN and not (isinstance(scenario, dict) and scenario.get("task_known") is False):
            return "task_aware"
        is_open = self.counts is not None and self.counts.open_vocabulary is not None
        return "open_vocabulary" if kind == "cross_domain" and is_open else "class_incremental"

    @property
    def main_curves(self) -> Curves | None:
        """The accuracy within tasks in the protocol by which the stream is evaluated; of learned parts alone."""
        aware = self.protocol == "task_aware"
        protocol: Literal["class_incremental", "task_aware"] = "task_aware" if aware else "class_incremental"
        return self.within_task.of(protocol) if self.within_task else None

    @property
    def main_counts(self) -> Counts:
        """The counts of a finished run in the protocol by which its stream is evaluated."""
        assert self.counts is not None
        return self.counts.of(self.protocol)

    @staticmethod
    def make_key(
        config: dict[str, Any],
        plugins: list[PluginEntry],
        seed: int,
        fingerprint: str,
        results: int | None = None,
    ) -> str:
        """The run key: what determines the result, and nothing else (no device, path or number of jobs)."""
        parts = {
            "results": RESULTS_VERSION if results is None else results,
            "config": config,
            "plugins": [plugin.model_dump(exclude={"distribution"}) for plugin in plugins],
            "seed": seed,
            "scenario": fingerprint,
        }
        return sha256_of(parts)

    def recomputed_key(self) -> str:
        """The key that follows from the record's own content; it differs from `key` if the record was edited."""
        return self.make_key(self.config, self.plugins, self.seed, self.scenario.fingerprint)

    def results_version(self) -> int | None:
        """The version of results with which the key was made; None if no version gives this key."""
        content = (self.config, self.plugins, self.seed, self.scenario.fingerprint)
        versions = range(RESULTS_VERSION, 0, -1)
        return next((version for version in versions if self.make_key(*content, version) == self.key), None)
