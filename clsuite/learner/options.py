"""The training options of a benchmark. Needs no torch."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from clsuite.config.class_use import CLASS, ClassUse, MaybeOwn, by_entry_point
from clsuite.config.spec import Spec
from clsuite.data.augment_spec import Augment
from clsuite.errors import did_you_mean

HeadInit = Annotated[float, Field(ge=0)] | Literal["uniform"]
"""Initialization of a head's weights; see `TrainingSpec.head_init`."""
SMALL_INIT = 0.001
"""Standard deviation of a linear head's initial weights, as in LAE's code (Gao et al., ICCV 2023)."""

LARGEST_EPOCHS = 1_000_000
"""Maximum epochs of a task; more is probably a typing error."""


PLANNED = (
    "epochs", "steps", "batch_size", "optimizer", "schedule", "warmup_steps", "gradient_clip", "loss",
    "label_smoothing", "augment",
)  # fmt: skip
"""Options that may differ between tasks, or rounds of them."""
UNSTATED: dict[str, Any] = {
    "accumulate": 1, "steps": None, "label_smoothing": 0.0, "templates": "all", "logit_scale": "trained", "by_task": {},
}  # fmt: skip
"""Values with which these options are in no record, so that the keys of older records do not change."""
OPTIMIZERS = {
    "sgd": "stochastic gradient descent with momentum",
    "adam": "Adam, whose weight decay is part of the gradient",
    "adamw": "Adam with decoupled weight decay",
}
SCHEDULES = {
    "constant": "the rate does not change",
    "cosine": "the rate falls to zero over each task, as half a cosine",
    "quarter_cosine": "the rate falls near zero over the epochs of each task, as a quarter of a cosine",
    "one_cycle": "the rate rises for 30 % of each task and falls near zero, as cosines",
}


class OptimizerSpec(MaybeOwn):
    """The optimizer, in PyTorch's terms, or ``{class: torch.optim:NAdam, lr: 0.001, betas: [0.9, 0.99]}``.

    A class (a `torch.optim.Optimizer`) has `lr` and `head_lr` like the other optimizers; all further keys are its
    arguments.

    Attributes:
        name: The optimizer.
        lr: Learning rate of everything except the head.
        head_lr: Learning rate of the head; by default `lr`.
        weight_decay: Weight decay of all parameters; AdamW's is decoupled from the gradient.
        momentum: Momentum of SGD; the others do not use it.
    """

    KEPT: ClassVar = frozenset({"lr", "head_lr"})

    name: Literal["sgd", "adam", "adamw"] = "adamw"
    lr: float = Field(default=1e-3, gt=0)
    head_lr: float | None = Field(default=None, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)

    @model_validator(mode="before")
    @classmethod
    def _by_entry_point(cls, value: Any) -> Any:
        return by_entry_point(value, "optimizer", "name", OPTIMIZERS)


class OwnSchedule(MaybeOwn):
    """A schedule of PyTorch or a user-defined one: ``{class: torch.optim.lr_scheduler:StepLR, step_size: 10}``.

    It is a `torch.optim.lr_scheduler.LRScheduler`, recreated for each task, with all other keys as its arguments.

    Attributes:
        interval: Whether the schedule advances after each ``epoch`` or after each ``step``.
    """

    KEPT: ClassVar = frozenset({"interval"})

    own: ClassUse
    interval: Literal["epoch", "step"] = "epoch"


class SeedSpec(Spec):
    """Seeds of single sources of randomness, instead of the run's seed; the order of classes has ``order_seed``.

    Attributes:
        head: Seed of the initialization of the head.
        order: Seed of the order of training samples.
        augment: Seed of the augmentation.
    """

    head: int | None = Field(default=None, ge=0)
    order: int | None = Field(default=None, ge=0)
    augment: int | None = Field(default=None, ge=0)

    @model_serializer(mode="wrap")
    def _given(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if value is not None}


