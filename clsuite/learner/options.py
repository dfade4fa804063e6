"""What a benchmark says about training. Needs no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from clsuite.data.augment_spec import Augment


class OptimizerSpec(BaseModel):
    """The optimiser, in PyTorch's terms.

    Attributes:
        lr: Learning rate of everything but the head.
        head_lr: Learning rate of the head; `lr` where it is not given.
        momentum: Of SGD only.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Literal["sgd", "adam", "adamw"] = "adamw"
    lr: float = Field(default=1e-3, gt=0)
    head_lr: float | None = Field(default=None, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)


class TrainingSpec(BaseModel):
    """How each task is trained. What papers differ in and fold in silently is explicit here.

    Attributes:
        epochs: Passes over the training part of each task.
        batch_size: Samples per step, exemplars that a plugin adds not counted.
        optimizer: The optimiser.
        schedule: ``constant`` or ``cosine`` (to zero, over each task).
        warmup_steps: Steps of linear warm-up at the start of each task.
        gradient_clip: Largest norm of the whole gradient; none by default.
        recreate_optimizer: A new optimiser for each task (True), or its state carried on.
        loss: ``global`` cross-entropy over all seen classes, or ``local`` over the current task's only.
        head: ``linear``, ``cosine`` (normalised features and weights, learned scale), or ``zero_shot`` (CLIP: text
            features of the seen classes' names).
        tune: CLIP's tower that methods train, ``image``, ``text`` or ``both``; other backbones have the first only.
        augment: A preset (``clsuite list augmentations``), or a list of steps with their parameters; drawn per sample.
        compile: Compile the blocks of the backbone (``torch.compile``): minutes at the start, faster steps after.
        precision: ``auto`` (bf16 where the processor or GPU has it natively, else 32), ``32``, ``bf16`` or ``16``.
        threads: CPU threads of a run; fixed, so that the number of parallel runs changes no result.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    epochs: int = Field(default=1, ge=1)
    batch_size: int = Field(default=32, ge=1)
    optimizer: OptimizerSpec = OptimizerSpec()
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: int = Field(default=0, ge=0)
    gradient_clip: float | None = Field(default=None, gt=0)
    recreate_optimizer: bool = True
    loss: Literal["global", "local"] = "global"
    head: Literal["linear", "cosine", "zero_shot"] = "linear"
    tune: Literal["image", "text", "both"] = "image"
    augment: Augment = ()
    compile: bool = False
    precision: Literal["auto", "32", "bf16", "16"] = "auto"
    threads: int = Field(default=1, ge=1)
