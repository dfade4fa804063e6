"""Observed runs of a method on a tiny stream, with a checkpoint at each task boundary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from clsuite.backbones.vit import Backbone
from clsuite.conformance.fixtures import make_backbone, make_options, make_scenario
from clsuite.conformance.hook_checks import HOOK_CHECKS, settle
from clsuite.conformance.instrument import Watch, WatchedLearner
from clsuite.conformance.plugin_under_test import Subject
from clsuite.errors import is_foreign, words_of
from clsuite.plugin.base import Plugin
from clsuite.plugin.state import tensor_bytes
from clsuite.scenarios import Task
from clsuite.stream import checkpoint
from clsuite.stream.checkpoint import UnfitCheckpointError
from clsuite.stream.loop import Stream


class _StoppedError(Exception):
    """The run has trained the requested number of tasks."""


@dataclass
class RecordingStream(Stream):
    """A stream that keeps the checkpoint of each task boundary and can stop early.

    Attributes:
        folder: Folder of the checkpoints, ``1.ckpt`` after the first task; None keeps none, and does not evaluate
            before the first task.
        stop: Number of tasks to train; all by default.
        sizes: Declared bytes of each plugin and bytes of the tensors in its state, after each task.
        snapshots: Digests of the attributes of each plugin at each boundary.
        loaded: Digests of the attributes of each plugin after a checkpoint was loaded.
    """

    folder: Path | None = None
    stop: int | None = None
    sizes: list[list[tuple[int, int]]] = field(default_factory=list)
    snapshots: dict[int, list[dict[str, str]]] = field(default_factory=dict)
    loaded: list[dict[str, str]] = field(default_factory=list)

    def _read_before(self) -> None:
        if self.folder is not None:
            super()._read_before()

    def _learn(self, task: Task) -> None:
        if task.index == self.stop:
            raise _StoppedError
        super()._learn(task)
        plugins = self.learner.plugins
        self.sizes.append([(sum(one.stored_bytes().values()), tensor_bytes(one.state_dict())) for one in plugins])

    def _resume(self, state: dict[str, Any]) -> int:
        done = super()._resume(state)
        self.loaded = [digests(plugin) for plugin in self.learner.plugins]
        return done

    def _save(self, tasks: int) -> None:
        if self.folder is not None and tasks < len(self.scenario.tasks):
            self.snapshots[tasks] = [digests(plugin) for plugin in self.learner.plugins]
            self.checkpoint_path = self.folder / f"{tasks}.ckpt"
        super()._save(tasks)


@dataclass
class Run:
    """A run and its results.

    Attributes:
        stream: The stream, with learner and matrix.
        plugins: The plugins of the subjects.
        watches: The observer of each plugin.
        error: The error that ended it early, if there was one.
    """

    stream: RecordingStream
    plugins: list[Plugin]
    watches: list[Watch]
    error: Exception | None = None


def run_method(
    subjects: Sequence[Subject],
    kind: str,
    training: dict[str, Any],
    *,
    folder: Path | None = None,
    resume: Path | None = None,
    stop: int | None = None,
    brief: bool = False,
    backbone: Callable[[], Backbone] | None = None,
) -> Run:
    """Run a method on the stream of a kind.

    Args:
        subjects: The plugins.
        kind: Kind of stream.
        training: Training options.
        folder: Folder of the checkpoints at task boundaries.
        resume: Checkpoint to resume from.
        stop: Number of tasks to train; all by default.
        brief: Whether to train two steps per task, for a run whose results are not read.
        backbone: Creates the backbone; by default one that meets the requirements of the plugins.
    """
    plugins = [subject.make() for subject in subjects]
    watches = [Watch(subject, HOOK_CHECKS, settle) for subject in subjects]
    learner = make_learner(subjects, plugins, training, backbone)
    learner.watches = tuple(watches)
    for watch, plugin in zip(watches, plugins, strict=True):
        watch.attach(plugin, learner)
    device = subjects[0].device
    scenario = make_scenario(kind, brief)
    stream = RecordingStream(learner, scenario, device, resume, "conformance", folder=folder, stop=stop)
    run = Run(stream, plugins, watches)
    try:
        stream.run()
    except _StoppedError:
        pass
    except UnfitCheckpointError as error:
        run.error = error.reason
    except BaseException as error:  # any error of a plugin
        run.error = as_error(error)
    return run


def as_error(error: BaseException) -> Exception:
    """Convert what a plugin raised to an `Exception` with a message and the same traceback.

    Raises:
        KeyboardInterrupt: If it is the user's Ctrl-C, and not raised by the plugin.
    """
    if not is_foreign(error):
        raise error
    message = words_of(error)
    if isinstance(error, SystemExit):
        return RuntimeError(f"sys.exit({error.code!r})").with_traceback(error.__traceback__)
    if isinstance(error, Exception) and _has_words(error):
        return error
    return RuntimeError(message).with_traceback(error.__traceback__)


def _has_words(error: Exception) -> bool:
    try:
        return isinstance(str(error), str)
    except Exception:
        return False


def make_learner(
    subjects: Sequence[Subject],
    plugins: Sequence[Plugin],
    training: dict[str, Any],
    backbone: Callable[[], Backbone] | None = None,
) -> WatchedLearner:
    """Create an untrained learner with plugins, by default with the backbone that they need."""
    needs = [need for subject in subjects for need in subject.cls.traits.requires]
    network = backbone() if backbone else make_backbone(needs)
    own_training: dict[str, Any] = {}
    for subject in subjects:
        own_training.update(subject.cls.traits.training)
    return WatchedLearner(network, make_options({**own_training, **training}), plugins, seed=0)


def read_state(path: Path) -> dict[str, Any] | None:
    """Read the learner's state in a checkpoint; None if it cannot be read."""
    state = checkpoint.load(path)
    return None if state is None else state["learner"]


def digests(plugin: Plugin) -> dict[str, str]:
    """Digests of the attributes of a plugin that are data."""
    found = {name: digest(value) for name, value in vars(plugin).items()}
    return {name: text for name, text in found.items() if text}


def digest(value: Any, depth: int = 0) -> str:
    """A text that is the same for equal values; empty if the value is not data (functions, the model itself)."""
    import hashlib

    import numpy as np

    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().contiguous().numpy() if value.dtype != torch.bfloat16 else value.float().numpy()
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
    if isinstance(value, torch.Generator):
        return digest(value.get_state(), depth)
    if isinstance(value, int | float | str | bytes | bool | None):
        return repr(value)
    if depth > 4 or (callable(value) and not hasattr(value, "state_dict")):
        return ""
    if isinstance(value, torch.nn.Module):
        return digest(dict(value.state_dict()), depth + 1)
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{digest(inner, depth + 1)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(digest(inner, depth + 1) for inner in value) + "]"
    if isinstance(value, set | frozenset):
        return "(" + ",".join(sorted(digest(inner, depth + 1) for inner in value)) + ")"
    return digest(dict(vars(value)), depth + 1) if hasattr(value, "__dict__") else ""
