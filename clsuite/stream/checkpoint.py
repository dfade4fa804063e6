"""The state of a stream at a task boundary, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clsuite.errors import InputWarning, warn_of
from clsuite.learner.learner import Learner
from clsuite.stream.sealed_state import DamagedStateError, read_state, write_state


def learner_state(learner: Learner, tasks: int) -> dict[str, Any]:
    """Everything of a learner that must survive: parameters, plugins, optimizer policy, what is frozen."""
    return {
        "tasks": tasks,
        "head_sizes": learner.head.sizes,
        "parameters": learner.state_dict(),
        "requires_grad": {name: parameter.requires_grad for name, parameter in learner.named_parameters()},
        "plugins": [plugin.state_dict() for plugin in learner.plugins],
        "optimizer": learner.optimizer_policy.state_dict(),
    }


def load_learner_state(learner: Learner, state: dict[str, Any]) -> None:
    """Put a learner that was just started back into a saved state."""
    learner.restore(state["tasks"], state["head_sizes"], state["plugins"])
    learner.load_state_dict(state["parameters"])
    for name, parameter in learner.named_parameters():
        parameter.requires_grad_(state["requires_grad"][name])
    for plugin, plugin_state in zip(learner.plugins, state["plugins"], strict=True):
        plugin.load_state_dict(plugin_state)
    learner.optimizer_policy.load_state_dict(state["optimizer"])


def save(state: dict[str, Any], path: Path) -> None:
    """Write a state.

    Raises:
        UserError: If the folder cannot be written.
    """
    write_state(state, path)


def load(path: Path, begins: str = "The run begins again from the start") -> dict[str, Any] | None:
    """Read a state; None where there is none, and with a warning where it is damaged, which says what then begins."""
    try:
        return read_state(path)
    except FileNotFoundError:
        return None
    except DamagedStateError as error:
        warn_of(f"the checkpoint '{path}' is damaged: {error}. {begins}.", InputWarning)
        return None
