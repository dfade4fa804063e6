"""The hash of a syntax tree: independent of comments, docstrings and formatting."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

UNSAID = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
"""Fields that depend on others or have no effect: ``u"a"`` is ``"a"``."""
Piece = ast.AST | list[Any] | str | int | bytes | None


@lru_cache(maxsize=256)
def parsed(text: str) -> ast.Module:
    """Parse a text; the tree is cached and must not be changed.

    Raises:
        SyntaxError: If the text is not Python.
        ValueError: If it contains a null byte.
    """
    return ast.parse(text)


def tree_hash(tree: ast.AST) -> str:
    """SHA-256 of a tree without positions, comments and expression statements that are strings, such as docstrings.

    It is the same for all versions of Python: fields that are None or empty lists are left out, including those that
    only some versions have, and the others are hashed with their names.
    """
    state = hashlib.sha256()
    todo: list[Any] = [tree]
    while todo:  # not recursive: a sum of a thousand terms is a tree of a thousand levels
        piece = todo.pop()
        if isinstance(piece, ast.AST):
            todo.append(b")")
            todo += reversed(list(_parts(piece)))
        elif isinstance(piece, list):
            todo.append(b"]")
            todo += reversed(piece)
            state.update(b"[")
        else:
            state.update(piece if isinstance(piece, bytes) else _word(piece))
    return state.hexdigest()


def _parts(node: ast.AST) -> Iterator[Any]:
    """The name of a node, then each field's name and value."""
    yield _word(type(node).__name__) + b"("
    if isinstance(node, ast.Constant):
        yield _constant(node.value)
        return
    if isinstance(node, ast.JoinedStr):
        yield _joined(node.values)
        return
    for name in sorted(node._fields):
        value = getattr(node, name, None)
        value = _statements(value) if isinstance(value, list) else value
        if name not in UNSAID and value is not None and value != [] and not _is_empty_text(value):
            yield name.encode() + b"="
            yield value


def _statements(pieces: list[Any]) -> list[Any]:
    """A list without statements that consist of a string."""
    return [piece for piece in pieces if not (isinstance(piece, ast.Expr) and _is_text(piece.value))]


def _is_text(node: Any) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_empty_text(node: Any) -> bool:
    """Whether a node is an empty f-string: the format of ``f"{x:}"``, which only some versions have."""
    return isinstance(node, ast.JoinedStr) and not _joined(node.values)


def _joined(values: list[Any]) -> list[Any]:
    """The parts of an f-string, with adjacent texts joined, since versions split them differently."""
    parts: list[Any] = []
    for value in values:
        if _is_text(value) and parts and _is_text(parts[-1]):
            parts[-1] = ast.Constant(parts[-1].value + value.value)
        elif not (_is_text(value) and not value.value):
            parts.append(value)
    return parts


def _word(value: Any) -> bytes:
    """The bytes of an identifier, a number outside constants (the level of an import) or None, with its length."""
    text = str(value).encode("utf-8", "surrogatepass")
    return b"%d:%s" % (len(text), text)


def _constant(value: Any) -> bytes:
    """The bytes of a constant with its type: 1, 1.0 and True differ. Integers are hexadecimal: they may be long."""
    if isinstance(value, bytes):
        content = value
    elif isinstance(value, str):
        content = value.encode("utf-8", "surrogatepass")
    elif isinstance(value, int):
        content = hex(value).encode()
    else:
        content = repr(value).encode()
    return b"%s %d:%s" % (type(value).__name__.encode(), len(content), content)
