"""Values on the command line: literals of Python or YAML, and words without quotation marks."""

from __future__ import annotations

import ast
from typing import Any

YAML_WORDS = {"null": None, "true": True, "false": False}
"""YAML's words for Python's constants."""


def read_literal(node: ast.expr) -> Any:
    """The value of a literal; a text that is one word, or words joined by ``+``, needs no quotation marks.

    Args:
        node: A node of Python's syntax tree, which is changed.

    Raises:
        ValueError: If it is anything else.
    """
    return ast.literal_eval(_Words().visit(node))


class _Words(ast.NodeTransformer):
    """Replaces bare words by texts."""

    def visit_Name(self, node: ast.Name) -> ast.Constant:
        return ast.Constant(YAML_WORDS.get(node.id, node.id))

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        if all(isinstance(part, ast.BinOp | ast.Add | ast.Name | ast.Load) for part in ast.walk(node)):
            return ast.Constant(ast.unparse(node).replace(" ", ""))
        return node
