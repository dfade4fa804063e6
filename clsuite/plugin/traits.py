"""What a method declares about itself. Needs no torch, so that it can be read without importing the method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from clsuite.plugin.hooks import EFFECTS, FORMER_EFFECTS
from clsuite.scenarios.catalog import KINDS

Scores = Literal["logits", "cosine", "distance", "regression", "probabilities"]
"""What a method's answers for the classes are."""
API_VERSION = 2
"""Version of the plugin API; raised when a hook, or what plugins may use, changes so that older plugins would break."""


REQUIREMENTS = ("vit", "clip", "task_id", "gradient")
"""What a method can need of the backbone, the stream or the rest of the method."""


@dataclass(frozen=True)
class Traits:
    """What a method requires, keeps, and cannot be combined with; shown in every table.

    Written with literals and constants, or by `dataclasses.replace` from those of a base, it is read without an import.

    Attributes:
        requires: Of the backbone or the stream: ``vit``, ``clip``, ``task_id`` (the task at test time); of the
            method: ``gradient`` (it does nothing where no gradient steps are taken).
        memory: What is kept between tasks: ``exemplars``, ``logits``, ``importances``, ``prototypes``, ``statistics``,
            ``weights``, ``masks``, ``blocks``, ``modules``, ``all data``.
        incompatible_with: What other plugins of the method must not store or do (an entry of their `memory` or
            `effects`, ``freezes_backbone``, or the name of a hook of theirs), with the reason.
        scenarios: Kinds of stream that it can learn; all by default.
        unsupported_scenarios: Kinds of stream that it cannot learn, with the reason.
        second_pass: What it passes a task's images through the network for besides training, where it does: it cannot
            learn streams that pass once (``online``, ``blurry``).
        freezes_backbone: It freezes the backbone, and trains modules of its own in it or the head alone: refused beside
            what would train, choose or replace weights of the backbone, and, with modules, beside others that do the
            same. Gradient-free methods need not say so.
        gradient_free: It takes no optimizer steps: tasks are learned in ``on_task_end``.
        first_session: It trains on the first task and leaves features that never change again; a plugin that takes no
            gradient steps may stand beside it and classify them.
        pet: Kinds of parameter-efficient module that it always brings (``lora``, ``adapter``, ``prefix``, ``prompt``,
            ``ia3``, ``adaptformer``, ``ssf``); one that an argument called ``pet`` or ``kind`` chooses need not be
            declared.
        paper: First author, venue and year.
        training: What the method's paper needs of the training, as a benchmark writes it (``{"loss": "local"}``). It
            stands in place of the benchmark's; what the benchmark or the command line says of this one method wins.
        scores: What `predict` answers: ``logits``, of which a softmax is a probability, or scores of which it is not
            (``cosine``, ``distance``, ``regression``, ``probabilities``), so that no calibration can be read.
        open_vocabulary: It can answer for a class by its name, before it has seen an image of it.
        from_memory: It trains on its exemplars alone, so that several epochs pass over these and not over the stream.
        defaults_by: Defaults that another argument chooses, which have the default None in the constructor:
            ``{"kind": {"lora": {"size": 8, "targets": "q+v"}, "prompt": {"size": 10}}}``. These are the only values of
            that argument, and what stands in the tables of other values alone cannot be given.
        effects: What it does to the model besides adding to loss and batch, for what must stand before or after it
            (``clsuite.plugin.hooks.EFFECTS``): ``adds modules``, ``warms up head``, ``scores weights``,
            ``averages weights``, ``tunes between steps``, ``resets weights``, ``freezes for a task``,
            ``changes weights``.
        buffer: How it chooses exemplars where no argument called ``buffer`` says so: ``reservoir``,
            ``class_balanced`` or ``herding``.
        lends: Its exemplars, an `ExemplarBuffer` in an attribute called ``buffer``, can be borrowed
            (``Plugin.lent_buffer``).
        works_on: Roles of the parameters of another plugin that it works on (``learner.parameters_of``), such as
            ``prompts``, ``lora`` or ``adapters``: refused where no plugin before it can bring them.
        borrows: It takes the exemplars of another plugin that lends its own, and keeps some only where none does.
    """

    requires: tuple[str, ...] = ()
    memory: tuple[str, ...] = ()
    incompatible_with: Mapping[str, str] = field(default_factory=dict)
    scenarios: tuple[str, ...] = tuple(KINDS)
    unsupported_scenarios: Mapping[str, str] = field(default_factory=dict)
    second_pass: str = ""
    freezes_backbone: bool = False
    gradient_free: bool = False
    first_session: bool = False
    pet: tuple[str, ...] = ()
    paper: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    scores: Scores = "logits"
    open_vocabulary: bool = False
    from_memory: bool = False
    defaults_by: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    effects: tuple[str, ...] = ()
    buffer: str = ""
    lends: bool = False
    borrows: bool = False
    works_on: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check what has names.

        Raises:
            ValueError: If it suits no scenario, does what there is no name for, or names it by a former word.
        """
        if not self.scenarios:
            raise ValueError(f"traits.scenarios is empty, but must name some of {', '.join(KINDS)}")
        for field_name in ("effects", "incompatible_with"):
            former = [one for one in getattr(self, field_name) if one in FORMER_EFFECTS]
            if former:
                called = f"{former[0]!r} is called {FORMER_EFFECTS[former[0]]!r}"
                raise ValueError(f"traits.{field_name}: {called} since version 2 of the plugin API")
        for field_name, known in (
            ("effects", EFFECTS),
            ("requires", REQUIREMENTS),
            ("scenarios", KINDS),
            ("unsupported_scenarios", KINDS),
        ):
            unknown = [one for one in getattr(self, field_name) if one not in known]
            if unknown:
                raise ValueError(f"traits.{field_name}: {unknown[0]!r} is not one of {', '.join(known)}")
