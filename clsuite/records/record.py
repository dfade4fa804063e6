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
"""Increased when a change of clsuite itself changes results, so that older records do not count as current."""
Status = Literal["done", "failed", "timeout", "interrupted"]
Protocol = Literal["class_incremental", "task_aware", "open_vocabulary"]
Count = Annotated[int, Field(ge=0, lt=2**53)]
"""Images, steps, parameters, bytes: up to 9 peta, which every JSON reader represents exactly."""
Operations = Annotated[int, Field(ge=0, lt=10**27)]
"""Floating-point operations, which may exceed 64 bits for a long training."""
Amount = Annotated[float, Field(ge=0, le=1e10, allow_inf_nan=False)]
"""Seconds, up to three hundred years, so that tables can show sums of them."""
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in hexadecimal digits."""
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""A fraction between 0 and 1."""
TASK_KNOWN = ("task_incremental", "cross_domain")
"""Kinds of stream in which the task is known at test time, unless the scenario says ``task_known: false``."""


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
        args: Every argument of the constructor, with defaults.
        source: Hash of the plugin's source and of all local modules that it imports (before results version 3: of the
            text of its file).
        distribution: Name and version of the distribution with the plugin (``clsuite 0.1.0``).
    """

    name: str
    args: Portable
    source: str
    distribution: str


class ScenarioEntry(_Model):
    """The stream that was learned: names for the rows and columns of the matrix, and the fingerprints behind them.

    Attributes:
        part_names: Names of the evaluation parts, the columns; empty if they are the tasks.
        class_names: What prompts call each class, and its data set; absent if the backbone has no text tower.
    """

    absent = ("class_names",)

    kind: str
    fingerprint: str
    task_fingerprints: list[str]
    task_names: list[str]
    part_names: list[str] = Field(default_factory=list)
    classes: list[str] = Field(description="Class names in the order of the stream, which is the order of the logits.")
    class_names: list[tuple[str, str]] | None = None

    @property
    def columns(self) -> list[str]:
        """Names of the columns of the matrix."""
        return self.part_names or self.task_names


class CountsEntry(_Model):
    """The counts of `clsuite.metrics.Counts`, in each protocol from the same logits.

    Attributes:
        class_incremental: All seen classes compete; samples of classes that are not seen yet count as wrong.
        task_aware: Only the classes of the sample's part compete. Samples of classes that are not seen yet count as
            wrong, unless the method has an open vocabulary.
        open_vocabulary: All classes of the stream compete, learned or not; None, and absent from the file, if the
            method cannot predict classes by their names.
        learned: Task after which each part is first learned; None if the parts are the tasks.
    """

    absent = ("open_vocabulary",)

    class_incremental: list[list[Count]]
    task_aware: list[list[Count]]
    n: list[Count]
    learned: list[Count] | None = None
    open_vocabulary: list[list[Count]] | None = None

    @model_validator(mode="after")
    def _shapes(self) -> CountsEntry:
        for protocol in self.protocols:
            self.of(protocol)
        return self

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        """The protocols of which there are counts."""
        both: tuple[Protocol, ...] = ("class_incremental", "task_aware")
        return both if self.open_vocabulary is None else (*both, "open_vocabulary")

    def of(self, protocol: Protocol) -> Counts:
        """The counts of one protocol: see the attributes for the classes that compete.

        Raises:
            ValueError: If there are none of an open vocabulary.
        """
        if protocol not in self.protocols:
            raise ValueError("the method has no open vocabulary, and so no counts over all names")
        return Counts.of(getattr(self, protocol), self.n, self.learned)


class TaskEntry(_Model):
    """The cost of one task: seconds of training and of evaluation, optimizer steps, samples with a gradient.

    Attributes:
        trainable_parameters: Number of parameters that had a gradient when its training started, or in a plugin's own
            loop if these were more; absent in older files.
        frozen: Whether the features were fixed then, so that no gradient passed through the backbone; absent in older
            files.
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
    """The cost of the run. A multiply-add counts as two FLOPs, and a backward pass as two forward passes.

    Attributes:
        trainable_parameters: Number of parameters that were trained in one task, the maximum over the tasks.
        training_flops: FLOPs of all samples whose gradient passed through the backbone.
    """

    peak_memory_bytes: Count
    total_parameters: Count
    trainable_parameters: Count
    stored_bytes: dict[str, Count]
    forward_flops_per_image: Operations
    training_flops: Operations


