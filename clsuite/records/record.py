"""The run record: everything needed to trust a run, rescore it and repeat it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from clsuite.metrics import Counts, Curves
from clsuite.records.canonical import canonical_json, sha256_of

SCHEMA_VERSION = 1
RESULTS_VERSION = 3
"""Raised when a change to the framework itself changes results, so that older records are not taken for current."""
Status = Literal["done", "failed", "timeout", "interrupted"]
Protocol = Literal["class_incremental", "task_aware"]
Count = Annotated[int, Field(ge=0, lt=2**53)]
"""Images, steps, parameters, bytes: up to 9 peta, which every reader of JSON gives back to the last digit."""
Operations = Annotated[int, Field(ge=0, lt=10**27)]
"""Floating-point operations: those of a long training are more than 64 bits hold."""
Amount = Annotated[float, Field(ge=0, le=1e10, allow_inf_nan=False)]
"""Seconds, up to three hundred years: sums of them are still numbers that a table can show."""
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""A part of one."""
TASK_KNOWN = ("task_incremental",)
"""Kinds of stream in which the task is known at test time."""


def _portable(value: dict[str, Any]) -> dict[str, Any]:
    """What a key is made from, of which every machine must make the same."""
    canonical_json(value)
    return value


Portable = Annotated[dict[str, Any], AfterValidator(_portable)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    absent: ClassVar[tuple[str, ...]] = ()
    """Fields that a file does not have where they are None."""

    @model_serializer(mode="wrap")
    def _without_absent(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = serialize(self)
        for name in self.absent:
            if getattr(self, name) is None:
                content.pop(name, None)
        return content


class PluginEntry(_Model):
    """One plugin of the method as it ran.

    Attributes:
        name: Registered name.
        args: Every constructor argument, the defaults resolved.
        source: Hash of the plugin's source and of all local modules that it imports (before results version 3: of the
            text of its file).
        distribution: Distribution that brought the plugin, and its version (``clsuite 0.1.0``).
    """

    name: str
    args: Portable
    source: str
    distribution: str


class ScenarioEntry(_Model):
    """The stream that was learned: names for the rows and columns of the matrix and the fingerprints behind them.

    Attributes:
        part_names: Names of the evaluation parts, the columns; empty where they are the tasks.
    """

    kind: str
    fingerprint: str
    task_fingerprints: list[str]
    task_names: list[str]
    part_names: list[str] = Field(default_factory=list)
    classes: list[str] = Field(description="Class names in the order of the stream, which is the order of the logits.")

    @property
    def columns(self) -> list[str]:
        """Names of the columns of the matrix."""
        return self.part_names or self.task_names

    @property
    def protocol(self) -> Protocol:
        """The protocol that this kind of stream is judged by: whether the task is known at test time."""
        return "task_aware" if self.kind in TASK_KNOWN else "class_incremental"


class CountsEntry(_Model):
    """The counts of `clsuite.metrics.Counts`, in both protocols from the same logits.

    Attributes:
        learned: Task after which each part is first learned; None where the parts are the tasks.
    """

    class_incremental: list[list[Count]]
    task_aware: list[list[Count]]
    n: list[Count]
    learned: list[Count] | None = None

    @model_validator(mode="after")
    def _shapes(self) -> CountsEntry:
        self.of("class_incremental")
        self.of("task_aware")
        return self

    def of(self, protocol: Protocol) -> Counts:
        """The counts of one protocol: all seen classes compete, or only those of the sample's part."""
        return Counts.of(getattr(self, protocol), self.n, self.learned)


class TaskEntry(_Model):
    """What one task cost: seconds of training and of evaluation, optimizer steps, samples with a gradient.

    Attributes:
        trainable_parameters: Those that had a gradient when its training began; absent from older files.
        frozen: Whether the features were fixed then, so that no gradient went through the backbone; absent likewise.
    """

    absent = ("trainable_parameters", "frozen")

    train_seconds: Amount
    eval_seconds: Amount
    steps: Count
    gradient_samples: Count
    final_loss: float | None
    trainable_parameters: Count | None = None
    frozen: bool | None = None


class CostEntry(_Model):
    """What the run cost. FLOPs count a multiply-add as two and a backward pass as two forward passes.

    Attributes:
        trainable_parameters: Those that were trained in one task, the largest number over the tasks.
        training_flops: Of all samples whose gradient went through the backbone.
    """

    peak_memory_bytes: Count
    total_parameters: Count
    trainable_parameters: Count
    stored_bytes: dict[str, Count]
    forward_flops_per_image: Operations
    training_flops: Operations


class FeaturesEntry(_Model):
    """What a run took from the features that runs share on disk, in place of computing it.

    Attributes:
        images: How many images' features; those of an image that was taken twice count twice.
        seconds: What they had cost where they were computed.
        training_seconds: The part of these that belongs to the training of tasks.
        evaluation_seconds: The part that belongs to the evaluations after tasks; the rest was before the stream.
    """

    images: Count
    seconds: Amount
    training_seconds: Amount
    evaluation_seconds: Amount


class ProbeEntry(_Model):
    """What a retention probe read before the stream and after each task.

    Attributes:
        name: Its name.
        higher_is_better: Whether more of it is kept knowledge (an accuracy) or loss of it (a divergence, an error).
        values: ``[T + 1]``; accuracies as shares; None where the method has no such reading, or none was taken.
        correct: Right answers ``[T + 1]``, where it is an accuracy.
        n: Of how many, where it is one.
    """

    name: str
    higher_is_better: bool
    values: list[float | None]
    correct: list[Count | None] | None = None
    n: Count | None = None

    @property
    def was_read(self) -> bool:
        """Whether there is any reading: a probe without any value does not show what it would have read."""
        return any(value is not None for value in self.values)

    @model_validator(mode="after")
    def _counts_are_of_something(self) -> ProbeEntry:
        if self.correct is None:
            return self
        if not self.n:
            raise ValueError(f"'{self.name}' has right answers, but no total")
        if len(self.correct) != len(self.values):
            raise ValueError(f"'{self.name}' has {len(self.values)} values, but {len(self.correct)} right answers")
        if [value is None for value in self.values] != [count is None for count in self.correct]:
            raise ValueError(f"'{self.name}' has a value without right answers, or right answers without a value")
        counts = [count for count in self.correct if count is not None]
        if max(counts, default=0) > self.n or not all(0 <= value <= 1 for value in self.values if value is not None):
            raise ValueError(f"an accuracy of '{self.name}' lies outside 0..1")
        return self


class CurveEntry(_Model):
    """Right answers while one task is learned, on the subset of `WithinTaskEntry`.

    Attributes:
        steps: Optimizer steps of the task before each evaluation; the last is after the task.
        class_incremental: ``[evaluations, C]``; 0 for parts that are not learned up to this task.
        task_aware: The same with only the classes of the sample's part competing.
        exposed: ``[evaluations]`` accuracy on the test images of the classes that training has met by then, these
            classes competing alone; each weighs as many images as its test set has. None before the first class.
            Absent from the file where the images of the stream pass more than once.
    """

    absent = ("exposed",)

    steps: list[Count]
    class_incremental: list[list[Count]]
    task_aware: list[list[Count]]
    exposed: list[Share | None] | None = None


class WithinTaskEntry(_Model):
    """The accuracy within tasks, on a fixed subset of the test images.

    Attributes:
        every: Steps between two regular evaluations.
        n: Images of each evaluation part, ``[C]``.
        learned: Task after which each part is first learned, ``[C]``.
        tasks: The curve of each task.
    """

    every: Count
    n: list[Count]
    learned: list[Count]
    tasks: list[CurveEntry]

    @model_validator(mode="after")
    def _shapes(self) -> WithinTaskEntry:
        self.of("class_incremental")
        self.of("task_aware")
        return self

    def of(self, protocol: Protocol) -> Curves:
        """The curves of one protocol."""
        counts = [getattr(curve, protocol) for curve in self.tasks]
        given = [curve.exposed for curve in self.tasks if curve.exposed is not None]
        exposed = given if len(given) == len(self.tasks) and protocol == "class_incremental" else None
        return Curves.of([curve.steps for curve in self.tasks], counts, self.n, self.learned, self.every, exposed)


class TrialEntry(_Model):
    """One trial of a search for hyper-parameters: its values, its score (None: it failed), and what it cost."""

    values: Portable
    score: float | None
    gradient_samples: Count
    seconds: Amount


class TuningEntry(_Model):
    """The search that chose hyper-parameters, on validation parts alone; no part of the run key.

    Attributes:
        metric: What was best on the validation parts, by its exact name.
        space: The space, as written.
        sampler: ``grid`` or ``tpe``.
        sampler_seed: Seed of the proposals.
        tasks: The first tasks, which the trials learned.
        validation: Share of the training images that was held out; None where the stream brings validation parts.
        seed: Seed of the trials' stream and training.
        chosen: The best values.
        trials: All trials, in order.
    """

    metric: str
    space: str
    sampler: str
    sampler_seed: int = Field(ge=-(2**63), lt=2**63)
    tasks: Count
    validation: float | None
    seed: int = Field(ge=-(2**63), lt=2**63)
    chosen: dict[str, Any]
    trials: list[TrialEntry]

    @property
    def gradient_samples(self) -> int:
        """Samples that passed backwards in all trials, a point that came twice once: what the search cost."""
        return sum({canonical_json(trial.values): trial.gradient_samples for trial in self.trials}.values())

    @property
    def seconds(self) -> float:
        """Seconds of all trials, a point that came twice once."""
        return sum({canonical_json(trial.values): trial.seconds for trial in self.trials}.values())


class RunRecord(_Model):
    """One run: one method on one stream with one seed.

    Attributes:
        config: The resolved configuration (data, scenario, backbone with the sha256 of its weights, training).
        key: sha256 over configuration, plugins, seed and the scenario's fingerprint; see `RunRecord.make_key`.
        within_task: The accuracy within tasks, where the benchmark asks for it; absent from the file where it does not.
        tuning: How hyper-parameters were chosen; absent from the file where nothing was searched.
        features: What it took from the features that runs share; absent from the file where it took none.
        environment: Library versions, processor, precision, threads, git commit, hash of the backbone as it was loaded
            (that of a file is in the configuration); no host names, no paths.
        error: The traceback or reason where the status is not ``done``.
        predictions: Name of the file beside the record that holds the predictions.
    """

    absent = ("within_task", "tuning", "features")

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
        return _portable(config)

    @model_validator(mode="after")
    def _done_has_counts(self) -> RunRecord:
        if self.status == "done" and (self.counts is None or self.cost is None):
            raise ValueError("a finished run has counts and a cost")
        return self

    @property
    def full_seconds(self) -> float:
        """What the run would have taken without features from the store, about."""
        return self.seconds + (self.features.seconds if self.features else 0.0)

    @property
    def training_seconds(self) -> float:
        """Seconds of training over all tasks, with those that features from the store had cost."""
        return sum(task.train_seconds for task in self.tasks) + (
            self.features.training_seconds if self.features else 0.0
        )

    @property
    def evaluation_seconds(self) -> float:
        """Seconds of the evaluations after tasks, likewise."""
        return sum(task.eval_seconds for task in self.tasks) + (
            self.features.evaluation_seconds if self.features else 0.0
        )

    @property
    def main_curves(self) -> Curves | None:
        """The accuracy within tasks in the protocol that the stream is judged by."""
        return self.within_task.of(self.scenario.protocol) if self.within_task else None

    @property
    def main_counts(self) -> Counts:
        """The counts of a finished run in the protocol that its stream is judged by."""
        assert self.counts is not None
        return self.counts.of(self.scenario.protocol)

    @staticmethod
    def make_key(
        config: dict[str, Any],
        plugins: list[PluginEntry],
        seed: int,
        fingerprint: str,
        results: int | None = None,
    ) -> str:
        """The run key: what decides the result, and nothing else (no device, path or number of jobs)."""
        parts = {
            "results": RESULTS_VERSION if results is None else results,
            "config": config,
            "plugins": [plugin.model_dump(exclude={"distribution"}) for plugin in plugins],
            "seed": seed,
            "scenario": fingerprint,
        }
        return sha256_of(parts)

    def recomputed_key(self) -> str:
        """The key that the record's own content gives; differs from `key` where the record was edited."""
        return self.make_key(self.config, self.plugins, self.seed, self.scenario.fingerprint)

    def results_version(self) -> int | None:
        """The version of results that the key was made with; None where it does not follow from the content at all."""
        content = (self.config, self.plugins, self.seed, self.scenario.fingerprint)
        versions = range(RESULTS_VERSION, 0, -1)
        return next((version for version in versions if self.make_key(*content, version) == self.key), None)
