"""Watches every hook of a plugin while it is called: what goes in, what comes out, and what must stay as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from clsuite.conformance.finding import Finding
from clsuite.conformance.plugin_under_test import Subject
from clsuite.conformance.source_lines import Predicate
from clsuite.learner.learner import Learner
from clsuite.plugin.base import Plugin
from clsuite.scenarios import Task

HookCheck = Callable[["Call"], Iterator[None]]
"""What is compared around a call: a generator that looks before, yields, and looks after."""
STATE = {
    "state_dict", "load_state_dict", "stored_bytes", "lent_buffer", "on_save_checkpoint", "on_load_checkpoint",
    "state_key",
}  # fmt: skip
"""What the framework asks a plugin for, apart from the life of a stream."""


class WatchedLearner(Learner):
    """A learner that remembers which weights were frozen before a task and in it."""

    watches: tuple[Watch, ...] = ()
    frozen_weights: frozenset[str] = frozenset()

    def begin_task(self, task: Task, may_train: bool = True) -> None:
        """Begin, and see what is frozen before and after."""
        self.frozen_weights = frozenset()
        before = {name for name, value in self.named_parameters() if not value.requires_grad}
        super().begin_task(task, may_train)
        after = {name for name, value in self.named_parameters() if not value.requires_grad}
        self.frozen_weights = frozenset(before & after)

    def end_task(self, task: Task) -> None:
        """End, and see what was left on frozen weights."""
        super().end_task(task)
        for watch in self.watches:
            watch.settle(watch, self)


@dataclass
class Call:
    """One call of a hook.

    Attributes:
        learner: The learner.
        hook: Name of the hook.
        args: What it is called with.
        result: What it returned, once it has.
        watch: Who watches.
    """

    learner: WatchedLearner
    hook: str
    args: tuple[Any, ...]
    watch: Watch
    result: Any = None

    def report(self, check: str, message: str, fix: str, *where: Predicate) -> None:
        """Report a finding in this hook."""
        self.watch.report(check, self.hook, message, fix, *where)


@dataclass
class Watch:
    """Watches one plugin.

    Attributes:
        subject: The plugin.
        checks: What is compared around each call of a hook.
        settle: Called at the end of a task, with the watch and the learner: reports what still lies on frozen weights.
        findings: What was seen, each kind once a hook.
        suspects: Weights on which a hook has left something, and that hook.
    """

    subject: Subject
    checks: Sequence[HookCheck]
    settle: Callable[[Watch, WatchedLearner], None]
    findings: list[Finding] = field(default_factory=list)
    suspects: dict[str, str] = field(default_factory=dict)
    _seen: set[tuple[str, str]] = field(default_factory=set)

    def attach(self, plugin: Plugin, learner: WatchedLearner) -> None:
        """Watch all hooks that a plugin overrides."""
        for hook in overridden(type(plugin)):
            setattr(plugin, hook, self._watched(getattr(plugin, hook), hook, learner))

    def _watched(self, inner: Callable[..., Any], hook: str, learner: WatchedLearner) -> Callable[..., Any]:
        def call(*args: Any, **words: Any) -> Any:
            seen = Call(learner, hook, (*args, *words.values()), self)
            with ExitStack() as stack:
                for check in self.checks:
                    stack.enter_context(contextmanager(check)(seen))
                seen.result = inner(*args, **words)
            return seen.result

        return call

    def report(self, check: str, hook: str, message: str, fix: str, *where: Predicate) -> None:
        """Report a finding in a hook, once."""
        if (check, hook) not in self._seen:
            self._seen.add((check, hook))
            line = self.subject.lines.find(hook, *where)
            self.findings.append(self.subject.finding(check, message, fix, line))


def overridden(cls: type[Plugin]) -> Iterator[str]:
    """Names of the hooks that a plugin's class defines."""
    for name in dir(Plugin):
        is_hook = name[0] != "_" and name not in STATE and callable(getattr(Plugin, name))
        if is_hook and getattr(cls, name) is not getattr(Plugin, name):
            yield name
