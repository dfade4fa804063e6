"""The bridge to Avalanche: the same images in the same tasks, both ways, and runs from a Python file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from clsuite.cli.main import main
from clsuite.data.datasets import load_table
from clsuite.data.spec import DatasetSpec
from clsuite.errors import DataWarning, UserError
from clsuite.records import read_record
from clsuite.scenarios import Scenario, ScenarioSpec, build_scenario, from_avalanche, to_avalanche

warnings.filterwarnings("ignore")


def digits(shape: Any, per_class: int = 6) -> Scenario:
    table = load_table(DatasetSpec(name="digits"), 8)
    return build_scenario(table, ScenarioSpec.model_validate(shape), 0, per_class)


def ids(scenario: Scenario, rows: Any) -> list[bytes]:
    return sorted(digest.tobytes() for digest in scenario.table.digests[rows])


@pytest.mark.parametrize(
    "shape",
    [
        {"tasks": 5, "validation": 0.2},
        {"kind": "task_incremental", "tasks": 5},
        {"kind": "recurring", "tasks": 5, "length": 8},
        {"kind": "power_law", "tasks": 5},
        {"kind": "blurry", "tasks": 3, "blurry": 0.3},
    ],
)
def test_there_and_back_again(shape: Any) -> None:
    ours = digits(shape)
    back = from_avalanche(to_avalanche(ours), 8, ours.classes)
    assert back.kind == ("task_incremental" if ours.kind == "task_incremental" else "avalanche")
    for one, two in zip(ours.tasks, back.tasks, strict=True):
        assert ids(ours, one.train) == ids(back, two.train)
        assert ids(ours, one.validation) == ids(back, two.validation)
        assert one.classes == two.classes
    for one, two in zip(ours.eval_splits, back.eval_splits, strict=True):
        assert ids(ours, one.test) == ids(back, two.test)
        assert one.learned == two.learned
    rows = ours.tasks[0].train
    where = {digest.tobytes(): row for row, digest in enumerate(back.table.digests)}
    found = [where[ours.table.digests[row].tobytes()] for row in rows]
    assert np.array_equal(ours.table.images[rows], back.table.images[found])


def test_avalanche_trains_on_our_stream() -> None:
    from avalanche.training.supervised import Naive

    ours = digits({"tasks": 5})
    benchmark = to_avalanche(ours)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    seen: list[int] = []
    model.register_forward_hook(lambda module, args, output: seen.append(len(output)))
    strategy = Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=4,
        train_epochs=1,
        evaluator=None,
    )
    before = model[1].weight.detach().clone()
    for experience in benchmark.streams["train"]:
        assert set(experience.classes_in_this_experience) == set(ours.tasks[experience.current_experience].classes)
        strategy.train(experience, num_workers=0)
    assert sum(seen) == sum(len(task.train) for task in ours.tasks)
    assert not torch.equal(before, model[1].weight)


def with_labels(train: list[int], test: list[int]) -> Any:
    from avalanche.benchmarks import benchmark_from_datasets
    from avalanche.benchmarks.utils import TaskLabels

    streams = to_avalanche(digits({"tasks": len(train)})).streams
    data = {
        name: [
            exp.dataset.update_data_attribute("targets_task_labels", TaskLabels([label] * len(exp.dataset)))
            for exp, label in zip(streams[name], labels, strict=True)
        ]
        for name, labels in (("train", train), ("test", test))
    }
    return benchmark_from_datasets(**data)


def test_task_labels_that_cannot_be_mapped_are_named() -> None:
    for train, test, message in (
        ([0, 1, 0], [0, 1, 0], "the labels 0, 1, 0: one comes back"),
        ([0, 1, 2], [0, 2, 1], "train has 0, 1, 2, but test has 0, 2, 1"),
    ):
        with pytest.raises(UserError, match=message):
            from_avalanche(with_labels(train, test), 8)
    assert from_avalanche(with_labels([3, 3, 3], [3, 3, 3]), 8).kind == "avalanche"


def test_doubtful_images_are_told() -> None:
    from avalanche.benchmarks import benchmark_from_datasets

    streams = to_avalanche(digits({"tasks": 5}, per_class=2)).streams
    train, test = ([exp.dataset for exp in streams[name]] for name in ("train", "test"))
    with pytest.warns(DataWarning, match=f"Avalanche benchmark has {len(train[0])} test images in the training part"):
        from_avalanche(benchmark_from_datasets(train=train, test=[train[0], *test[1:]]), 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        from_avalanche(benchmark_from_datasets(train=train, test=test), 8)


def test_normalized_images_are_refused() -> None:
    benchmark = to_avalanche(digits({"tasks": 5}), transform=lambda image: image * 4 - 2)
    with pytest.raises(UserError, match=r"sample 0 of train experience 0 has values in .*take normalization out"):
        from_avalanche(benchmark, 8)


STREAM = """
import warnings
warnings.filterwarnings("ignore")
from avalanche.benchmarks import nc_benchmark
from torchvision.datasets import ImageFolder
from pathlib import Path

def make_benchmark(seed):
    data = Path(__file__).parent / "tree"
    return nc_benchmark(ImageFolder(data / "train"), ImageFolder(data / "test"), n_experiences=2, task_labels=False,
                        seed=seed)
"""
BENCHMARK = """
name: mine
scenario: {kind: avalanche, path: my_stream.py}
backbone: {name: omniglot_vit, weights: bundled, image_size: 32}
seeds: [0]
methods: {ncm: ncm, finetune: finetune}
"""


@pytest.mark.slow
def test_a_stream_made_by_avalanche_runs_under_bench(image_tree: Any, tmp_path: Path, capsys: Any) -> None:
    image_tree("tree")
    (tmp_path / "my_stream.py").write_text(STREAM)
    (tmp_path / "mine.yaml").write_text(BENCHMARK)
    out = tmp_path / "runs"
    assert main(["bench", str(tmp_path / "mine.yaml"), "--out", str(out), "--jobs", "1"]) == 0
    record = read_record(next((out / "mine" / "ncm").glob("*.json")))
    assert record.status == "done"
    assert record.scenario.kind == "avalanche"
    assert len(record.scenario.task_names) == 2
    assert str(tmp_path) not in record.model_dump_json()
    (tmp_path / "mine.yaml").write_text(BENCHMARK.replace("my_stream.py", "no_stream.py"))
    assert main(["bench", str(tmp_path / "mine.yaml"), "--out", str(out), "--dry-run"]) == 2
    assert "no stream file at" in capsys.readouterr().err
