"""Observes each call of a plugin's hooks: the arguments, the result, and what must not change."""

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
"""A check around a call: a generator that yields once, for the call."""
STATE = {
    "state_dict", "load_state_dict", "stored_bytes", "lent_buffer", "on_save_checkpoint", "on_load_checkpoint",
    "state_key",
}  # fmt: skip
"""Methods of a plugin that are not hooks of a stream."""


class WatchedLearner(Learner):
    """A learner that records the weights that are frozen both before and in a task."""

    watches: tuple[Watch, ...] = ()
    frozen_weights: frozenset[str] = frozenset()

    def begin_task(self, task: Task, may_train: bool = True) -> None:
        """Begin a task, and record the frozen weights."""
        self.frozen_weights = frozenset()
        before = {name for name, value in self.named_parameters() if not value.requires_grad}
        super().begin_task(task, may_train)
        after = {name for name, value in self.named_parameters() if not value.requires_grad}
        self.frozen_weights = frozenset(before & after)

    def end_task(self, task: Task) -> None:
        """End a task, and report what was left on frozen weights."""
        super().end_task(task)
        for watch in self.watches:
            watch.settle(watch, self)


@dataclass
class Call:
    """One call of a hook.

    Attributes:
        learner: The learner.
        hook: Name of the hook.
        args: Its arguments.
        result: Its result, after the call.
        watch: The observer of the plugin.
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
    """Observes one plugin.

    Attributes:
        subject: The plugin.
        checks: The checks around each call of a hook.
        settle: Called at the end of a task with the watch and the learner: reports what is left on frozen weights.
        findings: The findings, at most one of each check for each hook.
        suspects: Frozen weights on which a hook has left something, with the hook.
    """

    subject: Subject
    checks: Sequence[HookCheck]
    settle: Callable[[Watch, WatchedLearner], None]
    findings: list[Finding] = field(default_factory=list)
    suspects: dict[str, str] = field(default_factory=dict)
    _seen: set[tuple[str, str]] = field(default_factory=set)

    def attach(self, plugin: Plugin, learner: WatchedLearner) -> None:
        """Observe all hooks that a plugin overrides."""
        for hook in overridden(type(plugin)):
            setattr(plugin, hook, self._watched(getattr(plugin, hook), hook, learner))

    def _watched(self, inner: Callable[..., Any], hook: str, learner: WatchedLearner) -> Callable[..., Any]:
        def call(*args: Any, **words: Any) -> Any:
            observed = Call(learner, hook, (*args, *words.values()), self)
            with ExitStack() as stack:
                for check in self.checks:
                    stack.enter_context(contextmanager(check)(observed))
                observed.result = inner(*args, **words)
            return observed.result

        return call

    def report(self, check: str, hook: str, message: str, fix: str, *where: Predicate) -> None:
        """Report a finding in a hook, once."""
        if (check, hook) not in self._seen:
            self._seen.add((check, hook))
            line = self.subject.lines.find(hook, *where)
            self.findings.append(self.subject.finding(check, message, fix, line))


def overridden(cls: type[Plugin]) -> Iterator[str]:
    """Names of the hooks that a plugin's class overrides."""
    for name in dir(Plugin):
        is_hook = name[0] != "_" and name not in STATE and callable(getattr(Plugin, name))
        if is_hook and getattr(cls, name) is not getattr(Plugin, name):
            yield name
