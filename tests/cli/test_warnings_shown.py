"""Warnings about data and files: a line on the command line, once, and a warning in Python."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from clsuite.cli.main import main
from clsuite.cli.warnings_shown import print_warnings
from clsuite.data import load_dataset
from clsuite.errors import DataWarning, InputWarning, warn_of


def test_ours_are_lines_told_once_and_others_are_what_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with print_warnings():
            for _ in range(3):
                warn_of("one [b]thing[/b]\n")
            warn_of("another", InputWarning)
            with pytest.warns(RuntimeWarning):
                warnings.warn("theirs", RuntimeWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: one [b]thing[/b]\\n\nwarning: another\n"


def test_no_warning_commands_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(), print_warnings():
        warnings.warn("ours \x1b[31m", InputWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: ours \\x1b[31m\n"
    with warnings.catch_warnings(record=True) as caught, print_warnings():
        warnings.warn("Glyph 27 (\x1b) missing", RuntimeWarning, stacklevel=1)
    assert [(str(one.message), one.category) for one in caught] == [("Glyph 27 (\\x1b) missing", RuntimeWarning)]


@pytest.mark.slow
def test_bench_tells_of_doubtful_data_once(
    image_tree: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = image_tree(classes=4, train=5)
    label = sorted(path.name for path in (root / "test").iterdir())[0]
    for path in (root / "test" / label).iterdir():
        path.unlink()
    (root / "test" / label).rmdir()
    (root / "train" / label / "notes.txt").write_text("x")
    spec = {
        "name": "doubtful", "dataset": {"name": "image_folder", "path": str(root)},
        "scenario": {"kind": "class_incremental", "tasks": 2}, "training": {"epochs": 1},
        "backbone": {"name": "omniglot_vit", "weights": "bundled", "image_size": 32}, "seeds": [0, 1],
        "methods": {"ncm": "ncm"},
    }  # fmt: skip
    (tmp_path / "bench.yaml").write_text(yaml.safe_dump(spec))
    status = main(["bench", str(tmp_path / "bench.yaml"), "--out", str(tmp_path)])
    told = capsys.readouterr().err
    assert status == 0, told
    assert told.count("warning: ") == 2, told
    assert told.count(f"has no test images of class '{label}': learned, but never tested") == 1
    assert told.count("1 file or folder in") == 1
    with pytest.warns(DataWarning, match="never tested"):
        load_dataset("image_folder", path=str(root), image_size=32)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_told_by_bench(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = {
        "name": "cut", "dataset": {"name": "digits", "train_per_class": 5}, "scenario": {"tasks": 2}, "seeds": [0],
        "training": {"epochs": 1}, "methods": {"ncm": "ncm"},
    }  # fmt: skip
    (tmp_path / "cut.yaml").write_text(yaml.safe_dump(spec))
    words = ["bench", str(tmp_path / "cut.yaml"), "--out", str(tmp_path)]
    assert main([*words, "--dry-run"]) == 0
    record = Path(next(word for word in capsys.readouterr().out.split() if word.endswith(".json")))
    record.parent.mkdir(parents=True)
    record.with_suffix(".ckpt").write_bytes(b"cut")
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert shown.count("warning: ncm, seed 0: the checkpoint") == 1
    assert "is damaged" in shown
