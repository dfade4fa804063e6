"""The hash of a plugin's source: its file and all files that its behavior depends on. Imports nothing.

It includes:

- the content (`clsuite.plugin.syntax_hash`) of the plugin's file and of each local module that it imports,
  transitively and anywhere in the file (also in functions, by a relative name, through the ``__init__`` of a package,
  by ``import_module`` or ``__import__`` with literals). Local modules are those of the plugin's own package, wherever
  it is installed, those outside ``site-packages`` (beside the plugin, in a folder of ``PYTHONPATH``, in an editable
  install), and each reference method (``clsuite_plugins``) that the plugin uses;
- the names and versions of other installed distributions. A module that is not found counts as absent, since a plugin
  may work without it.

It does not include:

- clsuite itself, whose changes of results raise ``RESULTS_VERSION``, Python, and the dependencies of clsuite (PyTorch,
  timm, NumPy, ...). Their versions are in each record's environment and not in any key, so that an update of PyTorch
  removes no row from a leaderboard: reruns show whether it changes counts;
- data files that a plugin opens, and modules with computed names, which cannot be determined.
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
"""Import names of clsuite and its dependencies."""


@dataclass(frozen=True)
class Home:
    """The location of a plugin's file.

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
    """A module as it was read for the hash, so that nothing else of that name is executed.

    Attributes:
        path: Its file.
        content: The content of the file.
    """

    path: str
    content: bytes | str = field(repr=False)


@dataclass(frozen=True)
class HashedSource:
    """The hash of a source, and the modules that it covers.

    Attributes:
        sha256: Hash of the file and its imports.
        modules: The local Python modules, by dotted name.
        absent: Names of modules that were not found.
    """

    sha256: str
    modules: Mapping[str, LocalModule] = field(repr=False)
    absent: frozenset[str]


class GivesHashed:
    """Base class of finders that return modules from memory, which are skipped when files on disk are searched."""


def source_hash(tree: ast.Module, home: Home | None = None) -> str:
    """SHA-256 of a plugin's file and its imports; see `hashed_source`."""
    return hashed_source(tree, home).sha256


def hashed_source(tree: ast.Module, home: Home | None = None) -> HashedSource:
    """Hash a plugin's file and its imports, and keep the hashed content.

    Args:
        tree: The parsed file.
        home: Its location; without it, relative imports are not found.
    """
    found = _followed(tree, home)
    modules = {name: content for name, content in found.modules.items() if content}
    sha256 = sha256_of({"file": tree_hash(tree), "modules": modules, "distributions": found.distributions})
    absent = frozenset(name for name, content in modules.items() if content == ABSENT)
    return HashedSource(sha256, found.contents, absent)


def local_modules(tree: ast.Module, home: Home | None = None) -> list[str]:
    """The imported modules of a plugin's file that belong to no installed package; see `source_hash`."""
    modules = _followed(tree, home).modules.items()
    return sorted(name for name, content in modules if content not in ("", ABSENT) and not is_reference(name))


def is_reference(name: str) -> bool:
    """Whether a module belongs to the reference methods."""
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
    """The imports that were found so far.

    Attributes:
        own: The plugin's own top-level package.
        folder: The folder of a plugin that is a file. It is searched first, as for a script, independently of this
            process's path, to which other files may have added their folders.
        modules: The hash of each local module, by dotted name.
        contents: The content of those that are Python files.
        distributions: The version of each installed distribution, by name.
        trees: The parsed modules.
    """

    own: str
    folder: Path | None
    modules: dict[str, str] = field(default_factory=dict)
    contents: dict[str, LocalModule] = field(default_factory=dict)
    distributions: dict[str, str] = field(default_factory=dict)
    trees: dict[str, ast.Module] = field(default_factory=dict)

    def follow(self, tree: ast.Module, module: str, is_package: bool) -> None:
        """Add the imports of a module, and their imports in turn."""
        todo = [(tree, module, is_package)]
        while todo:
            tree, module, is_package = todo.pop()
            self.trees[module] = tree
            package = module if is_package else module.rpartition(".")[0]
            for name, parts in _imported(tree, package):
                found = self.add(name)
                for part in self._named_parts(name, parts):
                    found += self.add(f"{name}.{part}" if name else part, maybe=bool(name))
                todo += found

    def _named_parts(self, name: str, parts: list[str]) -> list[str]:
        """The names in a ``from`` import, with ``*`` replaced by the package's ``__all__``."""
        tree = self.trees.get(name) if "*" in parts else None
        return [part for part in parts if part != "*"] + (_all_of(tree) if tree else [])

    def add(self, name: str, maybe: bool = False) -> list[_Read]:
        """Add a module and its parent packages; returns new ones that must be followed.

        Args:
            name: Its dotted name.
            maybe: Whether the name may be something else than a module; it does not count as absent then.
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
        """Record the content of a module, and return it if it can be followed."""
        if name in self.modules or not spec.origin or not spec.has_location:
            return []  # seen already, or a namespace package
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
        if tree is None:  # compiled, or not Python
            self.modules[name] = hashlib.sha256(content).hexdigest()
            return []
        self.modules[name], self.trees[name] = tree_hash(tree), tree
        return [(tree, name, spec.submodule_search_locations is not None)]


_Read = tuple[ast.Module, str, bool]
"""A module that was read: its tree, its name, and whether it is a package."""


def _imported(tree: ast.Module, package: str) -> Iterator[tuple[str, list[str]]]:
    """The absolute name of each imported module, with the names that are imported from it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield absolute_name(node.module or "", node.level, package), [alias.name for alias in node.names]
        elif isinstance(node, ast.Call):
            yield from _imported_by_call(node, package)


