"""The state of a stream between two tasks: that of its learner, and all that was measured so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from clsuite.records import TaskEntry
from clsuite.stream.checkpoint import learner_state, load_learner_state

if TYPE_CHECKING:
    from clsuite.stream.loop import Stream


def stream_state(stream: Stream, tasks: int) -> dict[str, Any]:
    """The state after some tasks, from which the stream can be continued."""
    return {
        "identity": stream.identity,
        "learner": learner_state(stream.learner, tasks),
        "matrix": stream.matrix.state_dict(),
        "probes": stream.probes.state_dict(),
        "within_task": stream.within_task.state_dict() if stream.within_task else None,
        "curves": stream.curves.state_dict(),
        "kept": stream.kept.state_dict() if stream.kept else None,
        "tasks": [entry.model_dump() for entry in stream.tasks],
        "taken": {"images": stream.taken.images, "seconds": stream.taken.seconds, "spent": stream.taken_seconds},
        "rng": torch.get_rng_state(),
    }


def restore_stream(stream: Stream, state: dict[str, Any]) -> int:
    """Restore a state into a stream whose learner was just started; returns the number of finished tasks.

    Raises:
        Exception: Any error, if the state is of another version, or a plugin's own method raises it.
    """
    load_learner_state(stream.learner, state["learner"])
    stream.learner.to(stream.device)
    stream.matrix.load_state_dict(state["matrix"])
    stream.probes.load_state_dict(state["probes"])
    if stream.within_task:
        stream.within_task.load_state_dict(state["within_task"])
    stream.curves.load_state_dict(state.get("curves", {}))
    if stream.kept is not None:
        stream.kept.load_state_dict(state["kept"])
    stream.tasks = [TaskEntry(**entry) for entry in state["tasks"]]
    taken = state.get("taken", {"images": 0, "seconds": 0.0, "spent": (0.0, 0.0)})
    stream.taken.images, stream.taken.seconds, stream.taken_seconds = taken["images"], taken["seconds"], taken["spent"]
    torch.set_rng_state(state["rng"])
    return len(stream.tasks)
