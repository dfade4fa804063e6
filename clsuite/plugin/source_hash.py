"""The hash of a plugin's source: its file and all files that decide what the plugin does. Imports nothing.

What counts, and how:

- the plugin's file and every local module that it imports, transitively and anywhere in the file (in functions too, by
  a relative name, through the ``__init__`` of a package, by ``import_module`` with a literal): by content, as
  `clsuite.plugin.syntax_hash` reads it. Local is what belongs to the plugin's own package, wherever that is installed,
  what lies in no ``site-packages`` (beside the plugin, in a folder of ``PYTHONPATH``, a working copy that is installed
  editable), and every reference method (``clsuite_plugins``) that the plugin builds on;
- other installed distributions: by name and version. A module that is not there counts as absent, for a plugin may do
  without it;
- not: clsuite itself, whose own changes of results raise ``RESULTS_VERSION``; Python; and what clsuite depends on
  (PyTorch, timm, NumPy, ...). Their versions are in each record's environment and not in any key, so that an update of
  PyTorch takes no row from a board: reruns show whether it moves counts;
- not, for it cannot be seen: data files that a plugin opens, and modules that it finds by a name that it computes.
"""

from __future__ import annotations

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

from clsuite.plugin.syntax_hash import tree_hash
from clsuite.records.canonical import sha256_of
from clsuite.regular_files import read_bytes

REFERENCE = "clsuite_plugins"
ABSENT = "absent"
FRAMEWORK = frozenset({
    "clsuite", "clsuite_benchmarks", "PIL", "avalanche", "jinja2", "jsonargparse", "lightning", "matplotlib", "numpy",
    "open_clip", "pydantic", "rich", "safetensors", "scipy", "sklearn", "timm", "torch", "torchmetrics", "torchvision",
    "yaml",
})  # fmt: skip
"""clsuite and its dependencies, by the names that they are imported by."""


@dataclass(frozen=True)
class Home:
    """Where a plugin's file is.

    Attributes:
        module: Its dotted name; empty for a file that belongs to no package.
        path: The file.
        is_package: Whether it is the ``__init__`` of a package.
    """

    module: str
    path: Path
    is_package: bool = False


@dataclass(frozen=True)
class LocalModule:
    """A module as it was read for the hash, so that nothing else of that name is run.

    Attributes:
        path: Its file.
        content: What the file holds.
    """

    path: str
    content: bytes | str = field(repr=False)


@dataclass(frozen=True)
class HashedSource:
    """The hash of a source, and what it was made from.

    Attributes:
        sha256: Hash of the file and of all that it imports.
        modules: The local Python modules among it, by their dotted names.
        absent: Names of modules that were not there.
    """

    sha256: str
    modules: Mapping[str, LocalModule] = field(repr=False)
    absent: frozenset[str]


class GivesHashed:
    """What finders are that give modules from memory: who looks for what is on the disk passes them over."""


def source_hash(tree: ast.Module, home: Home | None = None) -> str:
    """sha256 of a plugin's file and of all that it imports; see `hashed_source`."""
    return hashed_source(tree, home).sha256


def hashed_source(tree: ast.Module, home: Home | None = None) -> HashedSource:
    """Hash a plugin's file and all that it imports, and keep what was hashed.

    Args:
        tree: The parsed file.
        home: Where it is; without it relative imports lead nowhere.
    """
    found = _followed(tree, home)
    modules = {name: content for name, content in found.modules.items() if content}
    sha256 = sha256_of({"file": tree_hash(tree), "modules": modules, "distributions": found.distributions})
    absent = frozenset(name for name, content in modules.items() if content == ABSENT)
    return HashedSource(sha256, found.contents, absent)


def local_modules(tree: ast.Module, home: Home | None = None) -> list[str]:
    """The modules that a plugin's file imports and no installed package brings; see `source_hash`."""
    modules = _followed(tree, home).modules.items()
    return sorted(name for name, content in modules if content not in ("", ABSENT) and not is_reference(name))


def is_reference(name: str) -> bool:
    """Whether a module is of the reference methods."""
    return name.partition(".")[0] == REFERENCE


