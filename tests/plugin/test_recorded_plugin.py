"""What a record names is found without running a line of it, and only where its caller lets it be."""

from __future__ import annotations

import importlib.util
import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

from clsuite.errors import UserError
from clsuite.plugin.catalog import load_class
from clsuite.plugin.recorded_plugin import plain_name, recorded_plugins, refuse_not_installed

MARKS = "open('RAN', 'a').write('x')\n"
PLUGIN = '''"""A method."""

from clsuite.plugin import Plugin


class Mine(Plugin):
    """Mine."""
'''
PATHS = (
    "/elsewhere/evil.py", "../evil.py", "sub/evil.py", "~/evil.py", "~nobody/evil.py", "~evil.py", "C:\\evil.py",
    "C:evil.py", "..\\evil.py", "sub\\evil.py", "..py", "a/../evil.py", "./evil.py", "//evil.py", "ev\0il.py",
    "ev\nil.py", "ev\x1bil.py", "..evil.py", "\\\\host\\evil.py",
)  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, from which modules can be imported as in a notebook."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    return tmp_path


@pytest.mark.parametrize("name", PATHS)
def test_a_path_is_no_name(name: str, here: Path) -> None:
    for place in (here / "evil.py", here / "sub" / "evil.py"):
        place.parent.mkdir(exist_ok=True)
        place.write_text(MARKS + PLUGIN)
    with pytest.raises(UserError) as raised:
        plain_name(name, "plugin")
    assert str(raised.value).startswith("the record names its plugin '")
    assert str(raised.value).isprintable()
    with pytest.raises(UserError):
        recorded_plugins(name, [here, here / "sub"])
    assert not (here / "RAN").exists()


def test_the_current_folder_is_not_looked_into(here: Path) -> None:
    (here / "mine.py").write_text(MARKS + PLUGIN)
    assert recorded_plugins("mine.py", []) == []
    (found,) = recorded_plugins("mine.py", [here])
    assert found.source is not None
    assert not (here / "RAN").exists()


@pytest.mark.parametrize("content", [b"\xff\xfe\0x", b"def f(:", b"x = 1\n", b"(" * 5000, b"\0"])
def test_a_file_that_is_none_is_told_in_a_line(content: bytes, here: Path) -> None:
    (here / "mine.py").write_bytes(content)
    with pytest.raises(UserError, match=r"mine\.py") as raised:
        recorded_plugins("mine.py", [here])
    assert "\n" not in str(raised.value)


def test_of_files_that_are_none_and_one_that_is_the_one_is_found(here: Path) -> None:
    for folder, text in (("a", "def f(:"), ("b", PLUGIN)):
        (here / folder).mkdir()
        (here / folder / "mine.py").write_text(text)
    (found,) = recorded_plugins("mine.py", [here / "a", here / "b"])
    assert found.target == f"{(here / 'b' / 'mine.py').resolve()}:Mine"


def test_the_text_that_was_hashed_is_the_one_that_runs(here: Path) -> None:
    (here / "mine.py").write_text(PLUGIN + "    which = 'hashed'\n")
    (found,) = recorded_plugins("mine.py", [here])
    (here / "mine.py").write_text(MARKS + PLUGIN)
    assert load_class(found).which == "hashed"  # type: ignore[attr-defined]
    assert not (here / "RAN").exists()


def test_of_what_a_file_imports_beside_it_the_source_runs_and_no_compiled_file(here: Path) -> None:
    helper, target = here / "helper_of_recorded.py", importlib.util.cache_from_source("helper_of_recorded.py")
    helper.write_text(MARKS + "WHICH = 'compiled'\n")
    py_compile.compile(str(helper), cfile=target, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    helper.write_text("WHICH = 'hashed'\n")
    text = PLUGIN + "\n    def which(self):\n        from helper_of_recorded import WHICH\n        return WHICH\n"
    (here / "mine.py").write_text(text)
    (found,) = recorded_plugins("mine.py", [here])
    assert load_class(found).which(None) == "hashed"  # type: ignore[attr-defined]
    assert not (here / "RAN").exists()


@pytest.mark.slow
@pytest.mark.parametrize("target", ["nicepkg.mod:X", "nicepkg:X", "antigravity:X", "antigravity.x:Y", "this:X", "os:X"])
def test_a_package_that_is_not_installed_is_not_looked_for(target: str, here: Path) -> None:
    (here / "nicepkg").mkdir()
    for name in ("__init__.py", "mod.py"):
        (here / "nicepkg" / name).write_text(MARKS + PLUGIN.replace("Mine(", "X("))
    before = {*sys.modules}
    with pytest.raises(UserError, match=r"is in no installed package: install '\w+'$"):
        recorded_plugins(target, [here])
    assert {*sys.modules} - before <= {"importlib.metadata"}
    assert not (here / "RAN").exists()


@pytest.mark.slow
def test_what_only_claims_here_to_be_installed_is_not(here: Path) -> None:
    (here / "nicepkg").mkdir()
    (here / "nicepkg" / "__init__.py").write_text(MARKS + PLUGIN.replace("Mine(", "X("))
    info = here / "nicepkg-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nicepkg\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("nicepkg\n")
    with pytest.raises(UserError, match="is in no installed package"):
        recorded_plugins("nicepkg:X", [here])
    assert not (here / "RAN").exists()


def claim(folder: Path, module: str) -> None:
    """Metadata in a folder that say that a distribution is installed there, with a registered plugin."""
    info = folder / "nicedist-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nicedist\nVersion: 1.0\n")
    (info / "top_level.txt").write_text(f"{module}\n")
    (info / "entry_points.txt").write_text(f"[clsuite.plugins]\nnice = {module}:Mine\n")


