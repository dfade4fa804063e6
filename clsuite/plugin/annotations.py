"""Types from the text of an annotation, which is parsed and never executed: plugin files need not be trusted.

Supported are ``int``, ``float``, ``str``, ``bool``, ``None``, ``Any``, ``list``, ``tuple``, ``dict``, ``Mapping``,
``Sequence``, ``Optional``, ``Union``, ``Literal`` (with or without a module: ``typing.Optional``), ``|``, subscripts,
quoted annotations and the aliases of the file. Anything else is ``Any``: of `tuple[int, X]` the first is checked.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from types import GenericAlias, UnionType
from typing import Any, Literal, Union, get_args, get_origin

PLAIN: dict[str, Any] = {
    "Any": Any, "bool": bool, "dict": dict, "float": float, "int": int, "list": list, "str": str, "tuple": tuple,
    "Dict": dict, "List": list, "Tuple": tuple, "Mapping": Mapping, "Sequence": Sequence, "None": None,
}  # fmt: skip
"""Types that need no subscript, by name."""
OF_ONE = {"list": list, "List": list, "Sequence": Sequence}
OF_TWO = {"dict": dict, "Dict": dict, "Mapping": Mapping}
MODULES = ("typing", "t", "collections.abc", "abc", "builtins")
"""Modules that may precede the names above."""
WORDS: dict[Any, str] = {
    int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null",
    list: "a list", tuple: "a list", Sequence: "a list", dict: "a mapping", Mapping: "a mapping",
}  # fmt: skip
"""Names of types in messages."""
SEVERAL = (list, tuple, Sequence)
SEVERAL_WORDS = {"a whole number": "whole numbers", "a number": "numbers", "text": "texts"}
LONGEST, DEEPEST, MOST = 2000, 20, 500
"""Maximum characters, levels and parts of an annotation; beyond these it is `Any`."""


def read_annotation(text: str, aliases: Mapping[str, str]) -> Any:
    """Return the type of an annotation; unsupported parts are `Any`.

    Args:
        text: The text of the annotation.
        aliases: Names that the file gives to types, with the text of their definition.
    """
    return _Reader(aliases).of_text(text, DEEPEST)


def type_words(annotation: Any) -> str:
    """Describe a type in words; empty if there are none for it.

    Args:
        annotation: A type from `read_annotation`.

    Returns:
        For example ``a whole number or null``, ``one of reservoir, class_balanced, herding``.
    """
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return str(inner[0]) if len(inner) == 1 else f"one of {', '.join(map(str, inner))}"
    if origin in (Union, UnionType):
        parts = [type_words(one) for one in inner]
        return " or ".join(parts) if all(parts) else ""
    if origin in SEVERAL and len({*inner} - {...}) == 1 and type_words(inner[0]) in SEVERAL_WORDS:
        return f"a list of {SEVERAL_WORDS[type_words(inner[0])]}"
    return WORDS.get(origin or annotation, "")


@dataclass
class _Reader:
    """Reads an annotation and the aliases in it.

    Attributes:
        aliases: The text of the definition of each alias.
        left: Number of parts that may still be read: aliases of aliases could need more than the memory.
    """

    aliases: Mapping[str, str]
    left: int = MOST

    def of_text(self, text: str, levels: int) -> Any:
        if levels <= 0 or len(text) > LONGEST:
            return Any
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return Any
        return self.of_node(tree, levels)

    def of_node(self, node: ast.expr, levels: int) -> Any:
        self.left -= 1
        if levels <= 0 or self.left < 0:
            return Any
        if isinstance(node, ast.Constant):
            if node.value is None:
                return None
            return self.of_text(node.value, levels - 1) if isinstance(node.value, str) else Any
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            return self.union([node.left, node.right], levels)
        name = _name(node)
        if name in PLAIN:
            return PLAIN[name]
        if name in self.aliases and isinstance(node, ast.Name):
            return self.of_text(self.aliases[name], levels - 1)
        return self.of_subscript(node, levels) if isinstance(node, ast.Subscript) else Any

    def union(self, nodes: Sequence[ast.expr], levels: int) -> Any:
        found = [self.of_node(node, levels - 1) for node in nodes]
        return Any if any(one is Any for one in found) else reduce(or_, dict.fromkeys(found))

    def of_subscript(self, node: ast.Subscript, levels: int) -> Any:
        name = _name(node.value)
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if name == "Literal":
            return _literal(inner)
        if name == "Union":
            return self.union(inner, levels) if inner else Any
        if name == "Optional":
            return self.union([inner[0], ast.Constant(None)], levels) if len(inner) == 1 else Any
        if name in ("tuple", "Tuple"):
            return self.of_tuple(inner, levels)
        found = [self.of_node(one, levels - 1) for one in inner]
        if name in OF_ONE and len(found) == 1:
            return OF_ONE[name][found[0]]
        return OF_TWO[name][found[0], found[1]] if name in OF_TWO and len(found) == 2 else Any

    def of_tuple(self, nodes: Sequence[ast.expr], levels: int) -> Any:
        endless = len(nodes) == 2 and isinstance(nodes[1], ast.Constant) and nodes[1].value is Ellipsis
        found = [self.of_node(node, levels - 1) for node in (nodes[:1] if endless else nodes)]
        return GenericAlias(tuple, (found[0], ...) if endless else tuple(found)) if found else tuple


def _name(node: ast.expr) -> str:
    """The name without a known module before it; empty if the node is something else."""
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) and ast.unparse(node.value) in MODULES else ""


def _literal(nodes: Sequence[ast.expr]) -> Any:
    try:
        values = [ast.literal_eval(node) for node in nodes]
    except (TypeError, ValueError, RecursionError, MemoryError):
        return Any
    known = all(value is None or isinstance(value, bool | int | str | bytes) for value in values)
    return Literal[tuple(values)] if values and known else Any
