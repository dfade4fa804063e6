"""Hooks that are none: misspelled, of another signature, or absent altogether. Needs no torch, and imports no plugin.

A misspelled hook is the worst of mistakes: it is never called, the method trains as fine-tuning does, and its figures
stand under the method's name.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from clsuite.errors import nearest

HOOKS: Mapping[str, tuple[str, ...]] = {
    "on_stream_start": ("learner", "scenario"),
    "rebuild_modules": ("learner", "tasks"),
    "on_task_start": ("learner", "task"),
    "on_task_end": ("learner", "task"),
    "on_task_exit": ("learner", "task"),
    "select_indices": ("learner", "task", "indices"),
    "transform_batch": ("learner", "batch"),
    "on_before_forward": ("learner", "batch"),
    "loss": ("learner", "step"),
    "parameter_groups": ("learner",),
    "predict": ("learner", "batch"),
    "lent_buffer": (),
    "stored_bytes": (),
    "state_dict": (),
    "load_state_dict": ("state_dict",),
}
"""Our hooks and what they are called with."""
LIGHTNING = (
    "on_after_backward", "on_before_backward", "on_before_optimizer_step", "on_before_zero_grad", "on_exception",
    "on_fit_end", "on_fit_start", "on_load_checkpoint", "on_predict_batch_end", "on_predict_batch_start",
    "on_predict_end", "on_predict_epoch_end", "on_predict_epoch_start", "on_predict_start", "on_sanity_check_end",
    "on_sanity_check_start", "on_save_checkpoint", "on_test_batch_end", "on_test_batch_start", "on_test_end",
    "on_test_epoch_end", "on_test_epoch_start", "on_test_start", "on_train_batch_end", "on_train_batch_start",
    "on_train_end", "on_train_epoch_end", "on_train_epoch_start", "on_train_start", "on_validation_batch_end",
    "on_validation_batch_start", "on_validation_end", "on_validation_epoch_end", "on_validation_epoch_start",
    "on_validation_start", "setup", "state_key", "teardown",
)  # fmt: skip
"""Lightning's, which work too."""
GIVEN = ("learner", "trainer", "pl_module")
"""First arguments of hooks, by the names that everybody gives them."""
ALIKE = 0.8
"""How near a name must be to that of a hook, by `difflib`, where nothing else speaks for it."""
SYNONYMS = {"begin": "start", "begins": "start", "starts": "start", "finish": "end", "ends": "end", "stop": "end"}


@dataclass(frozen=True)
class Doubt:
    """Something in the source of a plugin that cannot be meant.

    Attributes:
        line: Where.
        message: What.
        fix: What to do about it.
    """

    line: int
    message: str
    fix: str


def doubts(text: str, class_name: str, brings_training: bool = False) -> list[Doubt]:
    """What in a plugin's class cannot be meant.

    Args:
        text: The text of its file.
        class_name: The class.
        brings_training: Whether it says how to train, which is something even without a hook.
    """
    module = ast.parse(text)
    classes = {node.name: node for node in module.body if isinstance(node, ast.ClassDef)}
    line, foreign = _line_of_bases(classes, class_name)
    methods = [node for cls in line for node in cls.body if isinstance(node, ast.FunctionDef)]
    used = {node.attr for node in ast.walk(module) if isinstance(node, ast.Attribute)}
    found = [doubt for method in methods for doubt in (*_misspelled(method, used), *_signature(method))]
    hooks = any(method.name in HOOKS or method.name in LIGHTNING for method in methods)
    if not (found or hooks or foreign or brings_training) and class_name in classes:
        found.append(Doubt(
            classes[class_name].lineno,
            f"'{class_name}' overrides no hook: it is fine-tuning under another name",
            f"override one, such as {_called('loss')} or {_called('on_task_end')}",
        ))  # fmt: skip
    return found


def untyped(text: str, class_name: str) -> Iterator[Doubt]:
    """Arguments of a plugin's constructor that have no type, so that nothing checks what a benchmark gives."""
    classes = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)}
    line, _ = _line_of_bases(classes, class_name)
    made = [node for cls in line for node in cls.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
    for constructor in made[:1]:
        arguments = constructor.args
        for argument in (*[*arguments.posonlyargs, *arguments.args][1:], *arguments.kwonlyargs):
            if argument.annotation is None:
                yield Doubt(
                    argument.lineno,
                    f"the argument '{argument.arg}' has no type: what a benchmark gives for it is not checked",
                    f"write its type, such as {argument.arg}: float = 1.0",
                )


def _line_of_bases(classes: Mapping[str, ast.ClassDef], name: str) -> tuple[list[ast.ClassDef], bool]:
    """A class and its bases in the same file, and whether it has others than Plugin elsewhere."""
    line: list[ast.ClassDef] = []
    todo, foreign = [name], False
    while todo:
        current = classes.get(todo.pop(0))
        if current is not None and current not in line:
            line.append(current)
            bases = [ast.unparse(base) for base in current.bases]
            todo += [base for base in bases if base in classes]
            foreign |= any(base not in classes and base.rpartition(".")[2] != "Plugin" for base in bases)
    return line, foreign


def _misspelled(method: ast.FunctionDef, used: set[str]) -> Iterator[Doubt]:
    """A method that nothing calls, though its name or its arguments are like a hook's."""
    name, known = method.name, [*HOOKS, *LIGHTNING]
    given = [argument.arg for argument in method.args.args[1:2]]
    if name.startswith("_") or name in known or name in used or method.decorator_list:
        return
    plain = "_".join(SYNONYMS.get(part, part) for part in name.split("_"))
    alike = [plain] if plain in known else nearest(plain, known, 2)
    near = [one for one in alike if _likeness(plain, one) >= ALIKE]
    if near or name.startswith("on_") or set(given) & {*GIVEN}:
        likely = near or (alike if name.startswith("on_") else [])
        hint = f"; did you mean {' or '.join(f'`{one}`' for one in likely)}?" if likely else " of that name"
        fix = f"write {_called(likely[0])}" if likely else "give it the name of a hook, or call it from one"
        yield Doubt(method.lineno, f"`{name}` is not a hook{hint}{'' if likely else ', and nothing calls it'}", fix)


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


def _signature(method: ast.FunctionDef) -> Iterator[Doubt]:
    """A hook of ours that cannot be called with what hooks are called with."""
    given = HOOKS.get(method.name)
    if given is None or any("staticmethod" in ast.unparse(one) for one in method.decorator_list):
        return
    arguments = method.args
    plain = [*arguments.posonlyargs, *arguments.args]
    least, most = len(plain) - len(arguments.defaults) - 1, len(plain) - 1
    needed = [one for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if default is None]
    if least > len(given) or (most < len(given) and arguments.vararg is None) or needed:
        written = ast.unparse(arguments)
        yield Doubt(
            method.lineno,
            f"`{method.name}` takes ({written}), but is called with ({', '.join(('self', *given))})",
            f"write {_called(method.name)}",
        )


def _called(hook: str) -> str:
    return f"def {hook}({', '.join(('self', *HOOKS.get(hook, ('trainer', 'learner', '...'))))})"
