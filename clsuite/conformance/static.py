"""Checks of the source alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace

from clsuite.conformance.finding import Finding
from clsuite.conformance.plugin_under_test import Subject
from clsuite.conformance.source_lines import dotted
from clsuite.plugin.catalog import is_ours
from clsuite.plugin.hooks import ROLES
from clsuite.plugin.misspelled_hooks import Doubt, doubts, untyped

DEVICE = re.compile(r"(cuda|mps|xpu)(:\d+)?")


def check_source(subject: Subject) -> Iterator[Finding]:
    """Run all checks that need only the source."""
    yield from forgotten_super(subject)
    yield from doubtful_hooks(subject)
    yield from untyped_arguments(subject)
    yield from fixed_devices(subject)
    yield from undeclared_roles(subject)


def forgotten_super(subject: Subject) -> Iterator[Finding]:
    """Report classes whose constructor does not call that of the base."""
    for cls in subject.lines.classes.values():
        constructor = next(
            (one for one in cls.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"), None
        )
        plain = {ast.unparse(base) for base in cls.bases} <= {"object", "Protocol", "ABC"}
        if constructor is None or plain:
            continue
        called = [dotted(node.func) for node in ast.walk(constructor) if isinstance(node, ast.Call)]
        if not any(name.endswith(".__init__") for name in called):
            yield subject.finding(
                "constructor",
                f"the constructor of '{cls.name}' does not call super().__init__()",
                "make super().__init__() its first line",
                constructor.lineno,
            )


def doubtful_hooks(subject: Subject) -> Iterator[Finding]:
    """Report methods that look like hooks but are not, hooks with a wrong signature, and classes without hooks."""
    brings = bool(subject.declared.traits.training) or is_ours(f"{subject.cls.__module__}:")
    for doubt in doubts(subject.lines.text, subject.lines.class_name, brings, subject.declared.home):
        yield _finding(subject, "hooks", doubt)


def untyped_arguments(subject: Subject) -> Iterator[Finding]:
    """Report constructor arguments without a type, if there is no other finding."""
    for doubt in untyped(subject.lines.text, subject.lines.class_name, subject.declared.home):
        yield replace(_finding(subject, "constructor", doubt), certain=False)


def _finding(subject: Subject, check: str, doubt: Doubt) -> Finding:
    """Convert a doubt to a finding; for the file of a base, only the line is known."""
    if doubt.file:
        return Finding(check, doubt.message, doubt.fix, doubt.file, doubt.line, "")
    return subject.finding(check, doubt.message, doubt.fix, doubt.line)


def fixed_devices(subject: Subject) -> Iterator[Finding]:
    """Report calls and strings that name a device, except for comparisons, such as ``device.type == "cuda"``."""
    comparisons = [node for node in ast.walk(subject.lines.module) if isinstance(node, ast.Compare)]
    compared = {inner for node in comparisons for inner in ast.walk(node)}
    for line in subject.lines.all(lambda node: node not in compared and _names_device(node)):
        yield subject.finding(
            "device",
            "the source names a device: the plugin works only on that one",
            "use the device of the batch or the learner: batch.labels.device, or learner.device",
            line,
        )


def undeclared_roles(subject: Subject) -> Iterator[Finding]:
    """Report requested parameters of other plugins whose role the traits do not declare."""
    traits, tree = subject.declared.traits, subject.lines.module
    given = [word.value for node in ast.walk(tree) if isinstance(node, ast.Call) for word in node.keywords
             if word.arg == "role"]  # fmt: skip
    own = {one.value for one in given if isinstance(one, ast.Constant)} | {"backbone", "head", *traits.works_on}
    if "modules" in traits.memory:
        own |= {*ROLES.values()}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and node.args and dotted(node.func).endswith(".parameters_of")):
            continue
        role = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
        if isinstance(role, str) and role not in own:
            yield subject.finding(
                "requires",
                f"it works on '{role}' of another plugin, but does not declare it: a method without such a plugin "
                "fails during the run",
                f'declare it: traits = Traits(works_on=("{role}",))',
                node.lineno,
            )


def _names_device(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return DEVICE.fullmatch(node.value) is not None
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "cuda"
