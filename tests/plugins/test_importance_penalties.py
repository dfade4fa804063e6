"""SI, MAS and RWalk: importances by hand and by Avalanche, and one penalty that is nothing where it weighs nothing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from avalanche.training.plugins.mas import MASPlugin
from avalanche.training.plugins.rwalk import RWalkPlugin
from avalanche.training.plugins.synaptic_intelligence import SynapticIntelligencePlugin
from clip_streams import assert_resumes_as
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from clsuite.errors import UserError
from clsuite.learner.learner import Learner, Step
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import find_plugin
from clsuite.plugin.compatibility import check_method
from clsuite.plugin.helpers import weights_of
from clsuite.scenarios import Scenario
from clsuite_plugins.linear_probe import LinearProbe
from clsuite_plugins.mas import MAS
from clsuite_plugins.rwalk import RWalk
from clsuite_plugins.si import SI

SGD = {"name": "sgd", "lr": 0.001}


class Path2(Plugin):
    """Sums the path of the second task by itself: the gradient of the cross-entropy alone, and what a step changes."""

    def __init__(self) -> None:
        super().__init__()
        self.path: dict[str, torch.Tensor] = {}
        self.losses: list[float] = []

    def loss(self, learner: Learner, step: Step) -> None:
        assert learner.task is not None
        if learner.task.index != 1:
            return
        parameters = {name: value for name, value in learner.named_parameters() if value.requires_grad}
        loss = F.cross_entropy(step.logits, step.batch.labels)
        self.losses.append(float(loss.detach()))
        gradients = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True)
        self.gradients = dict(zip(parameters, gradients, strict=True))
        self.before = {name: value.detach().clone() for name, value in parameters.items()}

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        for name, value in pl_module.named_parameters() if pl_module.task.index == 1 else ():
            step = -self.gradients[name] * (value.detach() - self.before[name])
            self.path[name] = self.path.get(name, 0) + step


class KeptSI(SI):
    """Keeps the path of each task."""

    def measure(self, learner: Learner, task: Any) -> dict[str, torch.Tensor]:
        self.kept = dict(self._path)
        return super().measure(learner, task)


def test_the_path_is_that_of_the_loss_alone_and_of_what_the_optimizer_has_changed(
    make_stream: Any, scenario: Scenario
) -> None:
    si, spy = KeptSI(penalty=1e3), Path2()
    make_stream(si, spy, on=scenario.first(2), gradient_clip=0.1).run()  # AdamW, with a penalty in the second task
    assert spy.path.keys() == si.kept.keys()
    for name, value in spy.path.items():
        torch.testing.assert_close(si.kept[name], value, rtol=1e-3, atol=1e-7)


def test_the_path_of_small_steps_sums_to_what_the_loss_has_fallen(make_stream: Any, scenario: Scenario) -> None:
    si, spy = KeptSI(penalty=0.0), Path2()
    stream = make_stream(si, spy, on=scenario.first(2), batch_size=1000, epochs=4, optimizer={**SGD, "momentum": 0.0})
    stream.run()
    learner, task = stream.learner, scenario.tasks[1]
    with torch.no_grad():
        images = learner.backbone.normalize(learner.images_of(task.train))
        after = float(F.cross_entropy(learner(images), learner.labels_of(task.train)))
    fallen, total = spy.losses[0] - after, float(sum(value.sum() for value in si.kept.values()))
    assert fallen > 0.02
    assert total == pytest.approx(fallen, rel=0.1)


def test_si_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    si = SI(xi=0.5)
    si._start, si._path = {}, {}
    with torch.no_grad():
        model.weight.fill_(3.0)
    one = torch.ones(1, 1)
    si.add_step("weight", -2 * one, 0 * one, 2 * one)  # falls by 4
    si.add_step("weight", one, 2 * one, 3 * one)  # rises by 1
    assert si.measure(model, None)["weight"].item() == pytest.approx(3 / (9 + 0.5))  # type: ignore[arg-type]
    si.add_step("weight", one, 2 * one, 3 * one)
    assert si.measure(model, None)["weight"].item() == 0  # type: ignore[arg-type]
    assert si.joined(one, 2 * one).item() == 3


def test_si_has_the_importances_of_avalanche(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one task, as its penalty is in its gradient; and of copies, where Avalanche keeps views on the CPU."""

    def copy(model: Any, target: Any, excluded: Any) -> None:
        for name, value in model.named_parameters():
            target[name].data = value.detach().flatten().clone()

    theirs = SynapticIntelligencePlugin
    monkeypatch.setattr(theirs, "extract_weights", staticmethod(copy))
    torch.manual_seed(0)
    model, data = nn.Linear(3, 2), torch.randn(4, 6, 3)
    optimizer, ours = torch.optim.AdamW(model.parameters(), lr=0.1), SI(xi=1e-3)
    ours._start, ours._path = {}, {}
    kept: Any = (({}, {}), {key: {} for key in ("old_theta", "new_theta", "grad", "trajectory", "cum_trajectory")})
    theirs.create_syn_data(model, *kept, set())
    theirs.init_batch(model, *kept, set())
    for batch in data:
        theirs.pre_update(model, kept[1], set())
        before = {name: value.detach().clone() for name, value in model.named_parameters()}
        optimizer.zero_grad()
        F.cross_entropy(model(batch), torch.tensor([0, 1] * 3)).backward()
        optimizer.step()
        theirs.post_update(model, kept[1], set())
        for name, value in model.named_parameters():
            assert value.grad is not None
            ours.add_step(name, value.grad, before[name], value.detach().clone())
    theirs.update_ewc_data(model, *kept, torch.inf, set(), 1, eps=1e-3)
    for name, value in ours.measure(model, None).items():  # type: ignore[arg-type]
        assert value.any()
        expected = kept[0][1][name].data.view_as(value).clamp_min(0)
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6)


