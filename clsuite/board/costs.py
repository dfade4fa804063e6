"""What stands against the costs in a record."""

from __future__ import annotations

from clsuite.records import RunRecord


def has_true_costs(record: RunRecord) -> str:
    """Whether the number of trained parameters goes with what its tasks say of their training."""
    assert record.cost is not None
    trained = record.cost.trainable_parameters
    samples = sum(task.gradient_samples for task in record.tasks)
    if samples and not trained:
        return f"it trained with {samples} samples, but says that no parameter was trained: run it again"
    told = [task.trainable_parameters for task in record.tasks if task.trainable_parameters is not None]
    if told and max(told) != trained:
        return f"its cost names {trained} trained parameters, but its tasks at most {max(told)}"
    return ""
