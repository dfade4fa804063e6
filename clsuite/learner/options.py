"""What a benchmark says about training. Needs no torch."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from clsuite.config.class_use import CLASS, ClassUse, MaybeOwn, by_entry_point
from clsuite.config.spec import Spec
from clsuite.data.augment_spec import Augment

HeadInit = Annotated[float, Field(ge=0)] | Literal["uniform"]
"""First values of a head's weights; see `TrainingSpec.head_init`."""
SMALL_INIT = 0.001
"""Standard deviation of a linear head's first weights, as in LAE's code (Gao et al., ICCV 2023)."""

LARGEST_EPOCHS = 1_000_000
"""Of a task; more is probably a typing error."""


OPTIMIZERS = {
    "sgd": "stochastic gradient descent with momentum",
    "adam": "Adam, whose weight decay is part of the gradient",
    "adamw": "Adam with decoupled weight decay",
}
SCHEDULES = {
    "constant": "the rate stays",
    "cosine": "the rate falls to zero over each task, as half a cosine",
    "quarter_cosine": "the rate falls near zero over the epochs of each task, as a quarter of a cosine",
    "one_cycle": "the rate rises for 30 % of each task and falls near zero, as cosines",
}


class OptimizerSpec(MaybeOwn):
    """The optimizer, in PyTorch's terms, or ``{class: torch.optim:NAdam, lr: 0.001, betas: [0.9, 0.99]}``.

    Of a class (a `torch.optim.Optimizer`), `lr` and `head_lr` are as of any optimizer, and all other keys are its
    arguments.

    Attributes:
        name: Which optimizer.
        lr: Learning rate of everything but the head.
        head_lr: Learning rate of the head; `lr` where it is not given.
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
    """A schedule of PyTorch's, or one's own: ``{class: torch.optim.lr_scheduler:StepLR, step_size: 10}``.

    A `torch.optim.lr_scheduler.LRScheduler`, made again for each task, with all other keys as its arguments.

    Attributes:
        interval: Whether it goes on after each ``epoch`` or after each ``step``.
    """

    KEPT: ClassVar = frozenset({"interval"})

    own: ClassUse
    interval: Literal["epoch", "step"] = "epoch"


class SeedSpec(Spec):
    """Seeds of single sources of randomness, in place of the run's seed; the order of classes has ``order_seed``.

    Attributes:
        head: Of the first values of the head.
        order: Of the order of training samples.
        augment: Of the augmentation.
    """

    head: int | None = Field(default=None, ge=0)
    order: int | None = Field(default=None, ge=0)
    augment: int | None = Field(default=None, ge=0)

    @model_serializer(mode="wrap")
    def _given(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if value is not None}


class TrainingSpec(Spec):
    """How each task is trained. What papers differ in and fold in silently is explicit here.

    Attributes:
        epochs: Passes over the training part of each task.
        batch_size: Samples per step, exemplars that a plugin adds not counted.
        accumulate: Parts in which a batch passes through the backbone, one after another, where all of it does not fit
            into the memory; what is learned is the same but for rounding, and a step takes a forward pass more.
        optimizer: The optimizer.
        schedule: ``constant``, ``cosine`` (to zero, over each task), ``quarter_cosine`` (near zero, epoch by epoch, as
            InfLoRA's code has it), ``one_cycle`` (PyTorch's OneCycleLR; `lr` is the largest rate), or a class: see
            `OwnSchedule`.
        warmup_steps: Steps of linear warm-up at the start of each task.
        gradient_clip: Largest norm of the whole gradient; none by default.
        recreate_optimizer: A new optimizer for each task (True), or its state carried on.
        loss: ``global``: cross-entropy over all seen classes. ``local``: samples of the current task's classes are
            classified among these classes only, samples of other classes (exemplars) among all seen ones.
        head: ``linear``, ``cosine`` (normalized features and weights, learned scale), or ``zero_shot`` (CLIP: text
            features of the seen classes' names).
        head_init: First values of a growing head's weights: the standard deviation of a normal distribution (0 for
            zeros), or ``uniform`` for U(-1/sqrt(width), 1/sqrt(width)), PyTorch's default for a linear layer, of the
            bias too, which else begins with zeros. By default 0.001 in a linear head (LAE's code) and ``uniform`` in a
            cosine head (PILOT's). Under a local loss old and new classes meet at test time alone, and what is left of
            the first values is noise between them.
        head_scale: Scale of the cosines that a cosine head begins with; it is trained.
        head_classes: ``seen``: the head grows with the tasks. ``stream``: it has all the stream's classes from the
            start; the cross-entropy runs over all of them, and only seen ones compete at test time.
        tune: CLIP's tower that methods train, ``image``, ``text`` or ``both``; other backbones have the first only.
        augment: A preset (``clsuite list augmentations``), or a list of steps with their parameters; drawn per sample.
        compile: Compile the blocks of the backbone (``torch.compile``): minutes at the start, faster steps after.
        precision: ``auto`` (bf16 where the processor or GPU has it natively, else 32), ``32``, ``bf16`` or ``16``.
        own_schedule: The class where `schedule` is one; in YAML and records it is below ``schedule``.
        seeds: Seeds of the head, of the order of samples and of the augmentation, so that one can vary while the others
            stay: ``{order: 3}``. What has none follows the run's seed.
        threads: CPU threads of a run; fixed, so that the number of parallel runs changes no result.
        checkpoint_minutes: Minutes after which the state is saved within a task too; by default it is saved between
            tasks alone. It changes no result, and is in no record and no key.
    """

    epochs: int = Field(default=1, ge=1, le=LARGEST_EPOCHS)
    batch_size: int = Field(default=32, ge=1)
    accumulate: int = Field(default=1, ge=1)
    optimizer: OptimizerSpec = OptimizerSpec()
    schedule: Literal["constant", "cosine", "quarter_cosine", "one_cycle"] = "constant"
    own_schedule: OwnSchedule | None = None
    warmup_steps: int = Field(default=0, ge=0)
    gradient_clip: float | None = Field(default=None, gt=0)
    recreate_optimizer: bool = True
    loss: Literal["global", "local"] = "global"
    head: Literal["linear", "cosine", "zero_shot"] = "linear"
    head_init: HeadInit | None = None
    head_scale: float = Field(default=10.0, gt=0)
    head_classes: Literal["seen", "stream"] = "seen"
    tune: Literal["image", "text", "both"] = "image"
    augment: Augment = ()
    compile: bool = False
    precision: Literal["auto", "32", "bf16", "16"] = "auto"
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
                "warmup_steps belong to constant and cosine, quarter_cosine and one_cycle: leave them out beside a "
                "schedule's class"
            )
        return self

    @model_serializer(mode="wrap")
    def _schedule_in_its_place(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = serialize(self)
        own = content.pop("own_schedule", None)
        if content.get("accumulate") == 1:
            del content["accumulate"]  # so that the keys of older records stay what they are
        if not content.get("seeds", True):
            del content["seeds"]
        return {**content, "schedule": own} if own is not None else content

    @model_validator(mode="after")
    def _a_cosine_has_a_direction(self) -> TrainingSpec:
        if self.head == "cosine" and self.head_init == 0:
            raise ValueError("head_init is 0, but a cosine head needs first weights with a direction")
        return self

    @property
    def first_values(self) -> HeadInit:
        """`head_init`, or what the kind of head begins with by default."""
        if self.head_init is not None:
            return self.head_init
        return "uniform" if self.head == "cosine" else SMALL_INIT

    def recorded(self) -> dict[str, Any]:
        """What of it a record and the key of a run hold: all that can move results."""
        return {key: value for key, value in self.model_dump().items() if key != "checkpoint_minutes"}

    def resolved(self) -> TrainingSpec:
        """The same with every default that depends on another choice written out, as records hold it."""
        return self.model_copy(update={"head_init": self.first_values})
