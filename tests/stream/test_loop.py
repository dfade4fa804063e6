"""The stream loop on real data; what every plugin must keep to is in tests/conformance."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from few_digits import few_digits
from small_methods import SMALL

from clsuite.errors import UserError
from clsuite.learner.learner import Learner, Step
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import catalog, load_class
from clsuite.records import CountsEntry
from clsuite.scenarios import Scenario, ScenarioSpec, build_scenario
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.lwf import LwF
from clsuite_plugins.replay import Replay


def small(name: str) -> Plugin:
    """A registered plugin with the arguments that make it small."""
    return load_class(catalog()[name])(**SMALL.get(name, {}))


@pytest.mark.slow
def test_the_same_run_twice_is_the_same(make_stream: Any) -> None:
    streams = [make_stream(Replay(capacity=10), augment="crop_flip") for _ in range(2)]
    for stream in streams:
        stream.run()
    assert streams[0].matrix.counts() == streams[1].matrix.counts()
    assert streams[0].tasks[-1].final_loss == streams[1].tasks[-1].final_loss


def test_matrix_has_a_row_before_training_and_unseen_tasks_are_zero(make_stream: Any) -> None:
    stream = make_stream(Finetune())
    stream.run()
    counts: CountsEntry = stream.matrix.counts()
    assert len(counts.class_incremental) == 4
    matrix = counts.of("class_incremental")
    assert (matrix.correct[1:][np.triu_indices(3, 1)] == 0).all()
    assert (matrix.accuracy.diagonal() > 0.6).all()
    assert (counts.of("task_aware").correct >= matrix.correct).all()


def test_unseen_tasks_cost_no_forward_pass(make_stream: Any, scenario: Scenario) -> None:
    stream = make_stream(Finetune())
    seen: list[int] = []
    stream.learner.backbone.register_forward_hook(
        lambda module, args, output: None if module.training else seen.append(len(output))
    )
    stream.run()
    sizes = [len(task.test) for task in scenario.tasks]
    assert sum(seen) == sizes[0] + sum(sum(sizes[: i + 1]) for i in range(3))


def test_frozen_features_are_computed_once_per_image(make_stream: Any, scenario: Scenario) -> None:
    stream = make_stream(load_class(catalog()["linear_probe"])(), epochs=3)
    seen: list[int] = []
    stream.learner.backbone.register_forward_hook(lambda module, args, output: seen.append(len(output)))
    stream.run()
    before = len(scenario.tasks[0].test)  # row -1 is of the backbone that no plugin has frozen yet
    assert sum(seen) == before + sum(len(task.train) + len(task.test) for task in scenario.tasks)


def test_domain_stream_evaluates_every_domain_from_the_start(make_stream: Any) -> None:
    digits = few_digits(every=3)
    table = dataclasses.replace(digits, domains=np.arange(len(digits)) % 2, domain_names=("even", "odd"))
    domains = build_scenario(table, ScenarioSpec(kind="domain_incremental"), seed=0, train_per_class=8)
    stream = make_stream(Finetune(), on=domains)
    stream.run()
    counts = stream.matrix.counts()
    assert counts.class_incremental == counts.task_aware
    assert min(counts.class_incremental[1]) > 0.6 * min(counts.n)
    assert stream.learner.head.sizes == [10]


class _Sees(Plugin):
    def __init__(self) -> None:
        super().__init__()
        self.trainers: list[int] = []
        self.heads: list[int] = []
        self.order: list[str] = []

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self.trainers.append(id(trainer))
        self.heads.append(pl_module.head.classes)
        self._keep = [*getattr(self, "_keep", []), trainer]
        self.order.append("fit")

    def on_task_start(self, learner: Learner, task: Any) -> None:
        assert learner.head.classes == learner.scenario.seen_classes(task.index + 1)
        self.order.append("start")

    def on_task_end(self, learner: Learner, task: Any) -> None:
        self.order.append("end")

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        self.order.append("test")


def test_fresh_trainer_per_task_and_the_order_of_hooks(make_stream: Any) -> None:
    plugin = _Sees()
    make_stream(plugin).run()
    assert len(set(plugin.trainers)) == 3
    assert plugin.heads == [2, 4, 6]
    assert plugin.order == ["start", "fit", "end", "test"] * 3


class _Nan(Plugin):
    def loss(self, learner: Learner, step: Step) -> torch.Tensor | None:
        return torch.tensor(float("nan")) if learner.task and learner.task.index == 1 else None


def test_a_loss_that_is_not_finite_says_where(make_stream: Any) -> None:
    with pytest.raises(UserError, match=r"the loss is nan in task 1 \(.*\), epoch 0, step 0"):
        make_stream(_Nan()).run()


class _NoRows(Plugin):
    def select_indices(self, learner: Learner, task: Any, rows: Any) -> Any:
        return rows[:0]


def test_a_task_without_steps_is_an_error(make_stream: Any) -> None:
    with pytest.raises(UserError, match="took no optimizer step"):
        make_stream(_NoRows()).run()


def test_local_loss_leaves_old_heads_alone(make_stream: Any) -> None:
    stream = make_stream(Finetune(), loss="local")
    stream.run()
    grown = make_stream(Finetune(), loss="local")
    grown.scenario = grown.scenario.first(1)
    grown.matrix = type(grown.matrix)(grown.scenario)
    grown.run()
    first = stream.learner.head.groups[0].weight
    assert torch.equal(first, grown.learner.head.groups[0].weight)


@pytest.mark.slow
def test_replay_forgets_less_than_finetuning_and_lwf_composes(make_stream: Any) -> None:
    finals = {}
    for name, plugins in {"finetune": [Finetune()], "replay": [Replay(20, buffer="class_balanced")],
                          "both": [LwF(), Replay(20, buffer="class_balanced")]}.items():  # fmt: skip
        stream = make_stream(*plugins, epochs=3)
        stream.run()
        finals[name] = stream.matrix.counts().of("class_incremental").accuracy[-1].mean()
    assert finals["replay"] > finals["finetune"] + 0.3
    assert finals["both"] > finals["finetune"] + 0.3


@pytest.mark.slow
@pytest.mark.parametrize("method", ["finetune", "linear_probe", "ncm"])
def test_bf16_learns_as_well(method: str, make_stream: Any) -> None:
    finals = {}
    for precision in ("32", "bf16"):
        stream = make_stream(small(method), precision=precision, epochs=2)
        stream.run()
        assert next(stream.learner.parameters()).dtype == torch.float32
        finals[precision] = stream.matrix.counts().of("class_incremental").accuracy.diagonal().mean()
    assert finals["bf16"] == pytest.approx(finals["32"], abs=0.1)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_gradients_are_clipped_in_bf16(optimizer: str, make_stream: Any, scenario: Scenario) -> None:
    class Look(Plugin):
        def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
            if gradients:
                norms.append(torch.stack([gradient.norm() for gradient in gradients]).norm().item())

    norms: list[float] = []
    options = {"name": optimizer, "lr": 1e-3}
    make_stream(Look(), on=scenario.first(1), precision="bf16", gradient_clip=1e-3, optimizer=options).run()
    assert norms
    assert max(norms) == pytest.approx(1e-3, rel=1e-2)


def test_automatic_precision_is_what_the_processor_has() -> None:
    from clsuite.learner.precision import native_bf16, resolve_precision

    device = torch.device("cpu")
    assert resolve_precision("auto", device) == ("bf16-mixed" if native_bf16(device) else "32-true")
    assert resolve_precision("16", torch.device("cuda")) == "16-mixed"
    with pytest.raises(UserError, match="precision 16 needs a GPU"):
        resolve_precision("16", device)
