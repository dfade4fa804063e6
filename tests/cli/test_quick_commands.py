"""Commands that must answer at once: help, listings, show."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from clsuite.cli.main import main
from clsuite.plugin import catalog as catalog_module

HEAVY = {"torch", "lightning", "timm", "avalanche", "matplotlib"}
ARRAYS = {"numpy", "scipy", "PIL"}
QUICK: tuple[tuple[list[str], set[str]], ...] = (
    *((words, HEAVY | ARRAYS | {"yaml"}) for words in (["--help"], ["bench", "--help"], ["list", "plugins"])),
    *((["list", what], HEAVY | ARRAYS) for what in
      ("benchmarks", "backbones", "augmentations", "scenarios", "probes", "optimizers")),
    *((words, HEAVY) for words in
      (["--version"], ["tune", "--help"], ["new", "--help"], ["check", "--help"], ["list", "datasets"],
       ["bench", "quickstart", "--dry-run"])),
)  # fmt: skip
"""Commands, and packages that they must not import; those that may import more come later."""
SCRIPT = """
import io, json, sys
from contextlib import redirect_stdout
from clsuite.cli.main import main
for words, heavy in json.loads(sys.argv[1]):
    with redirect_stdout(io.StringIO()) as shown:
        assert main(words) == 0, words
    assert shown.getvalue().strip(), words
    assert not {*heavy} & {*sys.modules}, f"{words} imports {({*heavy} & {*sys.modules})}"
"""


@pytest.mark.slow
def test_quick_commands_do_not_import_what_takes_long(tmp_path: Path) -> None:
    """All in one new process, in which the first that imports too much is named; they leave nothing behind."""
    given = json.dumps([(words, sorted(heavy)) for words, heavy in QUICK])
    command = [sys.executable, "-c", SCRIPT, given]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "  clsuite bench quickstart\n" in shown
    for option in ("--methods", "--seeds", "--out", "--data-root", "--device", "--precision", "--dry-run", "--force",
                   "--limit-tasks", "--epochs", "--save-model"):  # fmt: skip
        assert option in shown


def test_list_plugins_names_each_with_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "plugins"]) == 0
    shown = capsys.readouterr().out
    for name in ("ewc", "finetune", "joint", "linear_probe", "lwf", "ncm", "replay"):
        line = next(line for line in shown.splitlines() if line.startswith(name))
        assert "clsuite 0.1.0" in line
    assert "no gradient" in next(line for line in shown.splitlines() if line.startswith("ncm"))


BROKEN = {
    "no_colon": "class Half(\n",
    "no_module": "import a_module_that_is_nowhere\n",
    "raises": "raise RuntimeError('broken on purpose')\nclass Raises: pass\n",
    "not_a_plugin": "class NotAPlugin:\n    '''Not one.'''\n",
    "works": "from clsuite.plugin import Plugin\n\n\nclass Works(Plugin):\n    '''Does nothing, well.'''\n",
}
CLASSES = {"no_colon": "Half", "no_module": "X", "raises": "Raises", "not_a_plugin": "NotAPlugin", "works": "Works"}


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A foreign distribution with five plugins, four of them broken, on the path."""
    site = tmp_path / "site"
    (site / "foreign-1.2.dist-info").mkdir(parents=True)
    (site / "foreign-1.2.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1.2\n")
    lines = [f"{name} = foreign_{name}:{CLASSES[name]}" for name in BROKEN]
    lines.append("replay = foreign_works:Works")
    (site / "foreign-1.2.dist-info" / "entry_points.txt").write_text("[clsuite.plugins]\n" + "\n".join(lines) + "\n")
    for name, text in BROKEN.items():
        (site / f"foreign_{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))
    catalog_module.catalog.cache_clear()
    yield site
    catalog_module.catalog.cache_clear()


@pytest.mark.slow
def test_foreign_plugins_are_listed_the_broken_ones_with_their_reason(
    foreign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", "plugins"]) == 0
    lines = {line.split("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "SyntaxError in line" in lines["no_colon"]
    assert "no module named 'a_module_that_is_nowhere'" in lines["no_module"]
    assert "RuntimeError: broken on purpose" in lines["raises"]
    assert "not a subclass of clsuite.plugin.Plugin" in lines["not_a_plugin"]
    assert "Does nothing, well." in lines["works"]
    assert "foreign 1.2" in lines["works"]
    assert "taken by clsuite" in lines["replay (foreign 1.2)"]
    assert "broken" not in lines["replay"]
    assert main(["bench", "quickstart", "--methods", "finetune", "--dry-run"]) == 0
    assert main(["bench", "quickstart", "--methods", "no_colon", "--dry-run"]) == 2
    assert "plugin 'no_colon' of foreign 1.2 is broken: SyntaxError" in capsys.readouterr().err


def test_show_a_missing_record(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["show", str(tmp_path / "none.json")]) == 2
    assert "no record at" in capsys.readouterr().err
    (tmp_path / "newer.json").write_text(json.dumps({"schema_version": 99}))
    assert main(["show", str(tmp_path / "newer.json")]) == 2
    assert "has schema 99; this clsuite reads up to 1" in capsys.readouterr().err
