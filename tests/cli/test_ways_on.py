"""Where people ask in a way that is not ours, the line says how to go on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clsuite.cli.main import main
from clsuite.errors import did_you_mean, listed, nearest, several


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_loss.py").write_text("from clsuite.plugin import Plugin\n\nclass Own(Plugin):\n    pass\n")
    (tmp_path / "mine.yaml").write_text("name: mine\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "full" / "ncm").mkdir(parents=True)
    (tmp_path / "full" / "ncm" / "seed0-1.json").write_text("{}")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("check my_loss", "unknown plugin 'my_loss'. Did you mean the file './my_loss.py'?"),
        ("bench quickstart --dry-run --methods my_loss", "Did you mean the file './my_loss.py'?"),
        ("bench quickstart --dry-run --methods NCM", "unknown plugin 'NCM'. Did you mean 'ncm'?"),
        ("show quickstart", "'quickstart' is a benchmark, and show takes a record, such as runs/quickstart/METHOD/"),
        ("show empty", "'empty' is a folder: it holds no records. For all of them: clsuite table empty"),
        ("show full", "'full' is a folder: name one of its records, such as full/ncm/seed0-1.json."),
        ("show reply", "no record at 'reply'. Did you mean the method 'replay'?"),
        ("show ./my_los.py", "no plugin file at 'my_los.py'. Did you mean 'my_loss.py'?"),
        ("check ./my-loss.py", "no plugin file at 'my-loss.py'. Did you mean 'my_loss.py'?"),
        ("check ./my_loss.py:Ow", "there is no class 'Ow' in it. Did you mean 'Own'?"),
        ("bench mine", "unknown benchmark 'mine'. Did you mean the file 'mine.yaml'?"),
        ("bench miine.yaml", "cannot read 'miine.yaml': No such file or directory. Did you mean 'mine.yaml'?"),
        ("list plugins replay", "unexpected argument 'replay'. Try: clsuite list --help"),
        ("show nowhere.json", "no record at 'nowhere.json': clsuite bench writes them to runs/BENCHMARK/METHOD/"),
        ("compare a b", "a method by its name needs the folder of its benchmark's runs, --runs runs/BENCHMARK"),
        ("table full --format md", "unknown format 'md'. Did you mean 'markdown'?"),
        ("table full --format tex", "unknown format 'tex'. Did you mean 'text' or 'latex'?"),
        ("--print-completions bash", "unknown option '--print-completions'. Did you mean '--print-completion'?"),
        ("--nope", "unknown option '--nope'. Known: --help, --print-completion, --version, -h."),
        ("nope", "unknown command 'nope'. Known: analyze, bench, cache, check, cite-table, compare, leaderboard, list"),
        ("list model", "unknown list 'model'. Known: "),
    ],
)  # fmt: skip
def test_the_way_on_is_said(words: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    told = capsys.readouterr().err
    assert complaint in told
    assert told.count("\n") == 1


def test_methods_are_listed_as_plugins_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "methods"]) == 0
    assert "ranpac" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "shown"), [("help", "usage: clsuite"), ("help bench", "--methods")])
def test_help_is_a_command_too(words: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 0
    assert shown in capsys.readouterr().out


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "clsuite", "--version"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "0.1" in done.stdout


def test_of_many_names_ten_are_shown() -> None:
    names = [f"name{number:04}" for number in range(5000)]
    told = str(did_you_mean("backbone", "xyzxyz", names))
    first = f"{', '.join(names[:10])}, … and 4990 more"
    assert told == f"unknown backbone 'xyzxyz'. Known: {first}. All: clsuite list backbones"
    assert listed(names[:12]) == ", ".join(names[:12])
    assert listed([]) == "none"
    assert len(str(did_you_mean("backbone", "x" * 10_000, names))) < 400


@pytest.mark.parametrize(
    ("name", "known", "near"),
    [
        ("vit_tiny", ["gcvit_tiny", "davit_tiny", "vit_tiny_patch16_224.augreg", "vit_tiny_patch16_224"],
         ["vit_tiny_patch16_224", "vit_tiny_patch16_224.augreg", "gcvit_tiny", "davit_tiny"]),
        ("reply", ["replay", "ncm"], ["replay"]),
        ("md", ["markdown", "latex"], ["markdown"]),
        ("x", ["xavier"], []),
        ("zzz", ["ncm"], []),
    ],
)  # fmt: skip
def test_what_begins_alike_is_nearer_than_what_is_spelled_alike(name: str, known: list[str], near: list[str]) -> None:
    assert nearest(name, known) == near


def test_several_mistakes_are_a_line_each() -> None:
    assert str(several(["a", "b"])) == "a\nb"
    assert str(several(str(number) for number in range(12))).splitlines()[-1] == "… and 2 more mistakes"
