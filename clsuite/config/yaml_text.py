"""Reads YAML safely from files that may contain anything: exponential aliases, thousands of levels, foreign tags."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError
from yaml.events import AliasEvent

from clsuite.config.paths import near_paths
from clsuite.errors import UserError, printable, shortened
from clsuite.regular_files import read_bytes, refuse_irregular

LARGEST_FILE = 256 * 1024
"""Largest size in bytes. The largest benchmark has some thousands, and reading more takes longer than a second."""
DEEPEST = 50
"""Largest number of levels; a benchmark has about six."""
LARGEST_CONTENT = 50_000
"""Largest number of values, with those that aliases repeat."""
NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+")
"""Numbers with an exponent as in YAML 1.2; YAML 1.1 requires a dot and a sign."""
HALF = re.compile(r"[\ud800-\udfff]")
"""An unpaired surrogate, which escapes can produce and no file can contain."""
YAML_TAG = "tag:yaml.org,2002:"


def read_yaml(path: Path) -> tuple[yaml.Node | None, Any]:
    """Read a YAML file; no code in it is executed, and reading takes less than a second.

    Returns:
        Its nodes, which know their lines, and its content; None and None for an empty file. The content is made from a
        copy of the nodes, because merging changes them.

    Raises:
        UserError: If it cannot be read, or is not YAML; names the line.
    """
    return _parsed(_text(path), str(path), lines=True)


def read_value(text: str, where: str) -> Any:
    """Read a value as it would be read from a YAML file.

    Args:
        text: The value as written.
        where: Name of the value in messages.

    Raises:
        UserError: If it is not YAML.
    """
    return _parsed(text, where, lines=False)[1]


def _parsed(text: str, where: str, lines: bool) -> tuple[yaml.Node | None, Any]:
    """Nodes and content of a text; errors name the line if the text is a file."""

    def at(line: int) -> str:
        return f"{where}:{line}" if lines else where

    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return node, None if node is None else loader.construct_document(_copied(node, {}))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UserError(f"{at(line)}: not YAML: the character {chr(int(error.character))!a} is not allowed") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        about = ", ".join(part for part in (error.context, error.problem) if part)
        raise UserError(f"{at(line)}: not YAML: {printable(about)}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{where}: not YAML: {printable(str(error))}") from error
    except (ValueError, OverflowError) as error:  # an escape such as \U00110000, which PyYAML takes for a character
        raise UserError(f"{at(loader.line + 1)}: not YAML: {shortened(str(error))}") from error


def _copied(node: yaml.Node, known: dict[int, yaml.Node]) -> yaml.Node:
    """A copy of a node and all nodes in it; it shares the marks, which a copy of everything would mostly consist of.

    Args:
        node: The node; none refers to itself.
        known: The copies so far, by the identity of their originals: what aliases repeat stays one node.
    """
    if id(node) in known:
        return known[id(node)]
    value: Any = node.value
    if isinstance(node, yaml.SequenceNode):
        value = [_copied(one, known) for one in node.value]
    elif isinstance(node, yaml.MappingNode):
        value = [(_copied(key, known), _copied(one, known)) for key, one in node.value]
    made = type(node)(node.tag, value, node.start_mark, node.end_mark)
    known[id(node)] = made
    return made


def write_yaml(content: Any) -> str:
    """Write content as YAML that `read_yaml` reads as the same.

    Raises:
        UserError: If it has a value that YAML cannot represent.
    """
    try:
        text: str = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    except yaml.representer.RepresenterError as error:
        raise UserError(f"cannot be written as YAML: {printable(str(error))}") from error
    return text


def _text(path: Path) -> str:
    try:
        refuse_irregular(path)
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise UserError(f"'{path}' is not a benchmark or recipe: it has {size:,} bytes, which is too long")
        content = read_bytes(path)
    except (OSError, ValueError) as error:
        near = f".{near_paths(path)}".rstrip(".") if isinstance(error, FileNotFoundError) else ""
        raise UserError(f"cannot read '{path}': {getattr(error, 'strerror', None) or error}{near}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: not UTF-8 (byte {error.start} of the file): save it in UTF-8") from error


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with limits, the numbers of YAML 1.2, and its own error messages."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._open: list[yaml.Node | None] = []
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node and everything in it."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        mark: Any = event.start_mark
        if isinstance(event, AliasEvent):
            node = super().compose_node(parent, index)
            if any(node is other for other in (parent, *self._open)):
                raise ComposerError(None, None, f"'*{event.anchor}' refers to itself", mark)
            return self._counted(node, parent, mark)
        if len(self._open) > DEEPEST:
            raise ComposerError(None, None, f"it is nested more than {DEEPEST} levels deep", mark)
        self._open.append(parent)
        node = super().compose_node(parent, index)
        self._open.pop()
        return self._counted(node, parent, mark)

    def _counted(self, node: yaml.Node | None, parent: yaml.Node | None, mark: Any) -> yaml.Node | None:
        """Add the size of a node, including what its aliases repeat, to the size of the node that contains it."""
        size = self._sizes.get(id(node), 0) + 1
        self._sizes[id(parent)] = self._sizes.get(id(parent), 0) + size
        if self._sizes[id(parent)] > LARGEST_CONTENT:
            raise ComposerError(None, None, f"it has more than {LARGEST_CONTENT:,} values, aliases followed", mark)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Make the value of a node."""
        try:
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception as error:  # what PyYAML's makers of tagged values raise on others than they expect
            tag = str(node.tag).replace(YAML_TAG, "!!")
            value = f"'{shortened(node.value)}' is" if isinstance(node, yaml.ScalarNode) else "this is"
            raise ConstructorError(None, None, f"{value} no {tag}", node.start_mark) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Make the mapping of a node."""
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode):
                kind = "mapping" if isinstance(key, yaml.MappingNode) else "list"
                raise ConstructorError(None, None, f"a key is a {kind}, but must be text", key.start_mark)
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        """Make the value of a text, a number, ..."""
        value = super().construct_scalar(node)
        if isinstance(value, str) and (half := HALF.search(value)):
            problem = f"'{shortened(value)}' holds {half[0]!a}, half of a character"
            raise ConstructorError(None, None, problem, node.start_mark)
        return value

    def _unknown_tag(self, node: yaml.Node) -> Any:
        tag = str(node.tag).replace(YAML_TAG, "!!")
        raise ConstructorError(None, None, f"the tag '{tag}' is not known here", node.start_mark)


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which quotes what our loader would read as a number, and writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """Whether a value is written out at each occurrence."""
        return True


for _one in (_Loader, _Dumper):
    _one.add_implicit_resolver(f"{YAML_TAG}float", re.compile(rf"^(?:{NUMBER.pattern})$"), list("-+.0123456789"))
_Loader.add_constructor(None, _Loader._unknown_tag)
