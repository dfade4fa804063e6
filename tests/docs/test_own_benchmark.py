"""The benchmark that the documentation shows runs as it stands, on a small folder of images."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from clsuite.cli.main import main
from clsuite.errors import InputWarning
from clsuite.runner.execute import execute
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import make_plan
from clsuite.runner.spec import load_benchmark

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "own-data.md"


@pytest.fixture
def shown() -> str:
    """The page's benchmark: of its YAML blocks the one with a data set and methods."""
    blocks = re.findall(r"^```ya?ml *\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    whole = [block for block in blocks if {"dataset", "methods"} <= {*(yaml.safe_load(block) or {})}]
    assert len(whole) == 1
    return whole[0]


@pytest.fixture
def folder(image_tree: Callable[..., Path], shown: str) -> Path:
    """Where the benchmark lies, with 40 images in the folder that it names."""
    content = yaml.safe_load(shown)
    return image_tree(content["dataset"]["path"], classes=content["scenario"]["tasks"], train=4, test=2).parent


def test_it_can_be_planned_as_it_stands(
    folder: Path, shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "mine.yaml").write_text(shown, encoding="utf-8")
    assert main(["bench", str(folder / "mine.yaml"), "--dry-run", "--out", str(tmp_path / "runs")]) == 0
    said = capsys.readouterr()
    number = len(yaml.safe_load(shown)["methods"]) * len(yaml.safe_load(shown)["seeds"])
    assert f"{number} runs, 0 done, {number} to do" in said.out


@pytest.mark.slow
def test_all_its_methods_run_on_few_images(folder: Path, shown: str, tmp_path: Path) -> None:
    """On the bundled backbone, for two tasks of one seed; everything else is as it stands."""
    content: dict[str, Any] = yaml.safe_load(shown)
    content |= {"backbone": {"name": "omniglot_vit", "image_size": 32}, "seeds": [0], "limit_tasks": 2}
    (folder / "mine.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    spec, path = load_benchmark(str(folder / "mine.yaml"))
    with pytest.warns(InputWarning, match="may keep 500 exemplars, but the stream has 8 training images: all are kept"):
        plans = make_plan(spec, path.parent, RunOptions(out=tmp_path / "runs"))
    assert [plan.pending.method for plan in plans] == [*content["methods"]]
    for plan in plans:
        assert execute(plan, lambda event: None).status == "done"
