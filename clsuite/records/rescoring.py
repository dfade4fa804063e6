"""Counts made again from the stored predictions, and hashes of these."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from clsuite.records.entries import CountsEntry


def rescore(predictions: dict[str, NDArray[np.integer]]) -> CountsEntry:
    """Count the right answers of each protocol.

    Args:
        predictions: ``class_incremental`` and ``task_aware`` of shape ``[T + 1, N]`` (-1: not a seen class, known to be
            wrong without a forward pass), ``open_vocabulary`` of the same shape if the method has one, ``labels``
            ``[N]`` and ``task`` ``[N]`` (the evaluation part) of every test sample, and ``learned`` ``[C]`` (see
            `Counts`) where the parts are not the tasks.

    Returns:
        The counts, equal to those in the record.

    Raises:
        ValueError: If the parts of the samples are not numbered from 0, or an array does not have a whole number for
            each sample.
        KeyError: If an array is missing.
    """
    labels, task = predictions["labels"], predictions["task"]
    if task.dtype.kind not in "iu" or not len(task) or not 0 <= int(task.min()) <= int(task.max()) < len(task):
        raise ValueError("'task' must hold the part of each sample, numbered from 0")
    tasks = int(task.max()) + 1
    has_open = "open_vocabulary" in predictions
    for name in ("class_incremental", "task_aware", *(["open_vocabulary"] if has_open else []), "labels"):
        array = predictions[name]
        if array.dtype.kind not in "iu" or array.shape[array.ndim - 1 :] != task.shape or array.ndim > 2:
            raise ValueError(f"'{name}' must hold a whole number for each of the {len(task)} samples")

    def count(predicted: NDArray[np.integer]) -> list[list[int]]:
        return [np.bincount(task[row == labels], minlength=tasks).tolist() for row in predicted]

    return CountsEntry(
        class_incremental=count(predictions["class_incremental"]),
        task_aware=count(predictions["task_aware"]),
        open_vocabulary=count(predictions["open_vocabulary"]) if has_open else None,
        n=np.bincount(task, minlength=tasks).tolist(),
        learned=predictions["learned"].tolist() if "learned" in predictions else None,
    )


def row_digest(predictions: Mapping[str, NDArray[np.integer]], row: int) -> str:
    """SHA-256 of the predictions of one evaluation, in both protocols, whatever integers they are stored in.

    Args:
        predictions: As in `rescore`.
        row: The evaluation: 0 before any training, ``i`` after the i-th task.
    """
    content = sha256()
    for name in ("class_incremental", "task_aware"):
        content.update(predictions[name][row].astype("<i8").tobytes())
    return content.hexdigest()