def _followed(tree: ast.Module, home: Home | None) -> _Imports:
    module = home.module if home else ""
    found = _Imports(module.partition(".")[0], home.path.parent if home and not module else None)
    if module:
        found.modules[module] = ""
        for read in found.add(module.rpartition(".")[0]):
            found.follow(*read)
    found.follow(tree, module, home.is_package if home else False)
    return found


@dataclass
class _Imports:
    """What has been found so far.

    Attributes:
        own: The plugin's own top-level package.
        folder: The folder of a plugin that is a file: modules are looked for there first, as Python does for a script,
            whatever the path of this process holds by now: other files may have added their folders to it.
        modules: The hash of each local module by its dotted name.
        contents: What was read of those that are Python files.
        distributions: The version of each installed distribution by its name.
    """

    own: str
    folder: Path | None
    modules: dict[str, str] = field(default_factory=dict)
    contents: dict[str, LocalModule] = field(default_factory=dict)
    distributions: dict[str, str] = field(default_factory=dict)

    def follow(self, tree: ast.Module, module: str, is_package: bool) -> None:
        """Add all that a module imports, and what those import in turn."""
        todo = [(tree, module, is_package)]
        while todo:
            tree, module, is_package = todo.pop()
            package = module if is_package else module.rpartition(".")[0]
            for name, parts in _imported(tree, package):
                found = self.add(name)
                for part in self._named_parts(parts, found):
                    found += self.add(f"{name}.{part}" if name else part, maybe=bool(name))
                todo += found

    def _named_parts(self, parts: list[str], found: list[_Read]) -> list[str]:
        """What a ``from`` import names; ``*`` stands for what the package's ``__all__`` names."""
        named = [part for part in parts if part != "*"]
        return named + (_all_of(found[-1][0]) if "*" in parts and found else [])

    def add(self, name: str, maybe: bool = False) -> list[_Read]:
        """Add a module and the packages around it; returns those that are new and are to be followed.

        Args:
            name: Its dotted name.
            maybe: Whether the name may be something else than a module; it is then no gap where there is none.
        """
        top = name.partition(".")[0]
        if not top or top in FRAMEWORK or (top in sys.stdlib_module_names and _is_of_python(top, tuple(sys.path))):
            return []
        parts = name.split(".")
        read: list[_Read] = []
        path: list[str] | None = None
        for length in range(1, len(parts) + 1):
            part = ".".join(parts[:length])
            spec = _find(part, path, self.folder if length == 1 else None)
            if length == 1 and not self._is_local(part, spec):
                self._add_distribution(part, spec)
                return []
            if spec is None:
                if not (maybe and length == len(parts)):
                    self.modules.setdefault(part, ABSENT)
                return read
            path = list(spec.submodule_search_locations or ())
            read += self._read(part, spec)
        return read

    def _is_local(self, top: str, spec: ModuleSpec | None) -> bool:
        if top in (self.own, REFERENCE) or spec is None:
            return True
        return not is_python(spec) and not is_installed(spec)

    def _add_distribution(self, top: str, spec: ModuleSpec | None) -> None:
        if spec is not None and not is_python(spec):
            name, number = _distribution_of(top)
            self.distributions[name] = number

    def _read(self, name: str, spec: ModuleSpec) -> list[_Read]:
        """Note the content of a module, and return it where it can be followed."""
        if name in self.modules or not spec.origin or not spec.has_location:
            return []  # seen already, or a folder without a file of its own
        try:
            content = read_bytes(spec.origin)
        except OSError:
            self.modules[name] = ABSENT
            return []
        if spec.origin.endswith(".py"):
            self.contents[name] = LocalModule(spec.origin, content)
        try:
            tree = ast.parse(content) if spec.origin.endswith(".py") else None
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            tree = None
        if tree is None:  # compiled, or no Python at all
            self.modules[name] = hashlib.sha256(content).hexdigest()
            return []
        self.modules[name] = tree_hash(tree)
        return [(tree, name, spec.submodule_search_locations is not None)]


_Read = tuple[ast.Module, str, bool]
"""A module that is read: its tree, its name, and whether it is a package."""


