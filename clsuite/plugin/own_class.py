"""User-defined classes in a benchmark: found and hashed without executing them, and imported where they are used.

They are named like plugins (`clsuite.plugin.loading`): ``package.module:Class``, ``file.py:Class``, or the name of an
entry point. The hashed text is what is imported. A record names them too, but does not cause an import by itself:
files are searched in the folders that the caller gives, packages must be installed, and both must have the hash in the
record (docs/security.md).
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from clsuite.config.class_use import GROUPS, ClassUse, offered
from clsuite.config.paths import home_path
from clsuite.errors import UserError, did_you_mean, is_foreign, printable, shortened, words_of
from clsuite.plugin import loading
from clsuite.plugin.base_check import module_scope, wrong_base
from clsuite.plugin.catalog import BrokenPluginError
from clsuite.plugin.recorded_plugin import NAME_FOLDER, plain_name, refuse_not_installed
from clsuite.plugin.scopes import Scope, read_scope
from clsuite.plugin.source_hash import FRAMEWORK, HashedSource, Home, find_module, hashed_source
from clsuite.plugin.source_loader import import_from_source
from clsuite.regular_files import is_no_folder

Files = Mapping[str, str]
"""The files of classes, by the hash of their source."""
WORDS = {"dataset": "data set", "scenario": "scenario", "probe": "probe", "optimizer": "optimizer",
         "schedule": "schedule", "backbone": "backbone"}  # fmt: skip
OF_TORCH = ("optimizer", "schedule")
"""Parts whose class may belong to PyTorch or another dependency of clsuite; the source of these is in no key."""
Kind = TypeVar("Kind")
Answer = TypeVar("Answer")


class Found(NamedTuple):
    """A class that was found and not imported.

    Attributes:
        use: The class in the form of a record: a file without its folders, with its source.
        path: Its file, if it is named by one.
    """

    use: ClassUse
    path: Path | None = None

    @property
    def files(self) -> dict[str, str]:
        """Its file, by its source."""
        return {self.use.source or "": str(self.path)} if self.path else {}


def find_class(use: ClassUse, part: str, folders: Sequence[Path]) -> Found:
    """Find a class that a benchmark names.

    Args:
        use: The class in the benchmark.
        part: The part of the benchmark: a key of `WORDS`.
        folders: Folders in which a file is searched.

    Raises:
        UserError: If there is no such file, module or class, its source differs from that in the benchmark, or it does
            not have the base class that the part needs.
    """
    if not loading.is_file(use.name):
        target = _target(use.name, part)
        bound = _stated(use, part, _hash(_module_source(target, part)))
        _check_base(module_scope(target.rpartition(":")[0]), use.name, target, part)
        return Found(bound)
    match = _file_match(use.name, part)
    tried = [folder / home_path(match) for folder in folders]
    path = next((one.resolve() for one in tried if is_no_folder(one)), None)
    if path is None:
        where = " or ".join(repr(str(one)) for one in dict.fromkeys(tried))
        raise UserError(f"{WORDS[part]} '{use.name}': no file at {where}")
    short = use.model_copy(update={"name": loading.short_name(use.name)})
    bound = _stated(short, part, _file_source(path, use.name, part).sha256)
    _check_base(read_scope(Home("", path), path.parent), use.name, use.name, part)
    return Found(bound, path)


def _check_base(scope: Scope | None, name: str, target: str, part: str) -> None:
    """Refuse a class whose source shows that it has the wrong base class.

    Args:
        scope: The names of its module, if it can be read.
        name: The name in the benchmark.
        target: The name with the class after its last colon.
        part: The part of the benchmark.
    """
    if scope is not None and (reason := wrong_base(scope, target.rpartition(":")[2], part)):
        raise UserError(f"{WORDS[part]} '{name}' {reason}")


def recorded_class(
    use: ClassUse, part: str, folders: Sequence[Path], published: Sequence[Path] = (), absent: str = NAME_FOLDER
) -> Found:
    """Find a class that a record names, which need not be trusted. Nothing is imported.

    Args:
        use: The class in the record.
        part: The part of the benchmark.
        folders: Folders in which the caller allows files to be found and executed.
        published: Files that belong to the record, with any name.
        absent: What the user can do if there is no such file.

    Raises:
        UserError: If it is not found, is not installed, or its source differs from that in the record.
    """
    what = f"{WORDS[part]} '{printable(use.name[:200])}'"
    if use.source is None:
        raise UserError(f"the record does not know the source of its {what}: run the benchmark again")
    if loading.is_file(use.name):
        return _recorded_file(use, part, folders, published, absent)
    target = _target(use.name, part)
    owner = offered(part).get(use.name, ("", ""))[1].rpartition(" ")[0]
    refuse_not_installed(target, [owner] if owner else ())
    if _hash(_module_source(target, part)) != use.source:
        raise UserError(
            f"the {what} has changed since the run (source {use.source[:12]}): restore that version, or run the "
            "benchmark again"
        )
    return Found(use)


def _recorded_file(use: ClassUse, part: str, folders: Sequence[Path], published: Sequence[Path], absent: str) -> Found:
    match = loading.FILE.fullmatch(use.name)
    assert match is not None
    file = plain_name(match["path"], f"{WORDS[part]}'s file")
    if match["name"] is None:
        raise UserError(f"the record names only the file '{file}' of its {WORDS[part]} and no class: it is not valid")
    there = [path for path in (*(folder / file for folder in folders), *published) if path.is_file()]
    for path in there:
        try:
            if _file_source(path.resolve(), use.name, part).sha256 == use.source:
                return Found(use, path.resolve())
        except UserError:
            continue
    if not there:
        raise UserError(f"the {WORDS[part]} comes from the file '{file}', whose code would run: {absent}")
    raise UserError(
        f"the file '{there[0]}' is not the one that the run was made with (source {str(use.source)[:12]}): restore "
        "that version, or run the benchmark again"
    )


def import_class(use: ClassUse, part: str, files: Files, base: type[Kind]) -> type[Kind]:
    """Import a class whose source is known; its module is executed.

    Args:
        use: The class, with its source.
        part: The part of the benchmark.
        files: The files of classes.
        base: The required base class.

    Raises:
        BrokenPluginError: If its module raises an error.
        UserError: If its source has changed since planning, it does not exist, or has the wrong base class.
    """
    what = f"{WORDS[part]} '{use.name}'"
    try:
        module = _import_file(use, part, files) if loading.is_file(use.name) else _import_module(use, part)
    except UserError:
        raise
    except BaseException as error:  # a foreign module may raise any error on import
        if not is_foreign(error):
            raise
        raise BrokenPluginError(f"{what} fails to import: {words_of(error)}") from error
    name = _target(use.name, part).rpartition(":")[2]
    loaded = getattr(module, name, None)
    if loaded is None:
        classes = [one for one, value in vars(module).items() if isinstance(value, type)]
        raise did_you_mean(f"class of {what}:", name, classes)
    if not (isinstance(loaded, type) and issubclass(loaded, base)):
        raise UserError(f"{what} is not a subclass of {_public(base)}")
    return loaded


def make_own(use: ClassUse, part: str, files: Files, base: type[Kind], *first: Any) -> Kind:
    """Import a class and create an instance with the benchmark's arguments.

    Args:
        use: The class, with its source.
        part: The part of the benchmark.
        files: The files of classes.
        base: The required base class.
        first: Positional arguments before the benchmark's arguments.

    Raises:
        BrokenPluginError: If its module or its constructor raises an error.
        UserError: As for `import_class`, or if the constructor does not accept the arguments.
    """
    loaded = import_class(use, part, files, base)
    what = f"{WORDS[part]} '{use.name}'"
    try:
        inspect.signature(loaded).bind(*first, **use.args)
    except TypeError as error:
        raise UserError(f"{what} does not accept its arguments: {error}") from error
    except ValueError:
        pass  # a constructor without a signature
    return called(what, lambda: loaded(*first, **use.args))


def called(what: str, call: Callable[[], Answer]) -> Answer:
    """Call user code; any error that it raises is reported with the line of its file.

    Args:
        what: Name of the called object, for the message.
        call: Calls it.

    Raises:
        BrokenPluginError: If it raises anything but a `UserError`; the cause has the traceback.
    """
    try:
        return call()
    except UserError:
        raise
    except BaseException as error:  # a foreign class may raise any error
        if not is_foreign(error):
            raise
        raise BrokenPluginError(f"{what} ends{_line_of(error)} with {words_of(error)}") from error


def _frames(error: BaseException) -> Iterator[tuple[str, int]]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next


def _line_of(error: BaseException) -> str:
    """The last line in the traceback that is not in a file of clsuite."""
    package = str(Path(__file__).parents[1])
    lines = [(file, line) for file, line in _frames(error) if not file.startswith((package, "<"))]
    return f" in line {lines[-1][1]} of '{Path(lines[-1][0]).name}'" if lines else ""


def _public(base: type[Any]) -> str:
    return f"{base.__module__}.{base.__qualname__}".replace("torch.nn.modules.module.", "torch.nn.").replace(
        "torch.optim.optimizer.", "torch.optim."
    )


def _target(name: str, part: str) -> str:
    """The ``package.module:Class`` or the file of a name.

    Raises:
        UserError: If the name is neither of these nor that of an entry point.
    """
    if loading.is_file(name) or loading.is_importable(name):
        return name
    known = offered(part)
    if name in known:
        return known[name][0]
    hint = f"write package.module:Class or file.py:Class{', or a name of the group ' + GROUPS[part] if known else ''}"
    raise UserError(f"unknown class of the {WORDS[part]}: '{shortened(name)}'. {hint}")


def _stated(use: ClassUse, part: str, source: str) -> ClassUse:
    if use.source not in (None, source):
        raise UserError(f"the {WORDS[part]} '{use.name}' does not match its 'source'")
    return use.model_copy(update={"source": source})


def _file_match(name: str, part: str) -> str:
    """The path in ``path.py:Class``.

    Raises:
        UserError: If the class is not named.
    """
    match = loading.FILE.fullmatch(name)
    assert match is not None
    if match["name"] is None:
        raise UserError(f"{WORDS[part]} '{name}': name the class of the file too, as in {name}:MyClass")
    return match["path"]


def _file_source(path: Path, name: str, part: str) -> HashedSource:
    """The hash of a file that has the class; the file is not executed."""
    tree = _parsed(loading.read_text(path), f"{WORDS[part]} '{name}'")
    _has_class(tree, name.rpartition(":")[2], f"{WORDS[part]} '{name}'")
    return hashed_source(tree, Home("", path))


def _hash(source: HashedSource | None) -> str:
    return source.sha256 if source else ""


def _module_source(target: str, part: str) -> HashedSource | None:
    """The hash of a module's file; None for a dependency of clsuite, if the part may belong to one."""
    module, what = target.rpartition(":")[0], f"{WORDS[part]} '{target}'"
    spec = find_module(module)
    if spec is None or not spec.origin or not spec.has_location or not spec.origin.endswith(".py"):
        raise UserError(f"{what}: no module named '{module}' is installed that has a Python file")
    if part in OF_TORCH and _is_framework(target):
        return None
    home = Home(module, Path(spec.origin), spec.submodule_search_locations is not None)
    return hashed_source(_parsed(loading.read_text(home.path), what), home)


