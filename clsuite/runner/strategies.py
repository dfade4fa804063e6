"""Checks that a call asks nothing of a strategy of Avalanche's that its training loop cannot do. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from clsuite.errors import UserError
from clsuite.learner.options import TrainingSpec
from clsuite.plugin.compatibility import Named
from clsuite.runner.options import RunOptions


def check_loop(plugins: Sequence[Named], training: TrainingSpec, options: RunOptions) -> None:
    """Check the training options of a method that the loop of another library learns.

    Args:
        plugins: Name and source of its plugins; nothing is checked if clsuite's own loop learns it.
        training: Its training options.
        options: The options of the call.

    Raises:
        UserError: If that loop cannot do what is asked.
    """
    for name, source in plugins:
        if source.alone is None:
            continue
        library, needs = source.alone.library, source.alone.needs
        if needs and find_spec(needs) is None:
            raise UserError(f"'{name}' needs {needs}, which {library} does not install: pip install {needs}")
        asked = {
            f"training.head: {training.head}": (training.head != "linear", "its head is linear"),
            f"training.loss: {training.loss}": (training.loss != "global", "its loss is that of the strategy"),
            "training.precision: 16": (training.precision == "16", "it does not scale gradients; use bf16 or 32"),
            f"training.accumulate: {training.accumulate}": (training.accumulate > 1, "it passes batches whole"),
            f"--devices {options.devices}": (options.devices > 1, "it trains on one device"),
            "--save-model": (options.save_model, "a strategy cannot be saved"),
            "--keep-states": (options.keep_states, "it cannot be continued between two tasks"),
        }
        for what, (is_asked, reason) in asked.items():
            if is_asked:
                raise UserError(f"'{name}' is learned by {library}'s own loop, which cannot do {what}: {reason}")