def test_mas_of_a_linear_model_is_the_mean_of_twice_input_times_output(make_stream: Any, scenario: Scenario) -> None:
    for loss in ("global", "local"):
        mas = MAS(samples=None)
        learner = make_stream(LinearProbe(), mas, loss=loss).learner
        learner.start(scenario)
        for task in scenario.tasks[:2]:
            learner.begin_task(task)
        learner.head.requires_grad_(True)
        found = mas.measure(learner, scenario.tasks[1])
        features = learner.features_of(scenario.tasks[1].train)
        logits = learner.head(features).detach()
        expected = (2 * logits[:, :, None] * features[:, None]).abs().mean(dim=0)
        torch.testing.assert_close(found["head.groups.1.weight"], expected[2:], rtol=1e-3, atol=1e-6)
        old = expected[:2] if loss == "global" else torch.zeros_like(expected[:2])
        torch.testing.assert_close(found["head.groups.0.weight"], old, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_mas_has_the_importances_of_avalanche(make_stream: Any, scenario: Scenario) -> None:
    """By batches of one image, as Avalanche takes the gradient of a batch."""
    task, ours = scenario.tasks[0], MAS(samples=None)
    learner = make_stream(ours).learner
    learner.start(scenario)
    learner.begin_task(task)
    images = learner.backbone.normalize(learner.images_of(task.train))
    dataset = TensorDataset(images, learner.labels_of(task.train), torch.zeros(len(images)))
    settings = {"device": torch.device("cpu"), "train_mb_size": 1, "experience": SimpleNamespace(dataset=dataset)}
    optimizer = torch.optim.SGD(learner.parameters())
    theirs = MASPlugin()._get_importance(SimpleNamespace(model=learner, optimizer=optimizer, **settings))
    for name, value in ours.measure(learner, task).items():
        torch.testing.assert_close(value, theirs[name].data, rtol=1e-3, atol=1e-7)
    one, two = torch.tensor(1.0), torch.tensor(3.0)
    assert (float(ours.joined(one, two)), float(ours.joined(one, None))) == (2.0, 1.0)
    assert float(MAS(alpha=None).joined(one, two)) == 4.0


def test_rwalk_has_the_importances_of_avalanche() -> None:
    torch.manual_seed(0)
    model, labels = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.tensor([0, 1] * 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    epsilon = float(torch.finfo(torch.float32).eps)
    theirs, ours = RWalkPlugin(ewc_lambda=0.5, ewc_alpha=0.7, delta_t=3), RWalk(1.0, 0.7, 3, epsilon)
    clock = SimpleNamespace(train_iterations=0, train_exp_counter=0)
    common = {"device": torch.device("cpu"), "_criterion": F.cross_entropy, "clock": clock}
    strategy = SimpleNamespace(model=model, optimizer=optimizer, **common)
    for number in range(2):
        clock.train_exp_counter = number
        theirs.before_training(strategy)
        ours._start, ours._path, ours._fresh, ours._steps = {}, {}, {}, 0
        for batch in torch.randn(6, 6, 3):
            strategy.mbatch = [batch, labels, torch.zeros(6)]
            theirs.before_training_iteration(strategy)
            before = {name: value.detach().clone() for name, value in model.named_parameters()}
            optimizer.zero_grad()
            strategy.loss = F.cross_entropy(model(batch), labels)
            theirs.before_backward(strategy)
            strategy.loss.backward()
            optimizer.step()
            theirs.after_training_iteration(strategy)
            for name, value in model.named_parameters():
                ours.add_step(name, theirs.iter_grad[name].data, before[name], value.detach().clone())
            ours.end_step(model)  # type: ignore[arg-type]
            clock.train_iterations += 1
        theirs.after_training_exp(strategy)
        found = ours.measure(model, None)  # type: ignore[arg-type]
        for name, value in found.items():
            torch.testing.assert_close(value, theirs.exp_penalties[name].data, rtol=1e-4, atol=1e-6)
        assert max(float(value.max()) for value in found.values()) > 1


@pytest.mark.slow
@pytest.mark.parametrize("plugin", [SI, MAS, RWalk])
def test_a_penalty_without_weight_is_fine_tuning_to_the_bit(plugin: Any, make_stream: Any, scenario: Scenario) -> None:
    streams = [make_stream(*plugins, on=scenario.first(2)) for plugins in ((plugin(penalty=0.0),), ())]
    for stream in streams:
        stream.run()
    ours, plain = (weights_of(stream.learner) for stream in streams)
    assert all(torch.equal(value, ours[name]) for name, value in plain.items())
    size, copies = sum(value.nbytes for value in plain.values()), 4 if plugin is RWalk else 2
    assert streams[0].learner.plugins[0].stored_bytes() == {"importances": copies * size}


@pytest.mark.slow
def test_a_run_that_was_interrupted_between_tasks_ends_the_same(make_stream: Any, tmp_path: Path) -> None:
    def make(**more: Any) -> Any:
        return make_stream(SI(penalty=1e3), RWalk(penalty=1e3, interval=2), **more)

    whole = make()
    whole.run()
    assert_resumes_as(whole, make, tmp_path)


def test_where_an_order_would_decide_the_sum_the_wrong_one_is_refused() -> None:
    def check(*names: str) -> None:
        check_method([(name, find_plugin(name)[1]) for name in names], "class_incremental")

    check("saft", "si")
    check("si", "ewc", "mas", "rwalk")
    with pytest.raises(UserError, match=r"sums the updates that remain after the reset: write \[saft, si\]"):
        check("si", "saft")
    with pytest.raises(UserError, match=r"write \[rwalk, kfpf\]"):
        check("kfpf", "rwalk")
    check_method([("si", find_plugin("si")[1])], "online")
    with pytest.raises(UserError, match="'mas' cannot learn online streams"):
        check_method([("mas", find_plugin("mas")[1])], "online")


def test_a_precision_that_scales_gradients_is_refused(make_stream: Any, scenario: Scenario) -> None:
    learner = make_stream(si := SI()).learner
    learner.options = learner.options.model_copy(update={"precision": "16"})
    with pytest.raises(UserError, match="si: precision 16 scales the gradients"):
        si.on_task_start(learner, scenario.tasks[0])
