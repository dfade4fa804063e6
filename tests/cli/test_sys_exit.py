"""A plugin or stream that ends the program at import: a word, and a status that is not 0."""

from __future__ import annotations

from pathlib import Path

import pytest

from clsuite.cli.main import main
from clsuite.errors import UserError
from clsuite.plugin.catalog import BrokenPluginError, find_plugin, load_class
from clsuite.runner.streams import stream_loader
from clsuite.scenarios.spec import FromAvalanche, ScenarioSpec

PLUGIN = "import sys\nfrom clsuite.plugin import Plugin\nsys.exit(0)\n\n\nclass Exits(Plugin):\n    '''Exits.'''\n"
HOOK = (
    "import sys\nfrom clsuite.plugin import Plugin\n\n\nclass Exits(Plugin):\n    '''Exits.'''\n\n"
    "    def on_stream_start(self, learner, scenario):\n        sys.exit(0)\n"
)


@pytest.mark.slow
@pytest.mark.parametrize("text", [PLUGIN, HOOK])
def test_check_says_so(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("exits.py").write_text(text)
    assert main(["check", "./exits.py"]) in (1, 2)
    told = capsys.readouterr()
    assert "SystemExit" in told.out + told.err or "sys.exit(0)" in told.out + told.err
    assert "Traceback" not in told.out + told.err


def test_a_class_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "exits.py").write_text(PLUGIN)
    with pytest.raises(BrokenPluginError, match="fails to import: SystemExit: 0"):
        load_class(find_plugin(str(tmp_path / "exits.py"))[0])


@pytest.mark.parametrize("code", ["0", "3", "'words'", ""])
@pytest.mark.parametrize("where", ["at import", "when it is called"])
def test_a_stream_says_so(
    where: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    call = f"sys.exit({code})\n"
    body = "def make_benchmark(seed):\n    " + (call if where == "when it is called" else "pass\n")
    Path("stream.py").write_text("import sys\n" + (call if where == "at import" else "") + body)
    with pytest.raises(UserError, match="SystemExit"):
        stream_loader(None, ScenarioSpec(FromAvalanche(kind="avalanche", path="stream.py")), 32, None)(0, None)
    assert main(["bench", "stream.py", "--dry-run"]) == 2
    assert "SystemExit" in capsys.readouterr().err
