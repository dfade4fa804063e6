"""Checkpoints at task boundaries, which are written atomically."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clsuite.errors import InputWarning, warn_of
from clsuite.learner.learner import Learner
from clsuite.stream.sealed_state import DamagedStateError, read_state, write_state


class UnfitCheckpointError(Exception):
    """An undamaged checkpoint from which this learner cannot continue.

    Attributes:
        path: The file.
        reason: The error that loading it raised.
    """

    def __init__(self, path: Path, reason: Exception) -> None:
        """Use the reason as the message."""
        super().__init__(f"{type(reason).__name__}: {reason}")
        self.path, self.reason = path, reason


def learner_state(learner: Learner, tasks: int) -> dict[str, Any]:
    """The state of a learner: parameters, which of them are frozen, plugins and the optimizer policy."""
    return {
        "tasks": tasks,
        "head_sizes": learner.head.sizes,
        "parameters": learner.state_dict(),
        "requires_grad": {name: parameter.requires_grad for name, parameter in learner.named_parameters()},
        "plugins": [plugin.state_dict() for plugin in learner.plugins],
        "optimizer": learner.optimizer_policy.state_dict(),
    }


def load_learner_state(learner: Learner, state: dict[str, Any]) -> None:
    """Load a saved state into a learner that was just started."""
    learner.restore(state["tasks"], state["head_sizes"], state["plugins"])
    learner.load_state_dict(state["parameters"])
    for name, parameter in learner.named_parameters():
        parameter.requires_grad_(state["requires_grad"][name])
    for plugin, plugin_state in zip(learner.plugins, state["plugins"], strict=True):
        plugin.load_state_dict(plugin_state)
    learner.optimizer_policy.load_state_dict(state["optimizer"])


def save(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint.

    Raises:
        UserError: If the folder cannot be written.
    """
    write_state(state, path)


def load(path: Path, consequence: str = "The run begins again from the start") -> dict[str, Any] | None:
    """Read a checkpoint.

    Args:
        path: The file.
        consequence: What happens if the file is damaged, for the warning.

    Returns:
        The state, or None if there is no file or it is damaged.
    """
    try:
        return read_state(path)
    except FileNotFoundError:
        return None
    except DamagedStateError as error:
        warn_of(f"the checkpoint '{path}' is damaged: {error}. {consequence}.", InputWarning)
        return None
