"""Finds side effects of a plugin: hooks that are registered repeatedly, patched functions, state in its class."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from timm.models import vision_transformer
from torch import nn

from clsuite.conformance.finding import Finding
from clsuite.conformance.plugin_under_test import Subject
from clsuite.conformance.runs import Run, digest
from clsuite.conformance.source_lines import assigns, calls, either
from clsuite.data.batch import Batch, BatchLoader
from clsuite.learner.head import GrowingHead, Head
from clsuite.learner.learner import Learner
from clsuite.learner.tools import LearnerTools
from clsuite.plugin.base import Plugin
from clsuite.private_api import hooks_of
from clsuite.stream.loop import Stream

WATCHED: tuple[Any, ...] = (
    torch, torch.nn.functional, torch.Tensor, torch.autograd, nn.Module, nn.Linear, nn.LayerNorm,
    vision_transformer.Block, vision_transformer.VisionTransformer,
    L.Trainer, L.LightningModule, LearnerTools, Learner, Head, GrowingHead, Batch, BatchLoader, Stream, Plugin,
)  # fmt: skip
"""Modules and classes whose functions must not be replaced."""

Functions = dict[tuple[int, str], Any]


def functions() -> Functions:
    """The functions of all `WATCHED` modules and classes."""
    return {
        (place, name): value
        for place, owner in enumerate(WATCHED)
        for name, value in list(vars(owner).items())
        if inspect.isroutine(value) or inspect.isclass(value)
    }


def restore(before: Functions) -> list[str]:
    """Restore patched functions; returns their names."""
    patched = []
    for (place, name), value in before.items():
        owner = WATCHED[place]
        if vars(owner).get(name) is not value:
            patched.append(f"{owner.__name__}.{name}")
            setattr(owner, name, value)
    return patched


def patched_functions(subject: Subject, names: list[str]) -> Iterator[Finding]:
    """Report replaced functions of libraries or of clsuite."""
    if names:
        short = names[0].rpartition(".")[2]
        yield subject.finding(
            "leftovers",
            f"{names[0]} has been replaced by another function in the whole process",
            "use a hook of the plugin or of the module (register_forward_hook), or clsuite.peft",
            subject.lines.find("on_stream_start", either(assigns(short), calls("setattr", "patch", "object"))),
        )


def patched_instances(subject: Subject, run: Run) -> Iterator[Finding]:
    """Report replaced methods of the instances of the learner's modules."""
    for name, module in run.stream.learner.named_modules():
        for attribute, value in vars(module).items():
            own = getattr(type(module), attribute, None)
            if inspect.isroutine(own) and inspect.isroutine(value) and not _is_of_library(value):
                yield subject.finding(
                    "leftovers",
                    f"'{attribute}' of the learner's module '{name or 'learner'}' has been replaced",
                    "use a hook of the plugin or of the module (register_forward_hook), or clsuite.peft",
                    subject.lines.find("on_stream_start", either(assigns(attribute), calls("setattr", "MethodType"))),
                )
                return


def _is_of_library(value: Any) -> bool:
    return (getattr(value, "__module__", "") or "").split(".")[0] in {
        "torch",
        "timm",
        "lightning",
        "open_clip",
        "clsuite",
    }


KINDS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")


def repeated_hooks(subject: Subject, run: Run) -> Iterator[Finding]:
    """Report hooks that are on a module several times: registered at each task and never removed."""
    for name, module in run.stream.learner.named_modules():
        hooks = [one for kind in hooks_of(module, *KINDS) for one in kind.values()]
        for key, times in Counter(map(_identity, hooks)).items():
            if times > 1 and key[0] is not None:
                yield subject.finding(
                    "leftovers",
                    f"the same hook is registered {times} times on module '{name}' after "
                    f"{len(run.stream.scenario.tasks)} tasks",
                    "register it once in on_stream_start, or keep the handle and call handle.remove() in on_task_end",
                    subject.lines.find(
                        "on_task_start", calls("register_forward_hook", "register_forward_pre_hook", "register_hook")
                    ),
                )
                return


def _identity(hook: Any) -> tuple[Any, ...]:
    """Values that are equal for two registrations of one hook: code, owner, and the modules in its closure."""
    inside = [getattr(cell, "cell_contents", None) for cell in getattr(hook, "__closure__", None) or ()]
    modules = tuple(id(value) for value in inside if isinstance(value, nn.Module))
    function = getattr(hook, "__func__", hook)
    return getattr(function, "__code__", None), id(getattr(hook, "__self__", None)), modules


def class_state(cls: type[Plugin]) -> dict[str, str]:
    """Digests of the data attributes of a class."""
    return {name: digest(value) for name, value in vars(cls).items() if name[0:2] != "__" and name != "traits"}


def changed_class(subject: Subject, before: dict[str, str]) -> Iterator[Finding]:
    """Report data of the class that a run has changed, which affects all later runs."""
    after = class_state(subject.cls)
    changed = sorted(name for name, value in after.items() if before.get(name) != value and (value or name in before))
    if changed:
        yield subject.finding(
            "leftovers",
            f"the class's own attribute '{changed[0]}' has changed: this affects all later runs",
            f"create it in the constructor: self.{changed[0]} = ...",
            subject.lines.find("", assigns(changed[0])),
        )


def unregistered(subject: Subject, run: Run, place: int) -> Iterator[Finding]:
    """Report trainable parameters of a plugin that are not registered with the learner."""
    known = {id(value) for value in run.stream.learner.parameters()}
    for name, value in vars(run.plugins[place]).items():
        found = [one for one in _parameters(value, 0) if one.requires_grad and id(one) not in known]
        if found:
            yield subject.finding(
                "parameters",
                f"self.{name} holds trainable parameters that the learner does not know: they are neither trained, "
                "moved nor saved",
                "register them with learner.register_plugin_module(self, name, module); a copy is frozen with "
                "requires_grad_(False)",
                subject.lines.find("on_stream_start", assigns(name)),
            )


def _parameters(value: Any, depth: int) -> Iterator[nn.Parameter]:
    if isinstance(value, nn.Parameter):
        yield value
    elif isinstance(value, nn.Module):
        if not isinstance(value, L.LightningModule):
            yield from value.parameters()
    elif isinstance(value, dict) and depth < 3:
        for inner in value.values():
            yield from _parameters(inner, depth + 1)
    elif isinstance(value, list | tuple) and depth < 3:
        for inner in value:
            yield from _parameters(inner, depth + 1)