class FeaturesEntry(_Model):
    """What a run read from the features that runs share on disk, instead of computing it.

    Attributes:
        images: Number of images whose features were read; an image that was read twice counts twice.
        seconds: Seconds that computing them had taken.
        training_seconds: The part of these for the training of tasks.
        evaluation_seconds: The part of these for the evaluations after tasks; the rest was before the stream.
    """

    images: Count
    seconds: Amount
    training_seconds: Amount
    evaluation_seconds: Amount


class ProbeEntry(_Model):
    """The readings of a retention probe before the stream and after each task.

    Attributes:
        name: Its name.
        higher_is_better: Whether higher readings mean retained knowledge (an accuracy) or loss of it (a divergence, an
            error).
        values: Readings ``[T + 1]``; accuracies as shares; None if the method has no such reading, or none was taken.
        correct: Numbers of right answers ``[T + 1]``, for an accuracy.
        n: Number of images, for an accuracy.
    """

    name: str
    higher_is_better: bool
    values: list[float | None]
    correct: list[Count | None] | None = None
    n: Count | None = None

    @property
    def was_read(self) -> bool:
        """Whether there is any reading: without one it is not known what the probe would have read."""
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
        steps: Optimizer steps of the task before each evaluation; the last evaluation is after the task.
        class_incremental: Right answers ``[evaluations, C]``; 0 for parts that are not learned up to this task.
        task_aware: The same, with only the classes of the sample's part competing.
        exposed: Accuracy ``[evaluations]`` on the test images of the classes seen in training so far, with only these
            classes competing; each class has the weight of its number of test images. None before the first class.
            Absent if the images of the stream pass more than once.
    """

    absent = ("exposed",)

    steps: list[Count]
    class_incremental: list[list[Count]]
    task_aware: list[list[Count]]
    exposed: list[Share | None] | None = None


class WithinTaskEntry(_Model):
    """The accuracy within tasks, on a fixed subset of the test images.

    Attributes:
        every: Number of steps between two regular evaluations.
        n: Number of images of each evaluation part, ``[C]``.
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

    def of(self, protocol: Literal["class_incremental", "task_aware"]) -> Curves:
        """The curves of one protocol."""
        counts = [getattr(curve, protocol) for curve in self.tasks]
        measured = [curve.exposed for curve in self.tasks if curve.exposed is not None]
        exposed = measured if len(measured) == len(self.tasks) and protocol == "class_incremental" else None
        return Curves.of([curve.steps for curve in self.tasks], counts, self.n, self.learned, self.every, exposed)


class TrialEntry(_Model):
    """One trial of a hyperparameter search: its values, its score (None if it failed), and its cost."""

    values: Portable
    score: float | None
    gradient_samples: Count
    seconds: Amount


class TuningEntry(_Model):
    """The search that chose hyperparameters, on validation parts only; not part of the run key.

    Attributes:
        metric: Exact name of the metric that was optimized on the validation parts.
        space: The space, as written.
        sampler: ``grid`` or ``tpe``.
        sampler_seed: Seed of the proposals.
        tasks: Number of first tasks that the trials learned.
        validation: Share of the training images that was held out; None if the stream has validation parts.
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
        """Samples in backward passes of all trials, which is the cost of the search; repeated points count once."""
        return sum({canonical_json(trial.values): trial.gradient_samples for trial in self.trials}.values())

    @property
    def seconds(self) -> float:
        """Seconds of all trials; repeated points count once."""
        return sum({canonical_json(trial.values): trial.seconds for trial in self.trials}.values())


class StateEntry(_Model):
    """The commitment of a run to its state after a task, made before anybody knows which task will be learned again.

    Attributes:
        state: Hash of the content of the kept state (see `clsuite.stream.kept_states`).
        predictions: Hash of the predictions after the task, in both protocols.
    """

    state: Hash
    predictions: Hash


class RunRecord(_Model):
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
        return _portable(config)

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
