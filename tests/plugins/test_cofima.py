"""CoFiMA: the mean of weights before and after a task, and SLCA's alignment after it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.plugin.helpers import head_values, weights_of
from clsuite.scenarios import Scenario, Task
from clsuite_plugins.cofima import CoFiMA, merged
from clsuite_plugins.ewc import EWC
from clsuite_plugins.slca import SLCA

SGD = {"name": "sgd", "momentum": 0.9}
GENERATOR = torch.Generator().manual_seed(0)


def draws(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=GENERATOR)


def test_each_entry_is_the_weighted_mean_and_lies_between() -> None:
    old, new, first, second = (draws(4, 3) for _ in range(4))
    found = merged({"w": old}, {"w": new}, {"w": first}, {"w": second}, 0.4)["w"]
    torch.testing.assert_close(found, (0.6 * first * old + 0.4 * second * new) / (0.6 * first + 0.4 * second))
    assert (found >= torch.minimum(old, new)).all()
    assert (found <= torch.maximum(old, new)).all()


def test_the_ends_are_the_old_and_the_new_weights() -> None:
    old, new, fisher = draws(5), draws(5), draws(5) + 0.1
    assert torch.equal(merged({"w": old}, {"w": new}, {"w": fisher}, {"w": fisher}, 1.0)["w"], new)
    assert torch.equal(merged({"w": old}, {"w": new}, {"w": fisher}, {"w": fisher}, 0.0)["w"], old)


def test_equal_information_is_the_plain_mean() -> None:
    old, new, fisher = draws(5), draws(5), draws(5) + 0.1
    plain = merged({"w": old}, {"w": new}, {}, {}, 0.4)["w"]
    torch.testing.assert_close(plain, 0.6 * old + 0.4 * new)
    torch.testing.assert_close(merged({"w": old}, {"w": new}, {"w": fisher}, {"w": fisher}, 0.4)["w"], plain)


def test_without_any_information_it_is_the_plain_mean_too_and_never_nan() -> None:
    old, new = draws(3), draws(3)
    nothing, some = torch.zeros(3), torch.tensor([0.0, 1e-30, 1.0])
    plain = merged({"w": old}, {"w": new}, {}, {}, 0.4)["w"]
    assert torch.equal(merged({"w": old}, {"w": new}, {"w": nothing}, {"w": nothing}, 0.4)["w"], plain)
    found = merged({"w": old}, {"w": new}, {"w": nothing}, {"w": some}, 0.4)["w"]
    torch.testing.assert_close(found, torch.stack([plain[0], new[1], new[2]]))


def test_rows_of_new_classes_stay_as_they_were_trained() -> None:
    new = draws(2, 3)
    assert torch.equal(merged({}, {"head": new}, {}, {"head": torch.zeros(2, 3)}, 0.4)["head"], new)


class Watched(CoFiMA):
    """Keeps what is trained, what is left for the next task, and the head as each task begins with it."""

    def __init__(self, **given: Any) -> None:
        super().__init__(samples=8, **given)
        self.trained: list[dict[str, torch.Tensor]] = []
        self.ended: list[dict[str, torch.Tensor]] = []
        self.fishers: list[dict[str, torch.Tensor]] = []
        self.begun: list[dict[str, torch.Tensor]] = []

    def on_task_start(self, learner: Learner, task: Task) -> None:
        self.begun.append(head_values(learner))

    def on_task_end(self, learner: Learner, task: Task) -> None:
        self.trained.append(weights_of(learner))
        super().on_task_end(learner, task)
        self.ended.append(weights_of(learner))
        self.fishers.append(dict(self._fisher))


def watched(make_stream: Any, **given: Any) -> tuple[Watched, Any]:
    stream = make_stream(plugin := Watched(lr=1e-3, **given), loss="local", optimizer=SGD)
    stream.run()
    return plugin, stream


def test_the_merged_backbone_goes_on_and_the_head_as_it_was_trained(make_stream: Any) -> None:
    plugin, _ = watched(make_stream)
    for task in (1, 2):
        given = plugin.fishers[task - 1], plugin.fishers[task]
        means = merged(plugin.ended[task - 1], plugin.trained[task], *given, 0.4)
        body = [name for name in means if name.startswith("backbone.")]
        assert all(torch.equal(plugin.ended[task][name], means[name]) for name in body)
        assert any(not torch.equal(means[name], plugin.trained[task][name]) for name in body)
        heads = plugin.begun[task]
        for name, value in plugin.trained[task - 1].items():
            if name.startswith("head."):
                assert torch.equal(heads[name], value)


@pytest.mark.slow
def test_the_information_is_that_of_batches_and_limited(make_stream: Any, scenario: Scenario) -> None:
    plugin, stream = watched(make_stream, fisher_limit=None)
    limited, _ = watched(make_stream, fisher_limit=1e-6)
    assert max(float(value.max()) for value in plugin.fishers[0].values()) > 1e-6
    assert max(float(value.max()) for value in limited.fishers[0].values()) <= 1.0001e-6
    own = [one.gradient_samples for one in stream.tasks]
    assert own == [2 * len(task.train) for task in scenario.tasks]  # trained once, and once for the information


def test_of_one_batch_it_is_the_squared_gradient_of_the_mean_loss(make_stream: Any, scenario: Scenario) -> None:
    stream = make_stream(plugin := CoFiMA(fisher_limit=None), on=scenario.first(1), loss="local", batch_size=1000)
    learner, task = stream.learner, scenario.tasks[0]
    learner.start(stream.scenario)
    learner.begin_task(task)
    found = plugin._estimate(learner, task)
    images = learner.backbone.normalize(learner.images_of(task.train))
    F.cross_entropy(learner(images), learner.labels_of(task.train)).backward()
    for name, value in learner.named_parameters():
        assert value.grad is not None
        torch.testing.assert_close(found[name], value.grad.square(), atol=1e-8, rtol=1e-2)


def fisher(make_stream: Any, scenario: Scenario, plugin: Any, scaled: float) -> dict[str, torch.Tensor]:
    """Its information on the first task, of a network whose loss is far smaller than half precision can hold."""
    stream = make_stream(plugin, on=scenario.first(1), loss="local", batch_size=1000)
    learner, task = stream.learner, scenario.tasks[0]
    learner.start(stream.scenario)
    learner.begin_task(task)
    learner.options = learner.options.model_copy(update={"precision": "16"})
    with torch.no_grad():
        for value in learner.head.parameters():
            value.mul_(scaled)
    measure = plugin.measure if isinstance(plugin, EWC) else plugin._estimate
    found: dict[str, torch.Tensor] = measure(learner, task)
    return found


@pytest.mark.parametrize("method", [CoFiMA, EWC])
def test_in_half_precision_the_information_is_that_of_full_precision(
    method: Any, make_stream: Any, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"fisher_limit": None} if method is CoFiMA else {"samples": 8}
    monkeypatch.setattr("clsuite.learner.precision.resolve_precision", lambda asked, device: "32-true")
    full = fisher(make_stream, scenario, method(**given), 1e-6)
    monkeypatch.setattr("clsuite.learner.precision.resolve_precision", lambda asked, device: "16-mixed")
    half = fisher(make_stream, scenario, method(**given), 1e-6)
    assert any(bool((value > 0).any()) for name, value in full.items() if name.startswith("backbone."))
    for name, value in full.items():
        assert torch.equal(half[name], value), name


@pytest.mark.slow
def test_with_all_weight_on_what_was_trained_it_is_slca(make_stream: Any) -> None:
    plugin, stream = watched(make_stream, alpha=1.0, merge="plain")
    plain = make_stream(slca := SLCA(samples=8, lr=1e-3), loss="local", optimizer=SGD)
    plain.run()
    assert torch.equal(plugin._gaussians.means, slca._gaussians.means)
    weights = weights_of(plain.learner)
    body = {name: value for name, value in weights_of(stream.learner).items() if name.startswith("backbone.")}
    assert all(torch.equal(value, weights[name]) for name, value in body.items())


@pytest.mark.slow
def test_what_is_kept_is_counted(make_stream: Any) -> None:
    plugin, stream = watched(make_stream)
    whole = sum(4 * value.numel() for value in stream.learner.parameters())
    kept = plugin.stored_bytes()
    assert (kept["weights"], kept["importances"]) == (whole, whole)
    assert kept["statistics"] == 6 * (192 + 192**2) * 4
    plain, _ = watched(make_stream, merge="plain")
    assert plain.stored_bytes()["importances"] == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"alpha": 1.2}, r"cofima: alpha is 1\.2, but must be"),
        ({"fisher_limit": 0.0}, r"cofima: fisher_limit is 0\.0, but must be above 0"),
        ({"samples": 0}, "samples is 0, but must be at least 1"),
    ],
)
def test_bad_arguments_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        CoFiMA(**given)
