"""Finds misspelled, wrong or missing hooks. Needs no torch, and imports no plugin.

A misspelled hook is the worst mistake: it is never called, the method trains like fine-tuning, and the results are
published under the method's name.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from clsuite.errors import nearest
from clsuite.plugin.inheritance import Ancestry, ClassSource, ancestry, dotted_name, find_class
from clsuite.plugin.scopes import Found, Scope, scope_of
from clsuite.plugin.signature import own_arguments
from clsuite.plugin.source_hash import REFERENCE, Home

HOOKS: Mapping[str, tuple[str, ...]] = {
    "on_stream_start": ("learner", "scenario"),
    "rebuild_modules": ("learner", "tasks"),
    "before_task_training": ("learner", "task"),
    "on_task_start": ("learner", "task"),
    "plan_training": ("learner", "task", "plan"),
    "on_round_end": ("learner", "task", "round"),
    "on_task_end": ("learner", "task"),
    "on_stream_end": ("learner", "scenario"),
    "on_task_exit": ("learner", "task"),
    "select_indices": ("learner", "task", "indices"),
    "transform_batch": ("learner", "batch"),
    "transform_images": ("learner", "images"),
    "on_before_forward": ("learner", "batch"),
    "classification": ("learner", "step"),
    "loss": ("learner", "step"),
    "parameter_groups": ("learner",),
    "transform_update": ("learner", "updates"),
    "predict": ("learner", "batch"),
    "lent_buffer": (),
    "stored_bytes": (),
    "state_dict": (),
    "load_state_dict": ("state_dict",),
}
"""Hooks of clsuite and their arguments."""
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
"""Hooks of Lightning, which work too."""
GIVEN = ("learner", "trainer", "pl_module")
"""Usual names of the first arguments of hooks."""
ALIKE = 0.8
"""Minimum similarity to the name of a hook, by `difflib`, without other evidence."""
SAME_SIGNATURE = frozenset({"no_grad", "inference_mode", "enable_grad", "override", "final", "abstractmethod"})
"""Decorators that do not change a hook's arguments."""
SYNONYMS = {"begin": "start", "begins": "start", "starts": "start", "finish": "end", "ends": "end", "stop": "end"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Doubt:
    """A probable mistake in the source of a plugin.

    Attributes:
        line: The line.
        message: The mistake.
        fix: How to fix it.
        file: The name of the file, if it is that of a base and not the plugin's own.
    """

    line: int
    message: str
    fix: str
    file: str = ""

    @property
    def place(self) -> str:
        """Line and file, in words."""
        return f"line {self.line} of {self.file}" if self.file else f"line {self.line}"


def doubts(text: str, class_name: str, brings_training: bool = False, home: Home | None = None) -> list[Doubt]:
    """Find probable mistakes in a plugin's class, and in its bases of the same author.

    Args:
        text: The text of its file.
        class_name: The class.
        brings_training: Whether its traits change the training, so that it needs no hook.
        home: The location of the file, from which its bases are followed.
    """
    scope = scope_of(text, home)
    cls = find_class(scope, class_name)
    if cls is None:
        return []
    whole = ancestry(scope, cls)
    used = {one.attr for tree in _files(whole) for one in ast.walk(tree) if isinstance(one, ast.Attribute)}
    found = [
        replace(doubt, file=_file(scope, owner.scope))
        for name, (owner, node) in whole.members.items()
        if _is_own(scope, owner.scope)
        for doubt in _of_member(name, node, owner, used)
    ]
    hooks = any(name in HOOKS or name in LIGHTNING for name in whole.members)
    if not (found or hooks or whole.unclear or brings_training):
        found.append(Doubt(
            cls.lineno,
            f"'{class_name}' overrides no hook: it is fine-tuning under another name",
            f"override one, such as {_definition_of('loss')} or {_definition_of('on_task_end')}",
        ))  # fmt: skip
    return found


def untyped(text: str, class_name: str, home: Home | None = None) -> Iterator[Doubt]:
    """Find arguments of a plugin's constructor without a type, whose values in a benchmark are not checked.

    Arguments that it passes on to a base of the same author are included.
    """
    scope = scope_of(text, home)
    cls = find_class(scope, class_name)
    for owner in ancestry(scope, cls).classes if cls else ():
        constructor = owner.members.get("__init__")
        if not isinstance(constructor, ast.FunctionDef) or not _is_own(scope, owner.scope):
            continue
        for argument, _ in own_arguments(constructor):
            if argument.annotation is None:
                yield Doubt(
                    argument.lineno,
                    f"the argument '{argument.arg}' has no type: its value in a benchmark is not checked",
                    f"write its type, such as {argument.arg}: float = 1.0",
                    _file(scope, owner.scope),
                )
        if constructor.args.kwarg is None:
            return


def _files(whole: Ancestry) -> Iterator[ast.Module]:
    """The files of a class and its bases, each once."""
    yield from {id(one.scope): one.scope.tree for one in whole.classes}.values()


def _is_own(scope: Scope, other: Scope) -> bool:
    """Whether a base's file is by the plugin's author: neither clsuite's nor installed."""
    installed = other.path is not None and {"site-packages", "dist-packages"}.intersection(other.path.parts)
    return other is scope or not (installed or other.name.partition(".")[0] in ("clsuite", REFERENCE))


def _file(scope: Scope, other: Scope) -> str:
    return other.path.name if other.path is not None and other is not scope else ""


def _of_member(name: str, node: ast.AST, owner: ClassSource, used: set[str]) -> Iterator[Doubt]:
    """Find probable mistakes in a member of a class."""
    if isinstance(node, Function):
        yield from _misspelled(name, node, used)
    if name not in HOOKS:
        return
    if isinstance(node, ast.ClassDef) or (isinstance(node, Function) and _is_property(node)):
        message = f"`{name}` is {'a class' if isinstance(node, ast.ClassDef) else 'a property'}, but a hook is called"
        yield Doubt(node.lineno, message, f"write {_definition_of(name)}")
        return
    function = _function(owner, node) if isinstance(node, ast.Name) else node
    if isinstance(function, Function | ast.Lambda) and not _is_changed(function):
        yield from _signature(name, node, function.args)


def _function(owner: ClassSource, node: ast.Name) -> ast.AST | None:
    """The function that is assigned to the name of a hook, if the source determines it."""
    if node.id in owner.members:
        return owner.members[node.id]
    meaning = owner.scope.look_up(node.id, node.lineno)
    return meaning.node if isinstance(meaning, Found) else None


def _is_property(method: Function) -> bool:
    names = {dotted_name(one).rpartition(".")[2] for one in method.decorator_list}
    return not names.isdisjoint({"property", "cached_property"})


def _is_changed(function: ast.AST) -> bool:
    """Whether a decorator may change the signature of a function."""
    decorators = [one.func if isinstance(one, ast.Call) else one for one in getattr(function, "decorator_list", ())]
    return any(dotted_name(one).rpartition(".")[2] not in SAME_SIGNATURE for one in decorators)


def _misspelled(name: str, method: Function, used: set[str]) -> Iterator[Doubt]:
    """Find a method that is never called, although its name or its arguments are similar to a hook's."""
    known = [*HOOKS, *LIGHTNING]
    given = [argument.arg for argument in method.args.args[1:2]]
    if name.startswith("_") or name in known or name in used or method.decorator_list:
        return
    plain = "_".join(SYNONYMS.get(part, part) for part in name.split("_"))
    alike = [plain] if plain in known else nearest(plain, known, 2)
    near = [one for one in alike if _likeness(plain, one) >= ALIKE]
    if near or name.startswith("on_") or set(given) & {*GIVEN}:
        likely = near or (alike if name.startswith("on_") else [])
        hint = f"; did you mean {' or '.join(f'`{one}`' for one in likely)}?" if likely else " of that name"
        fix = f"write {_definition_of(likely[0])}" if likely else "give it the name of a hook, or call it from one"
        yield Doubt(method.lineno, f"`{name}` is not a hook{hint}{'' if likely else ', and nothing calls it'}", fix)


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


def _signature(hook: str, node: ast.AST, arguments: ast.arguments) -> Iterator[Doubt]:
    """Find a hook of clsuite that cannot be called with its arguments."""
    given = HOOKS[hook]
    plain = [*arguments.posonlyargs, *arguments.args]
    least, most = len(plain) - len(arguments.defaults) - 1, len(plain) - 1
    needed = [one for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if default is None]
    if least > len(given) or (most < len(given) and arguments.vararg is None) or needed:
        written = ast.unparse(arguments)
        yield Doubt(
            getattr(node, "lineno", 0),
            f"`{hook}` takes ({written}), but is called with ({', '.join(('self', *given))})",
            f"write {_definition_of(hook)}",
        )


def _definition_of(hook: str) -> str:
    return f"def {hook}({', '.join(('self', *HOOKS.get(hook, ('trainer', 'learner', '...'))))})"
