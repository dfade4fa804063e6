"""Checks of the results of hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from clsuite.conformance.instrument import Call
from clsuite.conformance.source_lines import returns
from clsuite.data.batch import Batch
from clsuite.learner.learner import Learner


def right_answers(call: Call) -> Iterator[None]:
    """Check that a hook returns a valid result."""
    yield
    judge = JUDGES.get(call.hook)
    problem = judge(call) if judge is not None else None
    if problem is not None:
        check, message, fix, where = problem
        call.report(check, message, fix, where)


def _judge_loss(call: Call) -> tuple[str, str, str, Any] | None:
    result = call.result
    if result is None:
        return None
    where = returns(("item", "float", "tolist", "numpy", "detach"))
    if not isinstance(result, Tensor):
        return (
            "loss",
            f"'{call.hook}' returns {type(result).__name__} {result!r} and not a tensor: it has no gradient",
            "return the scalar tensor itself, without .item() or float()",
            where if call.watch.subject.lines.all(where) else _last_return,
        )
    if result.dim():
        shape = list(result.shape)
        message = f"'{call.hook}' returns a tensor of shape {shape} and not a scalar"
        return "loss", message, "return value.mean()", _last_return
    return None


def _last_return(node: Any) -> bool:
    import ast

    return isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant)


def _judge_predict(call: Call) -> tuple[str, str, str, Any] | None:
    result = call.result
    learner = next((given for given in call.args if isinstance(given, Learner)), call.learner)
    batch = next((given for given in call.args if isinstance(given, Batch)), None)
    if result is None or batch is None:
        return None
    wanted = [len(batch), learner.seen]
    if isinstance(result, Tensor) and list(result.shape) == wanted:
        return None
    got = f"a tensor of shape {list(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
    return (
        "head",
        f"'predict' returns {got}, but must return logits [batch, seen classes], here {wanted}",
        "predict all classes seen so far: column c is stream label c, learner.seen columns",
        _last_return,
    )


def _judge_rows(call: Call) -> tuple[str, str, str, Any] | None:
    if isinstance(call.result, np.ndarray) and call.result.dtype == np.int64 and call.result.ndim == 1:
        return None
    got = f"{call.result.dtype} array" if isinstance(call.result, np.ndarray) else type(call.result).__name__
    return "batch", f"'select_indices' returns {got}", "return indices into the table, an int64 array [N]", _last_return


def _judge_batch(call: Call) -> tuple[str, str, str, Any] | None:
    if isinstance(call.result, Batch):
        return None
    got = type(call.result).__name__
    return "batch", f"'transform_batch' returns {got} and not a Batch", "return the batch, or a new one", _last_return


JUDGES: Mapping[str, Callable[[Call], tuple[str, str, str, Any] | None]] = {
    "loss": _judge_loss,
    "classification": _judge_loss,
    "predict": _judge_predict,
    "select_indices": _judge_rows,
    "transform_batch": _judge_batch,
}
