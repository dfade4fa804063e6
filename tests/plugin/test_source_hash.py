"""The hash of a plugin's source covers the local modules that it imports, and no more than that."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clsuite.plugin import source_hash as hashing
from clsuite.plugin.catalog import find_plugin, source_now
from clsuite.plugin.loading import import_file

PLUGIN = '''
from clsuite.plugin import Plugin
{}

class Mine(Plugin):
    """Mine."""

    def loss(self, learner, step):
        {}
        return 0
'''
Offer = Callable[..., None]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that modules are imported from."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(place: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def hash_of(place: Path, line: str, files: dict[str, str], inside: str = "pass") -> str:
    """The source of a plugin file with one more line of import, beside some files."""
    write(place, {"mine.py": PLUGIN.format(line, inside), **files})
    return find_plugin("./mine.py")[1].sha256


WAYS = {
    "import": ("import helper", {"helper.py": "WEIGHT = {}"}),
    "from": ("from helper import WEIGHT", {"helper.py": "WEIGHT = {}"}),
    "as": ("import helper as h", {"helper.py": "WEIGHT = {}"}),
    "star": ("from helper import *", {"helper.py": "WEIGHT = {}"}),
    "relative": ("from .helper import WEIGHT", {"helper.py": "WEIGHT = {}"}),
    "relative module": ("from . import helper", {"helper.py": "WEIGHT = {}"}),
    "transitive": ("import one", {"one.py": "from two import WEIGHT", "two.py": "WEIGHT = {}"}),
    "package": ("import pack", {"pack/__init__.py": "WEIGHT = {}"}),
    "package around": ("import pack.deep", {"pack/__init__.py": "WEIGHT = {}", "pack/deep.py": ""}),
    "submodule": ("from pack import deep", {"pack/__init__.py": "", "pack/deep.py": "WEIGHT = {}"}),
    "dotted": ("import pack.deep.er", {"pack/__init__.py": "", "pack/deep/er.py": "WEIGHT = {}"}),
    "star of a package": (
        "from pack import *",
        {"pack/__init__.py": "__all__ = ['deep']", "pack/deep.py": "WEIGHT = {}"},
    ),
    "relative within": (
        "from pack.one import x",
        {"pack/__init__.py": "", "pack/one.py": "from . import two\nx = 1", "pack/two.py": "WEIGHT = {}"},
    ),
    "two levels up": (
        "import pack.sub.one",
        {"pack/__init__.py": "", "pack/sub/__init__.py": "", "pack/sub/one.py": "from ..two import W",
         "pack/two.py": "W = {}"},
    ),
    "a name of the standard library's": ("import antigravity", {"antigravity.py": "WEIGHT = {}"}),
    "guarded": ("try:\n    import helper\nexcept ImportError:\n    helper = None", {"helper.py": "WEIGHT = {}"}),
    "cycle": ("import one", {"one.py": "import two", "two.py": "import one, mine\nWEIGHT = {}"}),
    "by name": ("import importlib; h = importlib.import_module('helper')", {"helper.py": "WEIGHT = {}"}),
    "by keyword": ("import importlib; h = importlib.import_module(name='helper')", {"helper.py": "WEIGHT = {}"}),
    "by __import__": ("h = __import__(name='helper')", {"helper.py": "WEIGHT = {}"}),
    "part by __import__": (
        "h = __import__('pack', fromlist=['deep'])",
        {"pack/__init__.py": "", "pack/deep.py": "WEIGHT = {}"},
    ),
    "relative by __import__": (
        "import pack",
        {"pack/__init__.py": "h = __import__('deep', globals(), level=1)", "pack/deep.py": "WEIGHT = {}"},
    ),
    **{
        f"relative to another package by {word or 'position'}": (
            f"import importlib; h = importlib.import_module('.deep', {word}'pack')",
            {"pack/__init__.py": "", "pack/deep.py": "WEIGHT = {}"},
        )
        for word in ("", "package=")
    },
    "relative to its own package": (
        "import pack",
        {"pack/__init__.py": "import importlib\nh = importlib.import_module('.deep', __name__)",
         "pack/deep.py": "WEIGHT = {}"},
    ),
    **{
        f"star with {way}": ("from pack import *", {"pack/__init__.py": way, "pack/deep.py": "WEIGHT = {}"})
        for way in (
            "__all__: list[str] = ['deep']",
            "__all__ = []\n__all__ += ['deep']",
            "__all__ = []\n__all__.extend(['deep'])",
            "__all__ = []\n__all__.append('deep')",
            "if True:\n    __all__ = ['deep']",
        )
    },
    "star of a package that is imported before": (
        "import pack\nfrom pack import *",
        {"pack/__init__.py": "__all__ = ['deep']", "pack/deep.py": "WEIGHT = {}"},
    ),
    "broken": ("import helper", {"helper.py": "WEIGHT = {} ("}),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_another_constant_in_a_helper_gives_another_source(place: Path, way: str) -> None:
    line, files = WAYS[way]
    first, again, other = (
        hash_of(place, line, {name: text.format(weight) for name, text in files.items()}) for weight in (1, 1, 100)
    )
    assert first == again
    assert other != first


@pytest.mark.parametrize("way", sorted(set(WAYS) - {"broken"}))
def test_a_comment_in_a_helper_gives_the_same(place: Path, way: str) -> None:
    line, files = WAYS[way]
    first, second = (
        hash_of(place, line, {name: f"{text.format(1)}{more}" for name, text in files.items()})
        for more in ("", "\n\n# a remark\n'''and a text'''\n")
    )
    assert first == second


def test_imports_in_functions_count(place: Path) -> None:
    first, second = (hash_of(place, "", {"helper.py": f"W = {w}"}, "from helper import W") for w in (1, 2))
    assert first != second


def test_a_helper_beside_the_file_counts_though_the_file_itself_brings_it_onto_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path.parent)
    text = PLUGIN.format("import sys\nsys.path.insert(0, __file__.rpartition('/')[0])", "import beside")
    write(tmp_path, {"mine.py": text})
    found = []
    for weight in (1, 2):
        write(tmp_path, {"beside.py": f"W = {weight}"})
        found.append(find_plugin(str(tmp_path / "mine.py"))[1].sha256)
    assert found[0] != found[1]


@pytest.mark.parametrize("way", ["a file", "a package", "a mere folder"])
def test_a_module_beside_the_file_goes_before_those_on_the_path(tmp_path: Path, place: Path, way: str) -> None:
    """Another plugin's file may have brought its own folder onto the path, with a module of that name."""
    beside = {"a file": "mine/near.py", "a package": "mine/near/__init__.py", "a mere folder": "mine/near/more.py"}[way]
    write(place, {"near.py": "W = 1", beside: "W = 2", "mine/mine.py": PLUGIN.format("from near import W", "pass")})
    name = str(tmp_path / "mine" / "mine.py")
    sha256 = find_plugin(name)[1].sha256
    found = import_file(name).W
    write(place, {beside: "W = 3"})
    is_beside = way != "a mere folder"  # modules go before folders without __init__, as Python has it
    assert found == (2 if is_beside else 1)
    assert (find_plugin(name)[1].sha256 != sha256) == is_beside