class TrainingSpec(Spec):
    """Training options of each task. Choices that often remain implicit in papers are explicit here.

    Attributes:
        epochs: Number of passes over the training split of each task.
        steps: Number of optimizer steps of each task, instead of `epochs`: the last pass ends when they are done.
            A method that plans epochs for itself, or whose training states them, is not bound by it.
        batch_size: Number of samples per step, without exemplars that plugins add.
        accumulate: Number of parts in which a batch passes through the backbone, one after another, if it does not fit
            into memory. The result is the same except for rounding, and a step needs an additional forward pass.
        optimizer: The optimizer.
        schedule: ``constant``, ``cosine`` (to zero, over each task), ``quarter_cosine`` (near zero, epoch by epoch, as
            in InfLoRA's code), ``one_cycle`` (PyTorch's OneCycleLR; `lr` is the largest rate), or a class: see
            `OwnSchedule`.
        warmup_steps: Number of steps of linear warm-up at the start of each task.
        gradient_clip: Maximum norm of the whole gradient; by default there is no clipping.
        recreate_optimizer: Whether each task has a new optimizer (True), or continues with its state.
        loss: ``global``: cross-entropy over all seen classes. ``local``: samples of the current task's classes are
            classified among these classes only, samples of other classes (exemplars) among all seen ones. If each task
            is a data set, these are the classes of the data set.
        label_smoothing: Share of the cross-entropy's target that is spread evenly over all competing classes, as in
            PyTorch. Methods with a loss of their own in place of the cross-entropy do not use it.
        head: ``linear``, ``cosine`` (normalized features and weights, learned scale), or ``zero_shot`` (CLIP: text
            features of the seen classes' names).
        head_init: Initialization of the weights of a growing head: the standard deviation of a normal distribution (0
            for zeros), or ``uniform`` for U(-1/sqrt(width), 1/sqrt(width)), PyTorch's default for a linear layer, also
            for the bias, which is zero otherwise. By default 0.001 in a linear head (LAE's code) and ``uniform`` in a
            cosine head (PILOT's). With a local loss, old and new classes compete only at test time, so that the
            remaining initial values are noise between them.
        head_scale: Initial scale of the cosines in a cosine head; it is trained.
        head_classes: ``seen``: the head grows with the tasks. ``stream``: it has all classes of the stream from the
            start; the cross-entropy includes all of them, and only seen classes compete at test time.
        tune: CLIP's tower that methods train: ``image``, ``text`` or ``both``; other backbones have only the first.
        logit_scale: The scale of CLIP's cosines: ``trained`` together with the text tower, or ``fixed``, so that it is
            neither trained nor decayed.
        templates: Prompts with which a zero-shot head is trained: ``all`` of a class, as for predictions, or the
            ``first`` alone (the codes of ZSCL, PROOF and C3Box).
        augment: A preset (``clsuite list augmentations``), or a list of steps with their parameters; drawn per sample.
        compile: Whether to compile the blocks of the backbone (``torch.compile``): minutes at the start, then faster
            steps.
        precision: ``auto`` (bf16 if the processor or GPU supports it natively, else 32), ``32``, ``bf16`` or ``16``.
        own_schedule: The class if `schedule` is one; in YAML and records it is below ``schedule``.
        by_task: Options of single tasks, by the name of the task, which is that of the data set if each task is one:
            ``{mnist: {optimizer: {lr: 0.00005}}}``. Possible are `epochs`, `steps`, `batch_size`, `optimizer`,
            `schedule`, `warmup_steps`, `gradient_clip`, `loss`, `label_smoothing` and `augment`.
        seeds: Seeds of the head, of the order of samples and of the augmentation, so that one can vary while the others
            are fixed: ``{order: 3}``. The others depend on the run's seed.
        threads: Number of CPU threads of a run; fixed, so that the number of parallel runs does not change results.
        checkpoint_minutes: Minutes between checkpoints within a task; by default there are only those between tasks.
            It changes no result, and is in no record and no key.
    """

    epochs: int = Field(default=1, ge=1, le=LARGEST_EPOCHS)
    steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=32, ge=1)
    accumulate: int = Field(default=1, ge=1)
    optimizer: OptimizerSpec = OptimizerSpec()
    schedule: Literal["constant", "cosine", "quarter_cosine", "one_cycle"] = "constant"
    own_schedule: OwnSchedule | None = None
    warmup_steps: int = Field(default=0, ge=0)
    gradient_clip: float | None = Field(default=None, gt=0)
    recreate_optimizer: bool = True
    loss: Literal["global", "local"] = "global"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    head: Literal["linear", "cosine", "zero_shot"] = "linear"
    head_init: HeadInit | None = None
    head_scale: float = Field(default=10.0, gt=0)
    head_classes: Literal["seen", "stream"] = "seen"
    tune: Literal["image", "text", "both"] = "image"
    logit_scale: Literal["trained", "fixed"] = "trained"
    templates: Literal["all", "first"] = "all"
    augment: Augment = ()
    compile: bool = False
    precision: Literal["auto", "32", "bf16", "16"] = "auto"
    by_task: dict[str, dict[str, Any]] = Field(default_factory=dict)
    seeds: SeedSpec = SeedSpec()
    threads: int = Field(default=1, ge=1)
    checkpoint_minutes: float | None = Field(default=None, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _schedule_by_class(cls, value: Any) -> Any:
        """A schedule that is a mapping is a class."""
        if not isinstance(value, dict) or "schedule" not in value:
            return value
        given = value["schedule"]
        if isinstance(given, str) and given not in SCHEDULES:
            given = by_entry_point({"name": given}, "schedule", "name", SCHEDULES)
            given = given if CLASS in given else value["schedule"]
        if not isinstance(given, dict):
            return value
        if CLASS not in given:
            names = ", ".join(SCHEDULES)
            raise ValueError(f"schedule must be {names}, or a mapping with class, as {{class: my_package:Mine}}")
        return {**{key: one for key, one in value.items() if key != "schedule"}, "own_schedule": given}

    @model_validator(mode="after")
    def _one_warmup(self) -> TrainingSpec:
        if self.own_schedule is not None and self.warmup_steps:
            raise ValueError(
                "warmup_steps belong to constant, cosine, quarter_cosine and one_cycle: remove them if the schedule is "
                "a class"
            )
        return self

    @model_serializer(mode="wrap")
    def _schedule_in_its_place(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = serialize(self)
        own = content.pop("own_schedule", None)
        for name, value in UNSTATED.items():
            if content.get(name) == value:
                content.pop(name, None)
        if not content.get("seeds", True):
            del content["seeds"]
        return {**content, "schedule": own} if own is not None else content

    @model_validator(mode="after")
    def _tasks_can_have_them(self) -> TrainingSpec:
        for name, options in self.by_task.items():
            for option in options:
                if option not in PLANNED:
                    raise ValueError(str(did_you_mean(f"option of the single task '{name}':", option, PLANNED)))
            self.of_task(name)
        return self

    @model_validator(mode="after")
    def _a_cosine_has_a_direction(self) -> TrainingSpec:
        if self.head == "cosine" and self.head_init == 0:
            raise ValueError("head_init is 0, but a cosine head needs initial weights with a direction")
        return self

    def of_task(self, name: str) -> TrainingSpec:
        """The options of a task, by its name."""
        given = dict(self.by_task.get(name, {}))
        if not given:
            return self
        if isinstance(given.get("optimizer"), dict):
            given["optimizer"] = {**dict(self.optimizer), **given["optimizer"]}
        dropped = {"own_schedule": None} if "schedule" in given else {}
        dropped |= {"steps": None} if "epochs" in given else {}
        return TrainingSpec.model_validate({**dict(self), "by_task": {}, **dropped, **given})

    def for_images(self, images: int, repeats: int = 1) -> TrainingSpec:
        """The options with the number of epochs, the last of which may not be whole, that `steps` need.

        Args:
            images: Number of training images of the task.
            repeats: Number of consecutive steps on each batch.
        """
        if self.steps is None:
            return self
        batches = max(1, math.ceil(images / self.batch_size)) * repeats
        return self.model_copy(update={"epochs": math.ceil(self.steps / batches)})

    @property
    def first_values(self) -> HeadInit:
        """`head_init`, or the default of the kind of head."""
        if self.head_init is not None:
            return self.head_init
        return "uniform" if self.head == "cosine" else SMALL_INIT

    def recorded(self) -> dict[str, Any]:
        """The options in records and run keys: all that can change results."""
        return {key: value for key, value in self.model_dump().items() if key != "checkpoint_minutes"}

    def resolved(self) -> TrainingSpec:
        """The same with explicit values for defaults that depend on other options, as in records."""
        return self.model_copy(update={"head_init": self.first_values})
