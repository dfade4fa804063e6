"""Checks before and after each call of a hook. Each check is a generator, whose ``yield`` is the call."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from clsuite.conformance.answer_checks import right_answers
from clsuite.conformance.instrument import Call, HookCheck, Watch, WatchedLearner
from clsuite.conformance.source_lines import assigns, calls, draws, either, writes_into
from clsuite.data.batch import Batch
from clsuite.learner.learner import Learner
from clsuite.learner.step import Step
from clsuite.private_api import (
    FORWARD_HOOKS,
    global_forward_hooks,
    hooks_of,
    optimizers_of,
    trainer_of,
    training_source,
)

BUILDING = {"on_stream_start", "rebuild_modules", "on_task_start"}
BETWEEN = {
    *BUILDING, "before_task_training", "plan_training", "on_round_end", "on_task_end", "on_stream_end", "on_task_exit",
    "setup", "select_indices",
}  # fmt: skip
PER_STEP = {
    "on_before_forward",
    "classification",
    "loss",
    "transform_batch",
    "predict",
    "select_indices",
    "parameter_groups",
}


def untouched_batch(call: Call) -> Iterator[None]:
    """Check that a hook does not modify the batch, features and logits that it receives."""
    tensors = {name: value for given in call.args for name, value in tensors_of(given).items()}
    copies = {name: value.detach().clone() for name, value in tensors.items()}
    yield
    changed = [name for name, value in tensors.items() if not same(value.detach(), copies[name])]
    if changed:
        call.report(
            "batch",
            f"'{call.hook}' writes into {' and '.join(changed)} in place: later plugins and the learner "
            "see the changed values",
            "work on a copy: batch.with_images(new), batch.extended(...), or value.clone() first",
            writes_into(call.watch.subject.lines.functions.get(call.hook)),
        )


def tensors_of(given: Any) -> dict[str, Tensor]:
    """The tensors in a hook's argument, by name."""
    if isinstance(given, Step):
        return {**tensors_of(given.batch), "step.features": given.features, "step.logits": given.logits}
    if isinstance(given, Batch):
        named = {"images": given.images, "labels": given.labels, "indices": given.indices, "replayed": given.replayed}
        named |= {f"columns['{name}']": column for name, column in given.columns.items()}
        return {f"batch.{name}": value for name, value in named.items() if value is not None}
    if isinstance(given, Tensor) and given.dim() == 4:
        return {"images": given}
    if isinstance(given, MappingProxyType):
        return {f"updates['{name}']": value for name, value in given.items() if isinstance(value, Tensor)}
    return {}


def same(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are equal, where NaN equals NaN."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return bool(((first == second) | ((first != first) & (second != second))).all())


def untouched_generators(call: Call) -> Iterator[None]:
    """Check that a hook does not use the global random generators, except for the hook that may train freely."""
    if call.hook == "before_task_training":
        yield
        return
    before = generator_states()
    yield
    after = generator_states()
    moved = [name for name in before if not _equal(before[name], after[name])]
    if moved:
        name = call.watch.subject.name.removesuffix(".py")
        call.report(
            "randomness",
            f"'{call.hook}' draws from or seeds {' and '.join(moved)}, the global generator: it changes the random "
            "numbers of everything after it",
            f'draw from a generator of your own: generator=learner.generator("{name}"); build modules within '
            "torch.random.fork_rng(devices=[])",
            draws,
        )


def generator_states() -> dict[str, Any]:
    """The states of the three global generators."""
    return {"torch": torch.get_rng_state(), "numpy.random": np.random.get_state(), "random": random.getstate()}


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor):
        return torch.equal(first, second)
    return all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def untouched_settings(call: Call) -> Iterator[None]:
    """Check that a hook does not change PyTorch's global settings."""
    before = settings()
    yield
    changed = [name for name, value in settings().items() if value != before[name]]
    if changed:
        call.report(
            "leftovers",
            f"'{call.hook}' changes {' and '.join(changed)} permanently",
            "use a context manager (torch.no_grad(), torch.autocast) or restore it in a finally block",
            calls("set_grad_enabled", "set_default_dtype", "use_deterministic_algorithms", "set_num_threads",
                  "set_float32_matmul_precision", "__enter__"),
        )  # fmt: skip