def test_a_module_of_another_package_is_not_taken_for_one_of_its_own(place: Path) -> None:
    line = "import importlib; h = importlib.import_module('.deep', package='pack')"
    files = {"pack/__init__.py": "", "pack/deep.py": ""}
    first, second = (hash_of(place, line, {**files, "deep.py": f"W = {w}"}) for w in (1, 2))
    assert first == second


def test_what_nothing_imports_does_not_count(place: Path) -> None:
    first, second = (hash_of(place, "import helper", {"helper.py": "", "other.py": f"W = {w}"}) for w in (1, 2))
    assert first == second


def test_a_module_that_is_not_there_is_no_error_and_counts_when_it_comes(place: Path) -> None:
    line = "try:\n    from fast_helper import f\nexcept ImportError:\n    f = None"
    without = hash_of(place, line, {})
    assert hash_of(place, line, {"fast_helper.py": "def f(): ..."}) != without


def test_the_name_of_the_file_does_not_count_and_its_folder_neither(place: Path) -> None:
    text = PLUGIN.format("", "pass")
    write(place, {"mine.py": text, "deep/other.py": text})
    assert find_plugin("./mine.py")[1].sha256 == find_plugin("./deep/other.py")[1].sha256


@pytest.mark.slow
def test_installed_distributions_count_by_name_and_version(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by content: what a package manager has put somewhere is named by its version."""
    packages = place / "lib/site-packages"
    write(packages, {"libweight/__init__.py": "W = 1", "libweight/deep.py": "", "tools/__init__.py": ""})
    monkeypatch.syspath_prepend(packages)

    def at(number: str) -> str:
        write(packages, {
            "lib_weight-1.dist-info/METADATA": f"Metadata-Version: 2.1\nName: lib-weight\nVersion: {number}\n",
            "lib_weight-1.dist-info/top_level.txt": "libweight\n",
        })  # fmt: skip
        hashing._owners.cache_clear()
        return hash_of(place, "from libweight.deep import x", {})

    first = at("1.0")
    write(packages, {"libweight/__init__.py": "W = 2"})
    assert at("1.0") == first
    assert at("1.1") != first
    hashing._owners.cache_clear()


def test_what_clsuite_stands_on_does_not_count(place: Path) -> None:
    plain = hash_of(place, "import torch, numpy, timm.layers, os.path, sklearn", {})
    tree = hashing.ast.parse((place / "mine.py").read_text())
    assert plain == hashing.sha256_of({"file": hashing.tree_hash(tree), "modules": {}, "distributions": {}})


def test_a_plugin_of_a_distribution_counts_with_its_own_package(offer: Offer, tmp_path: Path) -> None:
    methods = PLUGIN.format("from . import tools", "pass")
    files = {"site-packages/third/__init__.py": "", "site-packages/third/methods.py": methods}
    found = []
    sys.path.insert(0, str(tmp_path / "site-packages"))
    try:
        for weight in (1, 2):
            offer({"mine": "third.methods:Mine"}, {**files, "site-packages/third/tools.py": f"W = {weight}"})
            found.append(find_plugin("mine")[1].sha256)
    finally:
        sys.path.remove(str(tmp_path / "site-packages"))
        sys.modules.pop("third", None)
    assert found[0] != found[1]


def test_a_reference_method_that_a_plugin_builds_on_counts(place: Path) -> None:
    plain, built = (hash_of(place, line, {}) for line in ("", "import clsuite_plugins.replay"))
    tree = hashing.ast.parse((place / "mine.py").read_text())
    found = hashing._Imports("", place)
    found.follow(tree, "", False)
    assert set(found.modules) >= {"clsuite_plugins", "clsuite_plugins.replay"}
    assert not any(name.startswith("clsuite.") for name in found.modules)
    assert plain != built


def test_a_plugin_and_its_helpers_are_not_imported(place: Path) -> None:
    hash_of(place, "import helper_of_mine", {"helper_of_mine.py": "raise RuntimeError('imported')"})
    assert "helper_of_mine" not in sys.modules


def test_a_source_is_that_of_now(place: Path) -> None:
    hash_of(place, "import helper", {"helper.py": "W = 1"})
    info, source = find_plugin("./mine.py")
    assert source_now(info) == source.sha256
    write(place, {"helper.py": "W = 2"})
    assert source_now(info) != source.sha256
    write(place, {"mine.py": "class Mine("})
    assert source_now(info) == ""


@pytest.mark.slow
def test_all_sources_are_hashed_without_torch() -> None:
    script = (
        "import sys; from clsuite.plugin.catalog import catalog; made = {i.source.sha256 for i in catalog().values()};"
        "assert not {'torch', 'lightning', 'clsuite_plugins.ncm'} & set(sys.modules); print(len(made))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 30
