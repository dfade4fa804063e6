"""What the command line shows of data sets: the list, what is missing, the bar while loading, one-line complaints."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from clsuite.cli.data_progress import loading_bar
from clsuite.cli.main import main
from clsuite.data.catalog import DATASETS
from clsuite.data.progress import report_progress


def lines_of(shown: str) -> dict[str, str]:
    """The first line of each data set."""
    return {line.split()[0]: line for line in shown.splitlines() if line.split()[:1] and line.split()[0] in DATASETS}


def test_the_list_has_the_facts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "datasets"]) == 0
    lines = lines_of(capsys.readouterr().out)
    assert set(lines) == set(DATASETS)
    for fact in ("100", "50,000 + 10,000", "32 x 32", "official"):
        assert fact in lines["cifar100"]
    for fact in ("7", "4", "9,991", "227 x 227", "80/20 of each class, ours"):
        assert fact in lines["pacs"]
    assert "non-commercial" in lines["cub200"]


def test_the_list_says_what_is_there_and_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train_32x32.mat").write_text("")
    (tmp_path / "pacs" / "train").mkdir(parents=True)
    assert main(["list", "datasets", "--data-root", str(tmp_path)]) == 0
    lines = lines_of(capsys.readouterr().out)
    assert "always there" in lines["digits"]
    assert " there" in lines["pacs"]
    assert "missing: MNIST/raw/" in lines["mnist"]
    assert "missing" not in lines["svhn"]


def test_a_data_root_that_is_nowhere_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "datasets", "--data-root", str(tmp_path / "nowhere")]) == 2
    assert "nowhere' is not a folder" in capsys.readouterr().err


@pytest.mark.parametrize("terminal", [True, False])
def test_the_bar_is_for_terminals(terminal: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100)
    with loading_bar(console):
        report_progress("decoding images", 256, 1000)
    assert ("decoding images" in out.getvalue() and "256/1000" in out.getvalue()) == terminal
    assert terminal or out.getvalue() == ""


def bench(tmp_path: Path, dataset: dict[str, object], *more: str) -> int:
    spec = {
        "name": "mine", "title": "mine", "dataset": dataset, "scenario": {"kind": "class_incremental", "tasks": 5},
        "backbone": {"name": "omniglot_vit", "weights": "bundled", "image_size": 32},
        "methods": {"ncm": {"plugins": ["ncm"]}}, "seeds": [0],
    }  # fmt: skip
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(spec))
    return main(["bench", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "runs"), *more])


@pytest.mark.parametrize(
    ("dataset", "message"),
    [({"name": "cub200"}, "no copy of 'cub200' in the data root. Put there CUB_200_2011/"),
     ({"name": "cifar10", "path": "no such folder"}, "no data at 'no such folder'"),
     ({"name": "image_folder", "path": "no"}, "mine.yaml:7: no data at 'no'. Correct the path, or give the folder"),
     ({"name": "cifra100"}, "mine.yaml:6: unknown data set 'cifra100'. Did you mean 'cifar100'"),
     ({"name": "digits", "fingerprint": "abc"}, "but the benchmark states abc"),
     ({"name": "digits", "test_per_class": 0}, "test_per_class")],
)  # fmt: skip
def test_bad_data_are_one_line_and_status_2(
    dataset: dict[str, object], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(tmp_path, dataset) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said
    assert "Traceback" not in said


def test_a_dry_run_lists_its_runs_without_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(tmp_path, {"name": "cub200"}, "--dry-run") == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "ncm, seed 0"
    assert shown[1].startswith("1 run; which of them are done is not known: no copy of 'cub200'")


@pytest.mark.slow
def test_limits_make_other_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for limits in ({}, {"test_per_class": 5}, {"train_per_class": 5}):
        assert bench(tmp_path, {"name": "digits", **limits}, "--dry-run") == 0
        shown.append(capsys.readouterr().out.splitlines()[0])
    assert len(set(shown)) == 3


def test_sequences_of_data_sets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "datasets"]) == 0
    shown = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.split()}
    assert "several data sets" in shown["sequence"]
    assert "MTIL" in shown["mtil"]
