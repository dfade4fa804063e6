"""The parts of a run record: plugins, stream, counts, costs, probes, curves and the search that chose values."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from clsuite.metrics import Counts, Curves
from clsuite.records.canonical import canonical_json

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


def portable(value: dict[str, Any]) -> dict[str, Any]:
    """What a key is made from, of which every machine must make the same."""
    canonical_json(value)
    return value


Portable = Annotated[dict[str, Any], AfterValidator(portable)]


class Entry(BaseModel):
    """What all parts share: no field that is not described, and none that changes."""

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


class PluginEntry(Entry):
    """One plugin of the method as it ran.

    Attributes:
        name: Registered name.
        args: Every argument of the constructor, with defaults.
        source: Hash of the plugin's source and of all local modules that it imports (before results version 3: of the
            text of its file).
        distribution: Name and version of the distribution with the plugin (``clsuite 0.1.0``).
        files: SHA-256 of each file that an argument names, by the argument (``texts``, ``networks.NAME``); absent if
            none does, and in older records.
    """

    absent = ("files",)

    name: str
    args: Portable
    source: str
    distribution: str
    files: dict[str, Hash] | None = None


class ScenarioEntry(Entry):
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


class CountsEntry(Entry):
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


class TaskEntry(Entry):
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


class CostEntry(Entry):
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


class FeaturesEntry(Entry):
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


class ProbeEntry(Entry):
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


class CurveEntry(Entry):
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


class WithinTaskEntry(Entry):
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


class TrialEntry(Entry):
    """One trial of a hyperparameter search: its values, its score (None if it failed), and its cost."""

    values: Portable
    score: float | None
    gradient_samples: Count
    seconds: Amount


class TuningEntry(Entry):
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


class StateEntry(Entry):
    """The commitment of a run to its state after a task, made before anybody knows which task will be learned again.

    Attributes:
        state: Hash of the content of the kept state (see `clsuite.stream.kept_states`).
        predictions: Hash of the predictions after the task, in both protocols.
    """

    state: Hash
    predictions: Hash
