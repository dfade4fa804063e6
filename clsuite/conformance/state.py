"""Checks of state: reproducibility, resuming after an interruption, saving and loading, and declared memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clsuite.conformance.finding import Finding
from clsuite.conformance.fixtures import without_data
from clsuite.conformance.plugin_under_test import Subject
from clsuite.conformance.runs import Run, make_learner, read_state, run_method
from clsuite.conformance.source_lines import assigns, calls
from clsuite.learner.learner import Learner
from clsuite.plugin.base import Plugin
from clsuite.stream.checkpoint import learner_state, load_learner_state

PLAIN = (torch.Tensor, int, float, str, bool, type(None), bytes)
SLACK = 2048
GRAPH_IS_GONE = "backward through the graph a second time"
"""PyTorch's message if a hook has called backward() on a graph that the trainer differentiates too."""


def plain_states(subject: Subject, plugin: Plugin) -> Iterator[Finding]:
    """Check that the result of `state_dict` can be written and read."""
    odd = sorted(_odd(plugin.state_dict(), "state_dict()"))
    if odd:
        yield subject.finding(
            "saves",
            f"{odd[0]}, which cannot be read back safely",
            "return tensors, numbers, strings, lists and dicts (arrays: torch.from_numpy; a module: its state_dict())",
            subject.lines.of_hook("state_dict"),
        )


