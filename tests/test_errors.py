"""No message repeats a word or a line without end, whatever stands in it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import yaml

from clsuite.backbones.templates import TemplateError
from clsuite.cli.console import PlainConsole, print_error
from clsuite.cli.main import main
from clsuite.errors import LONGEST_LINE, AbsentError, InputWarning, MistakesError, UserError, bearable, warn_of
from clsuite.records import RecordError
from clsuite.report.format import shown

ENDLESS = {"a word": "m" * 100_000, "words": "m m " * 25_000, "brackets": "[/m]" * 25_000, "escapes": "\x1b" * 100_000}
BENCHMARK = {"name": "tiny", "dataset": {"name": "digits"}, "scenario": {"tasks": 5}, "seeds": [0]}


@pytest.fixture(params=ENDLESS)
def endless(request: pytest.FixtureRequest) -> str:
    return ENDLESS[request.param]


@pytest.mark.parametrize("kind", [UserError, AbsentError, RecordError, TemplateError])
def test_an_error_repeats_as_much_as_people_read(kind: type[UserError], endless: str) -> None:
    told = str(kind(f"the method '{endless}' is unknown, and '{endless}' too: name another"))
    assert len(told) <= LONGEST_LINE + 1
    assert told.startswith("the method '")
    assert told.endswith(": name another")
    assert str(pickle.loads(pickle.dumps(kind(told)))) == told


def test_what_is_short_stays_as_it_is() -> None:
    path = "/".join(["folder"] * 100) + "/file.yaml"
    assert str(UserError(f"no file at '{path}'")) == f"no file at '{path}'"
    assert str(UserError("no file at 'a\nb'")) == "no file at 'a\\nb'"
    assert str(MistakesError("one\n\ntwo")) == "one\n\ntwo"
    assert bearable("") == str(UserError()) == ""


def test_warnings_and_lines_of_commands_do_the_same(endless: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(InputWarning) as caught:
        warn_of(f"the class '{endless}' is taken as it is")
    assert len(str(caught[0].message)) <= LONGEST_LINE + 1
    print_error(f"clsuite: '{endless}' is unknown")
    assert len(capsys.readouterr().err) <= LONGEST_LINE + 2


def test_a_console_ends_words_that_have_no_end(capsys: pytest.CaptureFixture[str]) -> None:
    console = PlainConsole(width=100)
    word = ENDLESS["a word"]
    console.print(f"refused: {word}: see above", soft_wrap=True)
    console.print(shown(f"[/{word}"), markup=True)
    said = capsys.readouterr().out
    assert "see above" in said
    assert len(said) < 1000


@pytest.mark.slow
@pytest.mark.parametrize("command", ["show", "table", "plot", "leaderboard add", "leaderboard check"])
def test_an_endless_name_in_a_record_fills_no_screen(
    command: str, endless: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = next((Path(__file__).parents[1] / "leaderboard/records/quickstart/ncm").glob("*.json"))
    content = {**json.loads(source.read_text()), "method": endless, "predictions": None}
    folder = tmp_path / "records" / "records" / "m"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps(content))
    board = ["--folder", tmp_path / "records"]
    words = {"show": [folder / "record.json"], "leaderboard check": board, "leaderboard add": [folder, *board]}
    given = words.get(command, [folder])
    main([*command.split(), *map(str, given)])
    said = capsys.readouterr()
    assert len(said.err) + max(map(len, said.out.splitlines()), default=0) < 10_000


@pytest.mark.parametrize("where", ["method", "plugin", "benchmark", "argument", "option", "class"])
def test_an_endless_name_in_a_benchmark_or_a_command_is_told_in_a_line(
    where: str, endless: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes: dict[str, dict[str, object]] = {
        "method": {"methods": {endless: "no_such"}}, "plugin": {"methods": {"a": endless}},
        "argument": {"methods": {"a": {"replay": {endless: 1}}}},
        "class": {"methods": {"a": "ncm"}, "scenario": {"tasks": 5, "order": [endless]}},
    }  # fmt: skip
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**BENCHMARK, **changes.get(where, {})}))
    words = {"benchmark": ["bench", endless], "option": ["bench", "quickstart", f"--{endless}"]}
    assert main([*words.get(where, ["bench", str(path)]), "--dry-run"]) == 2
    said = capsys.readouterr()
    assert len(said.err) < 10_000
    assert len(said.err.splitlines()) < 20
