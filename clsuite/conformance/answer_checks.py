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
from clsuite.learner.training_plan import TrainingPlan

Problem = tuple[str, str, str, Any]
"""What is wrong with a result: the check, the message, the fix, and a predicate of the line."""


def right_answers(call: Call) -> Iterator[None]:
    """Check that a hook returns a valid result."""
    yield
    judge = JUDGES.get(call.hook)
    problem = judge(call) if judge is not None else None
    if problem is not None:
        check, message, fix, where = problem
        call.report(check, message, fix, where)


def _judge_loss(call: Call) -> Problem | None:
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


def _judge_predict(call: Call) -> Problem | None:
    result = call.result
    learner = next((given for given in call.args if isinstance(given, Learner)), call.learner)
    batch = next((given for given in call.args if isinstance(given, Batch)), None)
    if result is None or batch is None:
        return None
    by_name = call.watch.subject.cls.traits.open_vocabulary
    wanted = [len(batch), learner.scenario.stream_classes if by_name else learner.seen]
    which, columns = ("stream's", "learner.scenario.stream_classes") if by_name else ("seen", "learner.seen")
    if isinstance(result, Tensor) and list(result.shape) == wanted:
        return None
    return (
        "head",
        f"'predict' returns {_kind_of(result)}, but must return logits [batch, {which} classes], here {wanted}",
        f"predict all {'classes of the stream' if by_name else 'classes seen so far'}: column c is stream label c, "
        f"{columns} columns",
        _last_return,
    )


def _judge_rows(call: Call) -> Problem | None:
    if isinstance(call.result, np.ndarray) and call.result.dtype == np.int64 and call.result.ndim == 1:
        return None
    got = f"{call.result.dtype} array" if isinstance(call.result, np.ndarray) else type(call.result).__name__
    return "batch", f"'select_indices' returns {got}", "return indices into the table, an int64 array [N]", _last_return


def _judge_batch(call: Call) -> Problem | None:
    if isinstance(call.result, Batch):
        return None
    got = type(call.result).__name__
    return "batch", f"'transform_batch' returns {got} and not a Batch", "return the batch, or a new one", _last_return


def _judge_plan(call: Call) -> Problem | None:
    if isinstance(call.result, TrainingPlan):
        return None
    message = f"'plan_training' returns {type(call.result).__name__} and not a plan"
    return "trains", message, "return plan, or a changed one: plan.with_options(epochs=10)", _last_return


def _judge_groups(call: Call) -> Problem | None:
    groups = call.result
    if groups is None:
        return None
    if not isinstance(groups, list | tuple) or not all(isinstance(one, dict) and "params" in one for one in groups):
        message = f"'parameter_groups' returns {type(groups).__name__} and not a list of dicts with 'params'"
        return "parameters", message, 'return [{"params": parameters, "lr": 0.01}], or None', _last_return
    known = {id(value) for value in call.learner.parameters()}
    given = [value for one in groups if isinstance(one["params"], list | tuple) for value in one["params"]]
    if all(id(value) in known for value in given if isinstance(value, Tensor)):
        return None
    return (
        "parameters",
        "'parameter_groups' returns a parameter that the learner does not know: it is neither moved nor saved",
        "register it in on_stream_start or on_task_start: learner.register_plugin_module(self, name, module)",
        _last_return,
    )


def _judge_images(call: Call) -> Problem | None:
    images = next(given for given in call.args if isinstance(given, Tensor))
    if isinstance(call.result, Tensor) and call.result.shape == images.shape:
        return None
    message = f"'transform_images' returns {_kind_of(call.result)}, but the images have the shape {list(images.shape)}"
    return "batch", message, "return images of the same shape", _last_return


def _judge_updates(call: Call) -> Problem | None:
    updates = next(given for given in call.args if isinstance(given, Mapping))
    fix = "return the changed updates by name, each in the shape of its weight: {name: new}, or {} for none"
    if not isinstance(call.result, Mapping):
        return "batch", f"'transform_update' returns {type(call.result).__name__} and not updates", fix, _last_return
    for name, update in call.result.items():
        if name not in updates:
            message = f"'transform_update' returns '{name}', which is no updated weight"
            return "batch", message, fix, _last_return
        shape = list(updates[name].shape)
        if not isinstance(update, Tensor) or list(update.shape) != shape:
            message = (
                f"'transform_update' returns for '{name}' {_kind_of(update)}, but the weight has the shape {shape}"
            )
            return "batch", message, fix, _last_return
    return None


def _kind_of(value: Any) -> str:
    return f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


JUDGES: Mapping[str, Callable[[Call], Problem | None]] = {
    "loss": _judge_loss,
    "classification": _judge_loss,
    "predict": _judge_predict,
    "select_indices": _judge_rows,
    "transform_batch": _judge_batch,
    "plan_training": _judge_plan,
    "parameter_groups": _judge_groups,
    "transform_images": _judge_images,
    "transform_update": _judge_updates,
}