def absolute_name(name: str, level: int, package: str) -> str:
    """The absolute name of an import; modules beside a file that belongs to no package are top-level modules."""
    if not level:
        return name
    around = package.split(".") if package else []
    around = around[: max(0, len(around) - level + 1)]
    return ".".join([*around, *([name] if name else [])])


IMPORTING = {"import_module": ("name", "package"), "__import__": ("name", "globals", "locals", "fromlist", "level")}
"""Functions that import a module, with their arguments."""


def _imported_by_call(node: ast.Call, package: str) -> Iterator[tuple[str, list[str]]]:
    """The module in ``import_module("name")`` or ``__import__("name")``, if the name is a literal."""
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    given = dict(zip(IMPORTING.get(called, ()), node.args, strict=False))
    given |= {word.arg: word.value for word in node.keywords if word.arg}
    name, level = _literal(given.get("name")), _literal(given.get("level"))
    if called not in IMPORTING or not isinstance(name, str) or not name:
        return
    if called == "import_module":
        around, level = _literal(given.get("package")), len(name) - len(name.lstrip("."))
        package = around if isinstance(around, str) else package  # otherwise usually __package__ or __name__
        name = name[level:]
    parts = _literal(given.get("fromlist"))
    named = [part for part in parts if isinstance(part, str)] if isinstance(parts, list | tuple) else []
    yield absolute_name(name, level if isinstance(level, int) else 0, package), named


def _literal(node: ast.expr | None) -> object:
    """The value of a literal; None for other expressions."""
    try:
        return ast.literal_eval(node) if node is not None else None
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _all_of(tree: ast.Module) -> list[str]:
    """The literal names in the ``__all__`` of a module, also those that are added to it."""
    return [
        item.value
        for node in ast.walk(tree)
        for given in _added_to_all(node)
        for item in ast.walk(given)
        if isinstance(item, ast.Constant) and isinstance(item.value, str)
    ]


def _added_to_all(node: ast.AST) -> list[ast.expr]:
    """What a statement assigns or adds to ``__all__``."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        targets, given = [node.func.value], node.args
    elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        given = [node.value] if node.value is not None else []
    else:
        return []
    return given if any(getattr(target, "id", "") == "__all__" for target in targets) else []


def find_module(name: str, folder: Path | None = None) -> ModuleSpec | None:
    """Find a module as ``import`` would, step by step, without importing it or the packages around it.

    Args:
        name: Its dotted name.
        folder: A folder that is searched first, as for a plugin that is a file.
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
    """Find a module as ``import`` does, without importing its parent packages."""
    beside = _find_in([str(folder)], name) if folder else None
    if beside is not None and beside.has_location:
        return beside
    return _find_in(path, name) or beside or _folder(name, path or [])  # plain folders come after modules


def _find_in(path: list[str] | None, name: str) -> ModuleSpec | None:
    for finder in sys.meta_path:
        if isinstance(finder, GivesHashed):
            continue
        try:
            spec = finder.find_spec(name, path)
        except Exception:  # a foreign finder may raise any error, as may an impossible name
            spec = None
        if spec is not None:
            return spec
    return None


def _folder(name: str, path: list[str]) -> ModuleSpec | None:
    """A folder without ``__init__`` in a package, which finders report only if the package is imported."""
    inner = [str(Path(place, name.rpartition(".")[2])) for place in path]
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = [place for place in inner if Path(place).is_dir()]
    return spec if spec.submodule_search_locations else None


@cache
def _is_of_python(top: str, path: tuple[str, ...]) -> bool:
    """Whether a standard library name is found in the standard library, or not at all, on this path."""
    spec = _find(top, None, None)
    return spec is None or is_python(spec)


@cache
def _python_folders() -> tuple[Path, ...]:
    return tuple({Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")})


def is_python(spec: ModuleSpec) -> bool:
    """Whether a module belongs to the standard library."""
    if spec.origin in ("built-in", "frozen"):
        return True
    folders = {folder for place in _places(spec) for folder in place.parents}
    return not is_installed(spec) and not folders.isdisjoint(_python_folders())


def is_installed(spec: ModuleSpec) -> bool:
    """Whether a module is in a folder of a package manager."""
    return any({"site-packages", "dist-packages"} & set(place.parts) for place in _places(spec))


def _places(spec: ModuleSpec) -> list[Path]:
    """The file of a module, or the folders of a namespace package."""
    if spec.origin and spec.has_location:
        return [Path(spec.origin).resolve()]
    return [Path(place).resolve() for place in spec.submodule_search_locations or ()]


def _distribution_of(top: str) -> tuple[str, str]:
    """Name and version of the distribution of a module; the module's own name if none declares it."""
    name = next(iter(_owners().get(top, ())), top)
    try:
        return name, version(name)
    except PackageNotFoundError:
        return name, "unknown"


@cache
def _owners() -> dict[str, list[str]]:
    return {top: sorted(set(names)) for top, names in packages_distributions().items()}
