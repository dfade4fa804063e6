"""Prose in a terminal is broken between words; what is copied, such as a path or a command, is not broken."""

from __future__ import annotations

import io

import pytest
from rich.table import Table
from rich.text import Text

from clsuite.cli.console import PlainConsole, folded, left_out
from clsuite.cli.main import main
from clsuite.report.format import counted


def printed(*objects: object, width: int = 20, terminal: bool = True, **more: object) -> str:
    out = io.StringIO()
    console = PlainConsole(file=out, force_terminal=terminal, color_system=None, width=width, highlight=False)
    console.print(*objects, **more)  # type: ignore[arg-type]
    return out.getvalue()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a line of some words here", ["a line of some words", "here"]),
        ("see runs/quickstart/replay/seed0.json for more", ["see", "runs/quickstart/replay/seed0.json", "for more"]),
        ("    place of a mistake", ["    place of a", "mistake"]),
        ("one\n\ntwo", ["one", "", "two"]),
        ("手書き数字 手書き数字 手", ["手書き数字", "手書き数字 手"]),
        ("", [""]),
    ],
)
def test_lines_are_broken_at_blanks_alone(text: str, lines: list[str]) -> None:
    assert folded(Text(text), 20).plain.split("\n") == lines
    assert printed(text, soft_wrap=True).removesuffix("\n").split("\n") == lines


@pytest.mark.parametrize("more", [{"terminal": False}, {"no_wrap": True}])
def test_a_pipe_and_a_command_to_copy_keep_their_lines(more: dict[str, bool]) -> None:
    text = "more: clsuite show runs/quickstart/replay/seed0.json"
    assert printed(text, soft_wrap=True, **more) == f"{text}\n"


def test_marks_of_style_have_no_width() -> None:
    assert printed("[bold]twenty letters[/bold] long", soft_wrap=True, markup=True) == "twenty letters long\n"


def test_title_and_caption_are_as_wide_as_the_terminal_and_not_as_the_table() -> None:
    table = Table("a", title="mean change of a parameter", caption="a caption of [several] words".replace("[", r"\["))
    table.add_row("1")
    lines = printed(table, width=30).splitlines()
    assert (lines[0], lines[-1]) == ("mean change of a parameter", "a caption of [several] words")
    assert (table.title, table.caption is None) == ("mean change of a parameter", False)


def test_what_is_left_out_says_how_to_see_it() -> None:
    assert left_out([]) == ""
    assert left_out(["formula", "source"]).endswith("too narrow: formula, source (a wider one or a pipe shows all)")


@pytest.mark.parametrize(("number", "said"), [(0, "0 runs"), (1, "1 run"), (2, "2 runs")])
def test_one_thing_is_no_things(number: int, said: str) -> None:
    assert counted(number, "run") == said


def test_a_dry_run_has_a_run_in_each_line_of_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)
    assert main(["bench", "quickstart", "--methods", "ncm,replay", "--seeds", "0", "--dry-run"]) == 0
    *runs, summary = capsys.readouterr().out.splitlines()
    assert [run.split()[:2] for run in runs] == [["to", "do"], ["to", "do"]]
    assert max(map(len, runs)) <= 80
    assert summary == "2 runs, 0 done, 2 to do"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_mistake_is_broken_between_words_in_a_terminal_alone(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("clsuite.cli.console.is_terminal", lambda stream: terminal)
    assert main(["list", "foo"]) == 2
    lines = capsys.readouterr().err.splitlines()
    whole = "clsuite list: unknown list 'foo'. Known: augmentations, backbones, benchmarks, datasets,"
    assert " ".join(lines).startswith(whole)
    assert (max(map(len, lines)) <= 40) == terminal == (len(lines) > 1)