@pytest.mark.slow
@pytest.mark.parametrize("place", ["the current folder", "the folder of a script", "a relative PYTHONPATH"])
def test_what_lies_where_people_work_is_not_installed(place: str, tmp_path: Path) -> None:
    here, away = tmp_path / "here", tmp_path / "away"
    for folder in (here / "clsuite_plugins", away):
        folder.mkdir(parents=True)
    claim(here, "nicepkg")
    (here / "nicepkg.py").write_text(MARKS + PLUGIN)
    (here / "clsuite_plugins" / "__init__.py").write_text(MARKS)
    (here / "clsuite_plugins" / "finetune.py").write_text(MARKS + PLUGIN.replace("Mine(", "Finetune("))
    code = (
        "import sys; from clsuite.errors import UserError; from clsuite.plugin.catalog import catalog\n"
        "from clsuite.plugin.recorded_plugin import recorded_plugins\n"
        "assert 'nice' in catalog()\n"
        "for name in ('nice', 'nicepkg:Mine', 'finetune', 'clsuite_plugins.finetune:Finetune'):\n"
        "    try: print(recorded_plugins(name, []))\n"
        "    except UserError as error: print(error)\n"
    )
    (here / "script.py").write_text(code)
    command = {"the folder of a script": [str(here / "script.py")]}.get(place, ["-c", code])
    environment = {**os.environ, "PYTHONPATH": "../here"} if place == "a relative PYTHONPATH" else {**os.environ}
    cwd = here if place == "the current folder" else away
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=True, env=environment, cwd=cwd
    )
    lines = done.stdout.splitlines()
    assert ["is in no installed package" in line for line in lines] == [True, True, False, False]
    assert ["hides the module of the installed 'clsuite'" in line for line in lines] == [False, False, True, True]
    assert not list(tmp_path.rglob("RAN"))


@pytest.mark.slow
def test_a_program_is_no_module(here: Path) -> None:
    with pytest.raises(UserError, match=r"the installed 'timm' has no module 'timm\.__main__'"):
        refuse_not_installed("timm.__main__:Mine")


@pytest.mark.slow
def test_what_hides_an_installed_package_is_told(here: Path) -> None:
    (here / "timm").mkdir()
    (here / "timm" / "__init__.py").write_text(MARKS)
    (here / "timm" / "evil.py").write_text(MARKS + PLUGIN)
    with pytest.raises(UserError, match=r"timm/evil\.py' hides the module of the installed 'timm'"):
        refuse_not_installed("timm.evil:Mine")
    assert not (here / "RAN").exists()


@pytest.mark.slow
def test_a_class_of_an_installed_package_is_found_without_importing_it(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "nicepkg" / "inner").mkdir(parents=True)
    for name in ("__init__.py", "inner/__init__.py"):
        (site / "nicepkg" / name).write_text("raise RuntimeError('imported')\n")
    (site / "nicepkg" / "inner" / "mod.py").write_text(PLUGIN)
    info = site / "nicepkg-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nicepkg\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("nicepkg\n")
    code = (
        "import sys; from clsuite.plugin.recorded_plugin import recorded_plugins\n"
        "found, = recorded_plugins('nicepkg.inner.mod:Mine', [])\n"
        "print(found.distribution, len(found.source.sha256), 'nicepkg' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
    )
    assert done.stdout == "nicepkg 1.0 64 False\n"


@pytest.mark.slow
def test_a_registered_plugin_and_an_unknown_one() -> None:
    (found,) = recorded_plugins("replay", [])
    assert found.target == "clsuite_plugins.replay:Replay"
    (same,) = recorded_plugins("clsuite_plugins.replay:Replay", [])
    assert same.source == found.source
    with pytest.raises(UserError, match=r"unknown plugin 'reply'\. Did you mean 'replay'"):
        recorded_plugins("reply", [])
