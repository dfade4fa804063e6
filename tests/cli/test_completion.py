"""``clsuite --print-completion``: commands, options, and names of what there is, in a real shell."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from clsuite.cli.completion import SHELLS
from clsuite.cli.main import main


@pytest.fixture
def script(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["--print-completion", request.param]) == 0
    path = tmp_path / f"clsuite.{request.param}"
    path.write_text(capsys.readouterr().out)
    return path


@pytest.mark.parametrize("script", SHELLS, indirect=True)
def test_the_script_is_one_that_the_shell_reads(script: Path) -> None:
    text = script.read_text()
    for word in ("bench", "--limit-tasks", "--set", "quickstart", "ranpac", "--print-completion"):
        assert word in text
    shell = script.suffix[1:]
    if shell == "bash" or shutil.which(shell):
        done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("script", ["bash"], indirect=True)
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["clsuite", "be"], "bench"),
        (["clsuite", "bench", "quick"], "quickstart"),
        (["clsuite", "bench", "quickstart", "--lim"], "--limit-tasks"),
        (["clsuite", "bench", "quickstart", "--methods", "ranp"], "ranpac"),
        (["clsuite", "check", "ranp"], "ranpac"),
        (["clsuite", "list", "bench"], "benchmarks"),
        (["clsuite", "tune", "quickstart", "--precision", "b"], "bf16"),
        (["clsuite", "leaderboard", "con"], "confirm"),
        (["clsuite", "show", "mine."], "mine.json"),
        (["clsuite", "show", "ranp"], "ranpac"),
    ],
)
def test_words_are_completed_in_bash(script: Path, words: list[str], offered: str) -> None:
    (script.parent / "mine.json").write_text("{}")
    typed = " ".join(f"'{word}'" for word in words)
    commands = (
        f"source {script.name}; COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; "
        f"$(complete -p clsuite | sed 's/.*-F \\([^ ]*\\).*/\\1/') clsuite '{words[-1]}' '{words[-2]}'; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", commands], capture_output=True, text=True, check=False, cwd=script.parent)
    assert offered in done.stdout.split(), done


def test_an_unknown_shell_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--print-completion", "fish"]) == 2
    assert capsys.readouterr().err == "clsuite: unknown shell 'fish'. Known: bash, zsh.\n"
    assert main(["--print-completion"]) == 2
    assert capsys.readouterr().err == "clsuite: --print-completion needs a value\n"
