"""`clsuite list` on narrow terminals: no word is cut, and what is left out is named."""

from __future__ import annotations

import pytest

from clsuite.cli.main import main


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("what", ["datasets", "plugins", "benchmarks", "scenarios", "backbones", "augmentations"])
def test_no_word_is_cut_and_no_line_is_longer_than_the_terminal(
    what: str, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["list", what]) == 0
    lines = capsys.readouterr().out.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    assert not [line for line in lines if "…" in line.replace("[0.7, …]", "")]
    if what in ("datasets", "plugins") and width < 80:
        assert any("not shown, as the terminal is too narrow: " in line for line in lines)


def test_a_pipe_has_all_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "datasets"]) == 0
    assert "license" in capsys.readouterr().out.splitlines()[0]
