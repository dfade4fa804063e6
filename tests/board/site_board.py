"""Boards for the tests of the page, made by hand: no run is needed."""

from __future__ import annotations

from typing import Any

from clsuite.board.model import Benchmark, Board, Bound, PluginUse, Rank, Reported, Row, Run, Tags
from clsuite.metrics import Column
from clsuite.report.summary import Figure

METRICS = [
    Column(
        name="final_accuracy_macro",
        label="final acc.",
        about="The last accuracy.",
        formula="mean_j A[T-1,j]",
        source="x",
        higher_is_better=True,
    ),
    Column(name="forgetting_max_before_last", label="forgetting", higher_is_better=False),
    Column(name="learning_accuracy", label="learning acc.", higher_is_better=True),
    Column(name="probe_knn", label="probe knn", higher_is_better=True),
    Column(name="probe_calibration", label="probe calibration", higher_is_better=False, unit="number"),
    Column(name="trainable_parameters", label="trained", higher_is_better=False, unit="parameters"),
    Column(name="stored_bytes", label="stored", higher_is_better=False, unit="bytes"),
    Column(name="gradient_samples", label="gradient samples", higher_is_better=False, unit="samples"),
    Column(name="train_seconds", label="training s", higher_is_better=False, unit="seconds"),
]


def figure(mean: float | None, best: bool = False) -> Figure:
    if mean is None:
        return Figure(mean=None, half=None, low=None, high=None, values=(None, None))
    half = 0.02 * mean
    values = (mean * 0.99, mean * 1.01)
    return Figure(mean=mean, half=half, low=mean - half, high=mean + half, values=values, best=best)


def run(name: str, seed: int, accuracy: float) -> Run:
    matrix = [[accuracy, 0.0, 0.0], [accuracy, accuracy, 0.0], [accuracy - 0.1, accuracy, accuracy]]
    return Run(
        key="k" * 64, seed=seed, record=f"records/small/{name}/k{seed}.json", badge="measured", notes=[], rerun=None,
        command=f"clsuite leaderboard rerun small/{name}/{seed} --data-root DATA", machine="cpu: X",
        tasks=["a", "b", "c"], parts=["cat", "dog", "eel"], initial=[0.1, 0.0, 0.0], accuracy=matrix, learned=[0, 1, 2],
        over_tasks=[accuracy] * 3, probes={"knn": [0.9, 0.8, 0.7, 0.6]}, stored_bytes={}, seconds=1.5,
        environment={"python": "3.11.0", "precision": "32-true"},
    )  # fmt: skip


def row(
    name: str, rank: int, accuracy: float, best: bool = False, years: tuple[int, ...] = (), title: str = "", **tags: Any
) -> Row:
    means = {
        "final_accuracy_macro": accuracy, "forgetting_max_before_last": None if rank == 2 else 1 - accuracy,
        "learning_accuracy": 0.9, "probe_knn": 0.5 + rank / 100, "probe_calibration": 0.1,
        "trainable_parameters": 10.0**rank if rank < 9 else 5e5, "stored_bytes": 1000.0 * (rank % 3),
        "gradient_samples": 640.0, "train_seconds": 2.0 + rank % 7,
    }  # fmt: skip
    values = {"backbone": "vit", "exemplars": False, "task_id": False, "gradient": True, "pet": [], **tags}
    return Row(
        method=name, title=title or name, badge="measured", rank=Rank(rank=rank, low=1, high=rank), seeds=(0, 1),
        tags=Tags(needs=[], stores=[], years=list(years), **values),
        plugins=[PluginUse(name="p", args={"a": 1}, distribution="d 1", papers={"Doe, 2020": "https://example.org/p"})],
        config={"training": {"epochs": 1}}, runs=[run(name, 0, accuracy), run(name, 1, accuracy)],
        figures={metric: figure(mean, best and metric == "final_accuracy_macro") for metric, mean in means.items()},
    )  # fmt: skip


def bound(name: str, kind: Bound, accuracy: float) -> Row:
    return row(name, 9, accuracy).model_copy(update={"rank": None, "bound": kind})


def board(rows: list[Row], reported: tuple[Reported, ...] = (), name: str = "small") -> Board:
    return Board(
        benchmarks=[
            Benchmark(
                name=name, title="A small one", headline="final_accuracy_macro",
                kind="class_incremental", protocol="class_incremental", dataset="d",
                backbone="vit", tasks=3, seeds=[0, 1], metrics=METRICS, rows=rows,
            )
        ],
        reported=list(reported),
    )  # fmt: skip


def small() -> Board:
    rows = [
        row("ranpac", 1, 0.9, best=True, years=(2023,)),
        row("replay", 2, 0.8, exemplars=True, years=(2019,)),
        row("lora", 3, 0.7, pet=["lora"], years=(2017, 2022)),
        row("finetune", 4, 0.2, task_id=True, backbone="clip"),
    ]
    told = Reported(
        method="RanPAC, 10,000 projections",
        stream="Split Z",
        weights="w",
        protocol="p",
        source="Doe 2020",
        figures={"last": "92.2"},
    )  # fmt: skip
    return board(rows, (told,))
