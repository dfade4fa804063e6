"""Checks the declared requirements on the backbone: the method is tried on a backbone that does not meet them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from clsuite.conformance.finding import Finding
from clsuite.conformance.fixtures import make_backbone, make_resnet
from clsuite.conformance.plugin_under_test import Subject
from clsuite.conformance.runs import Run, run_method
from clsuite.errors import words_of

FAILED = re.compile("the loss is|took no optimizer step|a batch of one image")
"""Errors of the learner that are not refusals, and are independent of the backbone."""
WORDS = {"vit": ("a ViT", "a ResNet"), "clip": ("CLIP", "a plain ViT")}
"""Names of a requirement, and of the backbone that does not meet it."""


def of_backbone(subjects: list[Subject], kind: str, training: dict[str, Any], main: Run) -> Iterator[Finding]:
    """Find requirements that are not declared, or are declared and not needed.

    A ViT is needed if two tasks on a small ResNet end with an error, and CLIP if they do on a plain ViT. An unneeded
    requirement is only a hint, since it may be needed later than in two tasks. A method that could not add its modules
    to the other backbone needs what it declares.

    Args:
        subjects: Its plugins.
        kind: Kind of the stream.
        training: Training options; if these, or those of the plugins, need CLIP themselves, nothing can be checked.
        main: Its run on a backbone that meets the declared requirements.
    """
    declared = {need for subject in subjects for need in subject.cls.traits.requires}
    own = {name: value for subject in subjects for name, value in subject.cls.traits.training.items()}
    if {**own, **training}.get("head") == "zero_shot":
        return
    if "clip" in declared:
        yield from _not_needed(subjects, kind, training, main, "clip")
    elif "vit" in declared:
        yield from _not_needed(subjects, kind, training, main, "vit")
    else:
        yield from _undeclared(subjects, kind, training)


def _undeclared(subjects: list[Subject], kind: str, training: dict[str, Any]) -> Iterator[Finding]:
    error = run_method(subjects, kind, training, stop=2, brief=True, backbone=make_resnet).error
    if error is None or FAILED.search(str(error)):
        return
    owner = next((one for one in subjects if one.line_of(error)), subjects[0])
    message = f"it trains a ViT, but does not declare that it needs one: on a ResNet it ends with {words_of(error)}"
    line = owner.line_of(error) or owner.lines.of_traits()
    yield owner.finding("requires", message, 'declare it: traits = Traits(requires=("vit",))', line)


def _not_needed(
    subjects: list[Subject], kind: str, training: dict[str, Any], main: Run, need: str
) -> Iterator[Finding]:
    backbone = make_resnet if need == "vit" else partial(make_backbone, ())
    run = run_method(subjects, kind, training, stop=2, brief=True, backbone=backbone)
    if run.error is not None or _added(run) < min(1, _added(main)):
        return
    owner = next(one for one in subjects if need in one.cls.traits.requires)
    wanted, other = WORDS[need]
    message = f"it declares that it needs {wanted}, but also trains {other}"
    fix = f'take "{need}" out of Traits(requires=...), so that it can be used without'
    yield dataclasses.replace(owner.finding("requires", message, fix, owner.lines.of_traits()), certain=False)


def _added(run: Run) -> int:
    """Number of parameters that the plugins have added."""
    return sum(value.numel() for value in run.stream.learner.plugin_modules.parameters())
