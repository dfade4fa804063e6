"""Absurd numbers, depths and names: one short line and status 2, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from clsuite.cli.main import main
from clsuite.plugin.introspection import read_source

DEEP, SUM, BRACKETS, NINES = "-" * 5000 + "1", "+".join("1" * 5000), "[" * 5000, "9" * 5000
LONG = "a" * 300
BENCH, TUNE = ("bench", "quickstart", "--dry-run"), ("tune", "quickstart", "--method", "lwf", "--space")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([*BENCH, "--methods", f"replay(capacity={DEEP})"], "cannot read the method 'replay(capacity=--"),
        ([*BENCH, "--methods", f"replay(capacity={SUM})"], "cannot read the method 'replay(capacity=1+1"),
        ([*BENCH, "--methods", f"replay(capacity={BRACKETS})"], "cannot read the method 'replay(capaci"),
        ([*BENCH, "--methods", f"replay(capacity={NINES})"], "cannot read the method 'replay(capacity=9"),
        ([*BENCH, "--methods", f"replay(capacity={10**30})"], "'capacity' of plugin 'replay' is 1000000"),
        ([*BENCH, "--methods", "replay(capacity=1e2)"], "'capacity' of plugin 'replay' is 100.0, but"),
        ([*BENCH, "--methods", "lwf(alpha=1e999)"], "lwf: alpha is inf, but must be a finite number"),
        ([*BENCH, "--methods", LONG], f"unknown plugin '{LONG[:100]}…'. Known: "),
        ([*BENCH, "--training", f"epochs={DEEP}"], "cannot read the setting 'epochs=-----"),
        ([*BENCH, "--training", f"epochs={SUM}"], "cannot read the setting 'epochs=1+1+1"),
        ([*BENCH, "--training", "optimizer.lr=1e999"], "is inf, which no record can hold"),
        ([*BENCH, "--training", "lr=0.1"], "'lr'. It is a setting of the optimizer: optimizer.lr"),
        ([*BENCH, "--epochs", "9" * 23], "epochs is 99999999999999999999999, but must be at most"),
        ([*BENCH, "--epochs", "1000001"], "epochs is 1000001, but must be at most 1000000"),
        ([*BENCH, "--seeds", "99999999999"], "--seeds is '99999999999', but a seed must be at most"),
        ([*BENCH, "--seeds", NINES], "--seeds is '99999"),
        ([*BENCH, "--device", "meta"], "unknown device 'meta': use auto, cpu, cuda, cuda:N or mps"),
        ([*BENCH, "--device", "vulkan"], "unknown device 'vulkan': use auto, cpu, cuda, cuda:N or mps"),
        ([*BENCH, "--device", "cuda:x"], "unknown device 'cuda:x': use auto, cpu, cuda, cuda:N or mps"),
        ([*TUNE, f"alpha=[{DEEP}]"], "cannot read the values of 'alpha' in"),
        ([*TUNE, f"alpha=uniform(1,{SUM})"], "cannot read the values of"),
        ([*TUNE, f"alpha=uniform(1,{NINES})"], "cannot read the values of"),
        (["new", LONG], "is not a name for a method: it has more than 60 letters"),
    ],
)  # fmt: skip
def test_one_short_line(words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    told = capsys.readouterr().err
    assert complaint in told
    assert told.count("\n") == 1
    assert len(told) < 500
    assert list(Path().iterdir()) == []


def test_numbers_with_an_exponent_are_numbers_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*BENCH, "--dry-run", "--seeds", "0"]
    assert main([*words, "--methods", "lwf(alpha=1e-1)", "--training", "optimizer.lr=1e-3"]) == 0
    assert "1 run, 0 done, 1 to do" in capsys.readouterr().out


def test_numbers_with_an_exponent_are_numbers_in_a_plugins_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    Path("b.yaml").write_text(
        "name: b\ndataset: {name: digits}\nseeds: [0]\nmethods: {lwf: {lwf: {alpha: 1e-1}}, same: lwf(alpha=0.1)}\n"
    )
    assert main(["bench", "b.yaml", "--dry-run"]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.rpartition("seed0-")[2] == second.rpartition("seed0-")[2]


@pytest.mark.slow
def test_a_new_method_does_not_follow_a_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Path("my_method.py").symlink_to(elsewhere / "gone.py")
    assert main(["new", "my_method"]) == 2
    assert "'my_method.py' already exists and is not overwritten" in capsys.readouterr().err
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    ("traits", "complaint"),
    [
        ("requires=7", "traits.requires is 7, but must be a list"),
        ("requires='vit'", "traits.requires is 'vit', but must be a list"),
        ("requires=('moon',)", "traits.requires: 'moon' is not one of vit, clip, task_id, gradient"),
        ("effects=('magic',)", "traits.effects: 'magic' is not one of "),
        ("scenarios=('offline',)", "traits.scenarios: 'offline' is not one of "),
        ("training=3", "traits.training is 3, but must be a mapping"),
        ("gradient_free='x'", "traits.gradient_free is 'x', but must be true or false"),
        ("scores='logit'", "traits.scores is 'logit', but must be 'logits', .*Did you mean 'logits'"),
        ("scenarios=()", "traits.scenarios is empty, but must name some of "),
        ("require=('vit',)", "unknown entry 'traits.require'. Did you mean 'requires'"),
    ],
)
def test_what_a_plugin_declares_is_checked(traits: str, complaint: str) -> None:
    text = f"from clsuite.plugin import Plugin, Traits\n\nclass Own(Plugin):\n    traits = Traits({traits})\n"
    with pytest.raises(ValueError, match=complaint) as caught:
        read_source(text, "Own")
    assert "\n" not in str(caught.value)


def test_a_plugin_of_a_million_lines_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    Path("p.py").write_text("from clsuite.plugin import Plugin\n\nclass Own(Plugin):\n    pass\n" + "x = 1\n" * 100_000)
    assert main([*BENCH, "--methods", "./p.py"]) == 2
    told = capsys.readouterr().err
    assert "p.py' is not a plugin: it has 600,063 bytes, more than 262,144" in told
    assert told.count("\n") == 1
