"""The hash of a syntax tree: independent of comments, docstrings and formatting."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

UNSAID = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
"""Fields that follow from others or change nothing: ``u"a"`` is ``"a"``."""
Piece = ast.AST | list[Any] | str | int | bytes | None


@lru_cache(maxsize=256)
def parsed(text: str) -> ast.Module:
    """The tree of a text, which must not be changed: the same text is parsed once.

    Raises:
        SyntaxError: If it is not Python.
        ValueError: If it holds a zero byte.
    """
    return ast.parse(text)


def tree_hash(tree: ast.AST) -> str:
    """sha256 of a tree without positions, comments and strings that stand alone (docstrings are such).

    It is the same for every version of Python: fields that are None or an empty list are left out, as are those that
    only some versions have where they say nothing, and the rest stands by name.
    """
    state = hashlib.sha256()
    todo: list[Any] = [tree]
    while todo:  # no recursion: a sum of a thousand terms is a tree of a thousand levels
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
    """The name of a node, and each of its fields after the field's name."""
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
    """A list without statements that are a string and nothing else."""
    return [piece for piece in pieces if not (isinstance(piece, ast.Expr) and _is_text(piece.value))]


def _is_text(node: Any) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_empty_text(node: Any) -> bool:
    """An f-string of nothing: the format of ``f"{x:}"``, which some versions have and some have not."""
    return isinstance(node, ast.JoinedStr) and not _joined(node.values)


def _joined(values: list[Any]) -> list[Any]:
    """The parts of an f-string, with texts that follow each other as one: versions part them otherwise."""
    parts: list[Any] = []
    for value in values:
        if _is_text(value) and parts and _is_text(parts[-1]):
            parts[-1] = ast.Constant(parts[-1].value + value.value)
        elif not (_is_text(value) and not value.value):
            parts.append(value)
    return parts


def _word(value: Any) -> bytes:
    """An identifier, a number that is no constant (the level of an import), or nothing, where its end is clear."""
    text = str(value).encode("utf-8", "surrogatepass")
    return b"%d:%s" % (len(text), text)


def _constant(value: Any) -> bytes:
    """A constant, each kind of its own: 1, 1.0 and True differ. Long whole numbers have no decimal text."""
    if isinstance(value, bytes):
        content = value
    elif isinstance(value, str):
        content = value.encode("utf-8", "surrogatepass")
    elif isinstance(value, int):
        content = hex(value).encode()
    else:
        content = repr(value).encode()
    return b"%s %d:%s" % (type(value).__name__.encode(), len(content), content)
