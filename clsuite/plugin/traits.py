"""The declarations of a method. They need no torch, so that they can be read without importing the method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from clsuite.plugin.hooks import EFFECTS, FORMER_EFFECTS
from clsuite.scenarios.catalog import KINDS

Scores = Literal["logits", "cosine", "distance", "regression", "probabilities"]
"""Kinds of scores that a method predicts for the classes."""
API_VERSION = 2
"""Version of the plugin API; raised when a change would break older plugins."""


REQUIREMENTS = ("vit", "clip", "task_id", "gradient")
"""Possible requirements on the backbone, the stream or the other plugins of the method."""


@dataclass(frozen=True)
class Traits:
    """What a method requires, stores, and cannot be combined with; shown in every table.

    If it is written with literals and constants, or with `dataclasses.replace` from the traits of a base, it is read
    without an import.

    Attributes:
        requires: Requirements on the backbone or the stream: ``vit``, ``clip``, ``task_id`` (the task at test time); on
            the method: ``gradient`` (it has no effect without gradient steps).
        memory: What is kept between tasks: ``exemplars``, ``logits``, ``importances``, ``prototypes``, ``statistics``,
            ``weights``, ``masks``, ``blocks``, ``modules``, ``all data``.
        incompatible_with: What other plugins of the method must not store or do (an entry of their `memory` or
            `effects`, ``freezes_backbone``, ``swaps weights`` (others for the evaluation), or the name of one of their
            hooks), with the reason.
        scenarios: Kinds of streams that it can learn; all by default.
        unsupported_scenarios: Kinds of streams that it cannot learn, with the reason.
        second_pass: Why it uses the images of a task a second time besides training, if it does: it cannot learn
            single-pass streams (``online``, ``blurry``).
        freezes_backbone: Whether it freezes the backbone, and trains only its own modules in it or the head. It is
            refused beside plugins that train, choose or replace weights of the backbone, and, with modules, beside
            others that do the same. Gradient-free methods need not declare it.
        gradient_free: Whether it takes no optimizer steps: tasks are learned in ``on_task_end``.
        first_session: Whether it trains only on the first task, so that features never change afterwards; it can be
            combined with a plugin without gradient steps that classifies these.
        pet: Kinds of parameter-efficient modules that it always has (``lora``, ``adapter``, ``prefix``, ``prompt``,
            ``ia3``, ``adaptformer``, ``ssf``, ``memory``); a kind that an argument called ``pet`` or ``kind`` chooses
            need not be declared.
        paper: First author, venue and year.
        training: Training options that the method's paper needs, as in a benchmark (``{"loss": "local"}``). They
            replace the benchmark's; options that the benchmark or the command line gives to this method win.
        scores: Kind of the result of `predict`: ``logits``, whose softmax is a probability, or other scores
            (``cosine``, ``distance``, ``regression``, ``probabilities``), for which no calibration is measured.
        open_vocabulary: Whether it can predict a class by its name, before it has seen an image of it. Its `predict`
            then returns logits ``[B, learner.scenario.stream_classes]``, and evaluations ask for classes that are not
            learned yet. (The head of ``training.head: zero_shot`` can do so by itself.)
        from_memory: Whether it trains only on its exemplars, so that several epochs use these and not the stream.
        defaults_by: Defaults that depend on another argument, and are None in the constructor:
            ``{"kind": {"lora": {"size": 8, "targets": "q+v"}, "prompt": {"size": 10}}}``. These are the only values of
            that argument. Arguments that are only in the tables of other values cannot be given.
        effects: What it does to the model besides changing loss and batch, which determines the order of plugins
            (``clsuite.plugin.hooks.EFFECTS``): ``adds modules``, ``warms up head``, ``scores weights``,
            ``averages weights``, ``tunes between steps``, ``resets weights``, ``freezes for a task``,
            ``sums updates``, ``changes weights``, ``replaces weights``, ``fits to weights``, ``reads network``,
            ``projects gradients``, ``counts images``, ``trains other networks``, ``trains by itself``.
        buffer: How it chooses exemplars if there is no argument called ``buffer``: ``reservoir``, ``class_balanced`` or
            ``herding``.
        lends: Whether its exemplars, an `ExemplarBuffer` in an attribute called ``buffer``, can be used by other
            plugins (``Plugin.lent_buffer``).
        works_on: Roles of the parameters of another plugin that it works on (``learner.parameters_of``), such as
            ``prompts``, ``lora`` or ``adapters``: refused if no earlier plugin can have them.
        borrows: Whether it uses the exemplars of another plugin that lends its own, and stores exemplars only if there
            is none.
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
        """Check the names.

        Raises:
            ValueError: If there is no scenario, or a name is unknown or former.
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
