"""`clsuite bench my_stream.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from clsuite.cli.main import main
from clsuite.errors import UserError
from clsuite.runner.spec import load_benchmark

STREAM = """
from clsuite.data.datasets import load_table
from clsuite.data.spec import DatasetSpec
from clsuite.scenarios import ScenarioSpec, build_scenario, to_avalanche


def make_benchmark(seed):
    table = load_table(DatasetSpec(name="digits"), 8)
    return to_avalanche(build_scenario(table, ScenarioSpec(tasks=2), seed=seed, train_per_class=4))
"""


@pytest.mark.slow
def test_a_stream_file_is_a_benchmark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my stream.py").write_text(STREAM)
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "./my stream.py", "--dry-run", "--seeds", "0"]) == 0
    shown = capsys.readouterr().out
    assert all(f"to do  {method}, seed 0" in shown for method in ("finetune", "replay", "ncm"))
    assert "runs/my_stream/" in shown
    assert main(["bench", str(tmp_path / "my stream.py"), "--dry-run", "--methods", "ncm", "--seeds", "1"]) == 0
    assert "ncm, seed 1" in capsys.readouterr().out


def test_an_absent_stream_file_is_named() -> None:
    with pytest.raises(UserError, match=r"no stream file at 'absent\.py'"):
        load_benchmark("absent.py")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("pass", "gives NoneType, but must return an Avalanche benchmark or a clsuite.scenarios.Scenario"),
        ("return {}['train']", "ends in line 2 with KeyError: 'train'"),
        ("return 1 + '1'", "ends in line 2 with TypeError: unsupported operand"),
    ],
)
def test_a_function_that_makes_no_stream_is_told_in_one_line(
    body: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"def make_benchmark(seed):\n    {body}\n")
    assert main(["bench", str(file), "--out", str(tmp_path / "runs"), "--seeds", "0"]) == 2
    said = capsys.readouterr().err
    assert f"make_benchmark(0) of '{file}' {message}" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "runs").exists()


GIVES = "def make_benchmark(seed):\n    return Given()\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raise KeyboardInterrupt\n", "'s.py' cannot be imported: KeyboardInterrupt"),
        ("class Own(BaseException):\n    pass\n\n\nraise Own('x')\n", "cannot be imported: Own: x"),
        ("def make_benchmark(seed):\n    raise KeyboardInterrupt\n", "ends in line 2 with KeyboardInterrupt"),
        ("def make_benchmark(seed):\n    raise GeneratorExit('x')\n", "ends in line 2 with GeneratorExit: x"),
        (
            "class Own(Exception):\n    def __str__(self):\n        raise SystemExit(0)\n\n\n"
            "def make_benchmark(seed):\n    raise Own\n",
            "ends in line 7 with Own",
        ),
        ("def make_benchmark(seed):\n    raise ValueError('word ' * 9999)\n", "ValueError: word word"),
        ("def make_benchmark(seed):\n    raise ValueError('line\\n' * 9999)\n", "ValueError: line line"),
        (
            f"class Given:\n    streams = None\n\n\n{GIVES}",
            "gives Given, which cannot be read as an Avalanche benchmark",
        ),
        (f"class Given:\n    streams = dict(train=1, test=2)\n\n\n{GIVES}", "gives Given, which cannot be read as"),
        (
            f"class Given:\n    @property\n    def streams(self):\n        raise ValueError('x')\n\n\n{GIVES}",
            "gives Given, which cannot be read as an Avalanche benchmark: ValueError: x",
        ),
        (f"class Given:\n    def __getattr__(self, name):\n        return Given()\n\n\n{GIVES}", "gives Given, which"),
    ],
)
def test_whatever_a_stream_raises_or_gives_has_one_line(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "s.py", "--dry-run"]) == 2
    told = capsys.readouterr().err.replace(f"{tmp_path}/", "")
    assert words in told
    assert told.count("\n") == 1
    assert len(told) < 1000


@pytest.mark.parametrize("name", ["x" * 300 + ".py", "~no-such-user/s.py"])
def test_a_stream_file_that_no_system_has(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", name, "--dry-run"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
