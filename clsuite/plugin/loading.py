"""Plugins without an entry point: a file (``./my_method.py``) or an importable class (``package.module:Class``)."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections.abc import Sequence
from importlib.metadata import packages_distributions, version
from pathlib import Path
from types import ModuleType

from clsuite import regular_files
from clsuite.config.paths import home_path, near_paths
from clsuite.errors import UserError
from clsuite.plugin.inheritance import plugin_classes
from clsuite.plugin.scopes import scope_of
from clsuite.plugin.source_hash import HashedSource, Home, hashed_source
from clsuite.plugin.source_loader import import_from_source
from clsuite.plugin.syntax_hash import parsed
from clsuite.regular_files import is_no_folder

LARGEST_FILE = 256 * 1024
"""Maximum bytes of a plugin's file; usual ones have up to ten thousand, and reading a million takes minutes."""
FILE = re.compile(r"(?P<path>.+\.py)(:(?P<name>\w+))?")
OF_A_FILE = "clsuite_file_"
"""Prefix of the names of plugin files in ``sys.modules``."""
IMPORTABLE = re.compile(r"[A-Za-z_][\w.]*:\w+")


def is_file(name: str) -> bool:
    """Whether a plugin is given as a file: ``my_method.py`` or ``my_method.py:Class``."""
    return FILE.fullmatch(name) is not None


def is_importable(name: str) -> bool:
    """Whether a plugin is given as ``package.module:Class``."""
    return IMPORTABLE.fullmatch(name) is not None and not is_file(name)


def short_name(name: str) -> str:
    """The name in records and tables: a file without its folders, since records contain no paths."""
    return re.split(r"[/\\]", name)[-1] if is_file(name) else name


def locate(name: str, folders: Sequence[Path]) -> tuple[str, str]:
    """Find the file of a plugin and its class.

    Args:
        name: ``PATH.py`` or ``PATH.py:Class``.
        folders: Folders in which a relative path is searched.

    Returns:
        ``PATH.py:Class`` with the absolute path, and the text of the file.

    Raises:
        UserError: If the file is in none of the folders, is not Python, or the class is ambiguous.
    """
    match = FILE.fullmatch(name)
    assert match is not None
    own = home_path(match["path"])
    tried = [folder / own for folder in folders]
    path = next((path.resolve() for path in tried if is_no_folder(path)), None)
    if path is None:
        places = list(dict.fromkeys(tried))
        near = next(filter(None, map(near_paths, places)), "")
        raise UserError(f"no plugin file at {' or '.join(repr(str(place)) for place in places)}.{near}".rstrip("."))
    return read_plugin_file(path, name)


def read_plugin_file(path: Path, name: str) -> tuple[str, str]:
    """Read the class and the text of a plugin's file.

    Args:
        path: The file, which may have any name.
        name: The plugin's name, which may contain the class: ``FILE.py`` or ``FILE.py:Class``.

    Returns:
        ``PATH.py:Class`` with the absolute path, and the text of the file.

    Raises:
        UserError: If the file cannot be read, is not Python, or the class is ambiguous.
    """
    match = FILE.fullmatch(name)
    assert match is not None
    try:
        regular_files.refuse_irregular(path)
        if (size := path.stat().st_size) > LARGEST_FILE:
            raise UserError(f"'{path}' is not a plugin: it has {size:,} bytes, more than {LARGEST_FILE:,}")
        text = regular_files.read_text(path)
        return f"{path}:{match['name'] or _only_class(text, name, path)}", text
    except OSError as error:
        raise UserError(f"cannot read the plugin '{path}': {error.strerror or error}", path=path) from error
    except UnicodeDecodeError as error:
        raise UserError(f"plugin '{name}' is not UTF-8 (byte {error.start}): save it in UTF-8") from error
    except SyntaxError as error:
        raise UserError(
            f"plugin '{name}' is not Python: SyntaxError in line {error.lineno}: {error.msg}",
            path=path,
            line=error.lineno,
        ) from error
    except (ValueError, RecursionError, MemoryError) as error:  # a null byte, deeply nested brackets
        raise UserError(f"plugin '{name}' is not Python: {error}") from error


def class_of(name: str, text: str) -> str:
    """Find the class of a plugin's file in the text of the file, without executing it.

    Raises:
        UserError: If the class is ambiguous.
        SyntaxError: If the text is not Python.
    """
    match = FILE.fullmatch(name)
    return (match and match["name"]) or _only_class(text, name, None)


def _only_class(text: str, name: str, path: Path | None) -> str:
    """The one class of a module that can be its plugin."""
    plugins = plugin_classes(scope_of(text, Home("", path) if path else None))
    if not plugins:
        raise UserError(f"plugin '{name}' has no class that derives from clsuite.plugin.Plugin")
    if len(plugins) > 1:
        raise UserError(f"plugin '{name}' has several classes ({', '.join(plugins)}): write '{name}:{plugins[0]}'")
    return plugins[0]


def file_distribution(target: str, text: str) -> str:
    """Name of the file, and its version if it has a line ``__version__ = "..."``."""
    found = re.search(r"^__version__\s*=\s*[\"']([^\"']+)[\"']", text, re.MULTILINE)
    name = Path(target.rpartition(":")[0]).name
    return f"{name} {found[1]}" if found else name


def module_distribution(target: str) -> str:
    """Name and version of the distribution of a module."""
    package = target.partition(":")[0].partition(".")[0]
    owners = packages_distributions().get(package)
    return f"{owners[0]} {version(owners[0])}" if owners else "unknown distribution"


def import_file(path: str, text: str | None = None, source: HashedSource | None = None) -> ModuleType:
    """Import a plugin's file; the same content is imported once.

    The hashed texts of the file and of each local module that it imports are executed: no file is read a second time,
    and compiled files are never used.

    Args:
        path: The file.
        text: Its content if it was read before; by default it is read now.
        source: Its hash and imports; by default they are determined now.

    Raises:
        UserError: If it cannot be read.
        SyntaxError: If it is not Python.
    """
    if text is None:
        text = read_text(Path(path))
    source = source or hashed_source(parsed(text), Home("", Path(path)))
    digest = hashlib.sha256(f"{source.sha256} {text}".encode("utf-8", "replace")).hexdigest()[:12]
    stem = re.sub(r"\W", "_", Path(path).stem)
    import_from_source(source)
    return run_text(f"{OF_A_FILE}{stem}_{digest}", path, text)


def is_of_file(module: str) -> bool:
    """Whether a module in ``sys.modules`` is a plugin's file, by its name."""
    return module.startswith(OF_A_FILE)


def read_text(path: Path) -> str:
    """Read a Python file.

    Raises:
        UserError: If it cannot be read.
    """
    try:
        return regular_files.read_text(path)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read '{path}': {getattr(error, 'strerror', None) or error}") from error


def run_text(name: str, path: str, text: str) -> ModuleType:
    """Execute a text as a module of the given name; a module that was executed before is returned as it is."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise UserError(f"'{path}' is not a Python file, which ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    import_from_source()
    try:
        exec(compile(text, path, "exec", dont_inherit=True), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module