def settings() -> dict[str, Any]:
    """The values of PyTorch's global settings."""
    return {
        "the gradient mode": torch.is_grad_enabled(),
        "the default dtype": torch.get_default_dtype(),
        "the deterministic mode": torch.are_deterministic_algorithms_enabled(),
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        "cudnn.deterministic": torch.backends.cudnn.deterministic,
        "the number of threads": torch.get_num_threads(),
        "the precision of matrix products": torch.get_float32_matmul_precision(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "PyTorch's global module hooks": sum(map(len, global_forward_hooks())),
    }


def untouched_loaders(call: Call) -> Iterator[None]:
    """Check that a hook does not replace or change the trainer's loader and optimizer."""
    before = trainer_marks(call.learner)
    yield
    after = trainer_marks(call.learner)
    for what, fix, where in (
        (
            "loader",
            "choose rows in select_indices, add samples in transform_batch, and read data with learner.images_of, "
            "learner.labels_of or a BatchLoader of your own",
            either(assigns("train_dataloader", "_data_source", "_combined_loader", "loader", "_rows", "_batch_size"),
                   calls("setup_data", "reset_train_dataloader"), _loops_over_loader),
        ),
        (
            "optimizer",
            "create parameters in on_task_start and choose what is trained in parameter_groups",
            either(assigns("optimizers", "param_groups"), calls("add_param_group", "setup_optimizers")),
        ),
    ):  # fmt: skip
        if before.get(what) != after.get(what):
            call.report("loaders", f"'{call.hook}' changes the trainer's {what} directly", fix, where)


def _loops_over_loader(node: Any) -> bool:
    import ast

    return isinstance(node, ast.For) and "loader" in ast.unparse(node.iter)


def trainer_marks(learner: Learner) -> dict[str, Any]:
    """Values that change if the trainer's loader or optimizer is changed."""
    trainer = trainer_of(learner)
    if trainer is None:
        return {}
    source = training_source(trainer)
    loader = None if source is learner else source  # the source may be the learner instead of a loader
    rows = getattr(loader, "_rows", None)
    marks = {} if loader is None else vars(loader)
    inside = [(name, value) for name, value in sorted(marks.items()) if isinstance(value, int | float | str)]
    groups = [[id(p) for p in group["params"]] for one in optimizers_of(trainer) for group in one.param_groups]
    return {
        "loader": (id(loader), None if rows is None else rows.tobytes(), inside) if loader is not None else None,
        "optimizer": ([id(one) for one in optimizers_of(trainer)], groups),
    }


def untouched_hooks(call: Call) -> Iterator[None]:
    """Check that a hook of each step leaves no hook on a module."""
    if call.hook not in PER_STEP and "batch" not in call.hook:
        yield
        return
    before = count_hooks(call.learner)
    yield
    more = count_hooks(call.learner) - before
    if more > 0:
        call.report(
            "leftovers",
            f"'{call.hook}' leaves {more} more hooks on the model's modules at each call",
            "keep the handle and call handle.remove() in a finally block, or register once in on_stream_start",
            calls("register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook", "register_hook"),
        )


def count_hooks(learner: Learner) -> int:
    """Number of hooks on all modules of a learner."""
    return sum(
        len(hooks) for module in learner.modules() for hooks in hooks_of(module, *FORWARD_HOOKS, "_backward_hooks")
    )


def parameters_in_time(call: Call) -> Iterator[None]:
    """Check that no parameter is created after the optimizer."""
    if call.hook in BETWEEN:
        yield
        return
    before = {name for name, _ in call.learner.named_parameters()}
    yield
    late = [name for name, value in call.learner.named_parameters() if name not in before and value.requires_grad]
    if late:
        call.report(
            "parameters",
            f"'{call.hook}' creates the parameter '{late[0]}' after the optimizer: it is never trained",
            "create it in on_stream_start or on_task_start (and again in rebuild_modules), with "
            "learner.register_plugin_module(self, name, module)",
            calls("register_plugin_module", "register_parameter", "add_module", "register_module"),
            calls("Parameter", "Linear", "Embedding", "Sequential"),
        )  # fmt: skip


def frozen_stays_frozen(call: Call) -> Iterator[None]:
    """Record hooks that leave gradients or ``requires_grad`` on frozen weights; they are reported at the task's end."""
    before = set(on_frozen(call.learner))
    yield
    for name in on_frozen(call.learner):
        if name not in before:
            call.watch.suspects.setdefault(name, call.hook)


def on_frozen(learner: WatchedLearner) -> dict[str, str]:
    """Frozen weights that have a gradient or ``requires_grad``."""
    found = {}
    for name, value in learner.named_parameters():
        if (
            not value.requires_grad
            and value.grad is not None
            and (name in learner.frozen_weights or not learner.frozen_weights)
        ):
            found[name] = "a gradient"
        elif name in learner.frozen_weights and value.requires_grad:
            found[name] = "requires_grad"
    return found


def settle(watch: Watch, learner: WatchedLearner) -> None:
    """Report what is left on frozen weights at the end of a task."""
    left = on_frozen(learner)
    for hook in dict.fromkeys(watch.suspects.values()):
        names = sorted(name for name, by in watch.suspects.items() if by == hook and name in left)
        if names:
            report_frozen(watch, hook, names, learner)
    watch.suspects = {}


def report_frozen(watch: Watch, hook: str, names: Sequence[str], learner: WatchedLearner) -> None:
    """Report what a hook left on frozen weights."""
    left = on_frozen(learner)
    what = "requires_grad" if any(left[name] == "requires_grad" for name in names) else "a gradient"
    watch.report(
        "gradients",
        hook,
        f"'{hook}' leaves {what} on {len(names)} frozen weights, such as '{names[0]}'",
        "compute gradients with torch.autograd.grad(loss, weights), and reset requires_grad (and grad to None) at "
        "the end of the hook; unfreeze for training in on_task_start",
        either(calls("backward", "requires_grad_"), assigns("requires_grad")),
    )


def counted_samples(call: Call) -> Iterator[None]:
    """Check that a hook that trains on batches of images between tasks counts its samples."""
    if call.hook not in BETWEEN:
        yield
        return
    steps: list[int] = []
    before, loops = call.learner.gradient_samples, call.learner.own_loops
    handle = register_optimizer_step_post_hook(lambda optimizer, *_: steps.append(1))
    try:
        yield
    finally:
        handle.remove()
    if steps and call.learner.own_loops > loops and call.learner.gradient_samples == before:
        call.report(
            "counts",
            f"'{call.hook}' takes {len(steps)} optimizer steps without counting samples: the method looks cheaper than "
            "it is",
            "call learner.count_gradients(len(batch)) for each batch with a backward pass",
            calls("step"),
        )


HOOK_CHECKS: tuple[HookCheck, ...] = (
    untouched_batch,
    untouched_generators,
    untouched_settings,
    untouched_loaders,
    untouched_hooks,
    parameters_in_time,
    frozen_stays_frozen,
    counted_samples,
    right_answers,
)