def _is_framework(target: str) -> bool:
    return target.partition(":")[0].partition(".")[0] in FRAMEWORK


def _parsed(text: str, what: str) -> ast.Module:
    try:
        return ast.parse(text)
    except SyntaxError as error:
        raise UserError(f"{what} is not Python: SyntaxError in line {error.lineno}: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{what} is not Python: {error}") from error


def _has_class(tree: ast.Module, name: str, what: str) -> None:
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    given = {name for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom) for name in _names_of(node)}
    if name not in classes and name not in given:
        raise did_you_mean(f"class of {what}:", name, classes)


def _names_of(node: ast.Import | ast.ImportFrom) -> list[str]:
    return [alias.asname or alias.name for alias in node.names]


def _import_file(use: ClassUse, part: str, files: Files) -> Any:
    path = files.get(use.source or "")
    if path is None:
        raise UserError(f"the {WORDS[part]} '{use.name}' is a file whose folder is not known")
    text = loading.read_text(Path(path))
    source = hashed_source(_parsed(text, f"{WORDS[part]} '{use.name}'"), Home("", Path(path)))
    if source.sha256 != use.source:
        raise UserError(f"the {WORDS[part]} '{use.name}' changed while the benchmark was running: run it again")
    return loading.import_file(path, text, source)


def _import_module(use: ClassUse, part: str) -> Any:
    target = _target(use.name, part)
    source = _module_source(target, part)
    if _hash(source) != use.source:
        raise UserError(f"the {WORDS[part]} '{use.name}' changed while the benchmark was running: run it again")
    import_from_source(source, is_file=False)
    return importlib.import_module(target.rpartition(":")[0])