def _odd(value: Any, where: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _odd(inner, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _odd(inner, f"{where}[…]")
    elif not isinstance(value, PLAIN):
        yield f"{where} is of type {type(value).__name__}"


def resumed(subjects: list[Subject], run: Run, kind: str, training: dict[str, Any], folder: Path) -> Iterator[Finding]:
    """Check that a resumed run has identical results; if not, whether equal runs have equal results at all."""
    last = len(run.stream.scenario.tasks) - 1
    again = run_method(subjects, kind, training, resume=folder / f"{last}.ckpt")
    if again.error is not None:
        yield crash(subjects, again.error, "resumes", "the run that was resumed after an interruption ended with")
        return
    difference = differs(run, again)
    if not difference:
        return
    twice = run_method(subjects, kind, training, resume=folder / f"{last}.ckpt")
    if twice.error is None and differs(again, twice):
        yield unrepeatable(subjects[0], differs(again, twice))
        return
    for place, subject in enumerate(subjects):
        yield from _unsaved(subject, run, again, place, difference)


def _unsaved(subject: Subject, run: Run, again: Run, place: int, difference: str) -> Iterator[Finding]:
    boundary = max(run.stream.snapshots)
    there = run.stream.snapshots[boundary][place]
    here = again.stream.loaded[place]
    recreated = {name for name in there if _assigned_in(subject, name, ("on_task_start",))}
    lost = sorted(name for name, digest in there.items() if here.get(name) != digest and name not in recreated)
    names = " and ".join(f"self.{name}" for name in lost) or "something"
    line = min((subject.lines.find("on_task_end", assigns(name)) for name in lost), default=subject.lines.of_class())
    yield subject.finding(
        "resumes",
        f"a run that is interrupted and resumed differs ({difference}): {names} is not saved",
        "return it from state_dict() and restore it in load_state_dict()",
        line,
    )


def _assigned_in(subject: Subject, name: str, hooks: tuple[str, ...]) -> bool:
    import ast

    functions = [subject.lines.functions[hook] for hook in hooks if hook in subject.lines.functions]
    plain = assigns(name)
    return any(plain(node) and isinstance(node, ast.Assign) for one in functions for node in ast.walk(one))


def repeated(subjects: list[Subject], run: Run, kind: str, training: dict[str, Any], folder: Path) -> Iterator[Finding]:
    """Check that the first task has the same result again, with the same seed and other global random states."""
    np.random.seed(1)
    again = run_method(subjects, kind, training, stop=1)
    if again.error is not None:
        yield crash(subjects, again.error, "deterministic", "the second identical run ended with")
        return
    state = read_state(folder / "1.ckpt")
    if state is None:
        return
    there, here = state["parameters"], again.stream.learner.state_dict()
    changed = [name for name in there if name not in here or not torch.equal(there[name], here[name].cpu())]
    if changed or not np.array_equal(run.stream.matrix.class_incremental[1], again.stream.matrix.class_incremental[1]):
        yield unrepeatable(subjects[0], f"parameter '{changed[0]}'" if changed else "predictions")


def unrepeatable(subject: Subject, difference: str) -> Finding:
    """The finding that a plugin is not reproducible."""
    from clsuite.conformance.source_lines import calls, draws, either

    where = either(draws, calls("default_rng", "Generator", "seed", "time", "urandom", "shuffle", "hash"))
    lines = subject.lines.all(where)
    return subject.finding(
        "deterministic",
        f"two identical runs differ ({difference}): something does not depend on the seed",
        "seed every generator from learner.generator(name); do not use time, hash() or the order of sets, "
        "and store no state in the class",
        lines[0] if lines else subject.lines.of_class(),
    )


def differs(one: Run, other: Run) -> str:
    """Name the first difference of two finished runs; empty if there is none."""
    for name, array in one.stream.matrix.arrays().items():
        if not np.array_equal(array, other.stream.matrix.arrays()[name]):
            return "predictions"
    first, second = one.stream.learner.state_dict(), other.stream.learner.state_dict()
    for name, value in first.items():
        if name not in second or not torch.equal(value, second[name]):
            return f"parameter '{name}'"
    if [task.steps for task in one.stream.tasks] != [task.steps for task in other.stream.tasks]:
        return "number of steps"
    return ""


def load_again(subjects: list[Subject], run: Run, training: dict[str, Any]) -> Learner:
    """Save a trained learner and load it as `load_model` does, without the data of the stream."""
    learner, tasks = run.stream.learner, len(run.stream.scenario.tasks)
    buffer = io.BytesIO()
    torch.save(learner_state(learner, tasks), buffer)
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True, map_location="cpu")
    fresh = make_learner(subjects, [subject.make() for subject in subjects], training)
    fresh.to(learner.device)
    fresh.start(without_data(run.stream.scenario))
    load_learner_state(fresh, state)
    return fresh


def truly_declared(subject: Subject, run: Run, place: int) -> Iterator[Finding]:
    """Check that stored data are declared, by kind and size; a plugin may use those of other plugins instead."""
    plugin = run.plugins[place]
    kept, declared = plugin.stored_bytes(), set(plugin.traits.memory)
    line = subject.lines.of_hook("stored_bytes")
    if not set(kept) <= declared or (len(run.plugins) == 1 and set(kept) != declared):
        yield subject.finding(
            "memory",
            f"stored_bytes() names {sorted(kept) or 'nothing'}, but traits.memory {sorted(declared) or 'nothing'}",
            "let both name the same kinds",
            line,
        )
    elif not all(isinstance(size, int) and size > 0 for size in kept.values()):
        yield subject.finding(
            "memory", f"stored_bytes() is {kept} after three tasks", "return the bytes of each kind, as integers", line
        )
    else:
        yield from _growth(subject, run, place)


def _growth(subject: Subject, run: Run, place: int) -> Iterator[Finding]:
    sizes = [task[place] for task in run.stream.sizes]
    if not sizes:
        return
    stored, held = sizes[-1][0] - sizes[0][0], sizes[-1][1] - sizes[0][1]
    if held > 1.5 * max(stored, 0) + SLACK:
        yield subject.finding(
            "memory",
            f"state_dict() grows by {held} bytes from the first task to the last, stored_bytes() by {stored}",
            "name what is kept in traits.memory and count it in stored_bytes()",
            subject.lines.of_hook("state_dict"),
        )


def crash(subjects: list[Subject], error: Exception, check: str, what: str) -> Finding:
    """The finding that a run ended with an error."""
    place = next((subject for subject in subjects if subject.line_of(error)), subjects[0])
    own = place.line_of(error)
    if GRAPH_IS_GONE in str(error) and not own:
        own = place.lines.find("loss", calls("backward"))
        own = own if "backward" in place.lines.code(own) else 0
    named, fix = _recognize(error, place.lines.code(own))
    text = " ".join(str(error).split())[:300]
    message = f"{what} {type(error).__name__}: {text}"
    finding = place.finding(named or check, message, fix, own or place.lines.of_class())
    return replace(finding, certain=bool(own))


def _recognize(error: Exception, code: str) -> tuple[str, str]:
    """The check that an error belongs to (empty for the current one), and its fix."""
    import re

    text = str(error)
    if GRAPH_IS_GONE in text or ".backward(" in code:
        return "", (
            "leave backward() to the trainer: return the value to minimize from loss(); for other gradients use "
            "torch.autograd.grad(value, parameters, retain_graph=True)"
        )
    if isinstance(error, NameError) and not isinstance(error, UnboundLocalError):
        return "", f"import '{error.name}' at the top of the file, or fix its spelling"
    if isinstance(error, ModuleNotFoundError):
        return "", f"install '{error.name}', or fix its spelling"
    if "before Module.__init__" in text:
        return "constructor", "make super().__init__() the first line of the constructor"
    if "same device" in text or "CUDA" in text or "NVIDIA" in text:
        return "device", "create tensors on the device of the batch: batch.labels.device"
    shapes = isinstance(error, IndexError) or re.search(r"out of (range|bounds)|must match|size mismatch|shape", text)
    if shapes and re.search(r"head|logits|label|class|weight|group", code):
        return "head", (
            "column c of the logits is stream label c; the head grows by whole groups, and only for new classes "
            "(never on a domain-incremental stream): index by label, up to learner.head.classes, not by task"
        )
    return "", "see the line; the hook's contract is in its docstring (clsuite.plugin.Plugin)"