def _imported(tree: ast.Module, package: str) -> Iterator[tuple[str, list[str]]]:
    """The absolute name of each module that is imported, with the names that are taken from it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield absolute_name(node.module or "", node.level, package), [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and (name := _imported_by_call(node)):
            level = len(name) - len(name.lstrip("."))
            yield absolute_name(name[level:], level, package), []


def absolute_name(name: str, level: int, package: str) -> str:
    """The absolute name; of a file that belongs to no package, the modules beside it stand on top."""
    if not level:
        return name
    around = package.split(".") if package else []
    around = around[: max(0, len(around) - level + 1)]
    return ".".join([*around, *([name] if name else [])])


def _imported_by_call(node: ast.Call) -> str:
    """The literal name in ``import_module("name")`` or ``__import__("name")``; empty where it is another call."""
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if called not in ("import_module", "__import__") or not node.args:
        return ""
    first = node.args[0]
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""


def _all_of(tree: ast.Module) -> list[str]:
    """The literal names in the ``__all__`` of a module."""
    return [
        item.value
        for node in tree.body
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "__all__" for target in node.targets)
        for item in ast.walk(node.value)
        if isinstance(item, ast.Constant) and isinstance(item.value, str)
    ]


def find_module(name: str, folder: Path | None = None) -> ModuleSpec | None:
    """Find a module as ``import`` would, step by step, without importing it or the packages around it.

    Args:
        name: Its dotted name.
        folder: A folder that is looked into first, as for a plugin that is a file.
    """
    parts, spec = name.split("."), None
    path: list[str] | None = None
    for length in range(1, len(parts) + 1):
        spec = _find(".".join(parts[:length]), path, folder if length == 1 else None)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or ())
    return spec


def _find(name: str, path: list[str] | None, folder: Path | None) -> ModuleSpec | None:
    """Find a module as ``import`` would, without importing the packages around it."""
    beside = _find_in([str(folder)], name) if folder else None
    if beside is not None and beside.has_location:
        return beside
    return _find_in(path, name) or beside or _folder(name, path or [])  # mere folders come after modules


def _find_in(path: list[str] | None, name: str) -> ModuleSpec | None:
    for finder in sys.meta_path:
        if isinstance(finder, GivesHashed):
            continue
        try:
            spec = finder.find_spec(name, path)
        except Exception:  # a foreign finder, or a name that no module can have
            spec = None
        if spec is not None:
            return spec
    return None


def _folder(name: str, path: list[str]) -> ModuleSpec | None:
    """A folder without ``__init__`` within a package, which finders report only where that one is imported."""
    inner = [str(Path(place, name.rpartition(".")[2])) for place in path]
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = [place for place in inner if Path(place).is_dir()]
    return spec if spec.submodule_search_locations else None


@cache
def _is_of_python(top: str, path: tuple[str, ...]) -> bool:
    """Whether a name of the standard library leads there on this path, or to nothing, and not to another file."""
    spec = _find(top, None, None)
    return spec is None or is_python(spec)


@cache
def _python_folders() -> tuple[Path, ...]:
    return tuple({Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")})


def is_python(spec: ModuleSpec) -> bool:
    """Whether a module is of the standard library."""
    if spec.origin in ("built-in", "frozen"):
        return True
    folders = {folder for place in _places(spec) for folder in place.parents}
    return not is_installed(spec) and not folders.isdisjoint(_python_folders())


def is_installed(spec: ModuleSpec) -> bool:
    """Whether a module lies where package managers put them."""
    return any({"site-packages", "dist-packages"} & set(place.parts) for place in _places(spec))


def _places(spec: ModuleSpec) -> list[Path]:
    """Where a module lies: its file, or the folders of a package without one."""
    if spec.origin and spec.has_location:
        return [Path(spec.origin).resolve()]
    return [Path(place).resolve() for place in spec.submodule_search_locations or ()]


def _distribution_of(top: str) -> tuple[str, str]:
    """Name and version of the distribution that brings a module; the module's own name where none says so."""
    name = next(iter(_owners().get(top, ())), top)
    try:
        return name, version(name)
    except PackageNotFoundError:
        return name, "unknown"


@cache
def _owners() -> dict[str, list[str]]:
    return {top: sorted(set(names)) for top, names in packages_distributions().items()}
