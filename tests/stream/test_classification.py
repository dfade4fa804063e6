"""A classification loss of a method's own, in place of the cross-entropy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from interruptions import bits, interrupted
from torch import Tensor
from torch.nn import functional as F

from clsuite.errors import UserError
from clsuite.learner.learner import Learner, Step
from clsuite.plugin import Plugin, classification_loss
from clsuite.plugin.catalog import catalog
from clsuite.plugin.compatibility import check_method
from clsuite.plugin.introspection import PluginSource, read_source
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.replay import Replay


class Margin(Plugin):
    """CosFace's margin: the true class must win by it."""

    def __init__(self, margin: float = 0.3) -> None:
        super().__init__()
        self.margin = margin

    def classification(self, learner: Learner, step: Step) -> Tensor | None:
        assert learner.task is not None
        lowered = step.logits - self.margin * F.one_hot(step.batch.labels, step.logits.shape[1])
        return classification_loss(lowered, step.batch.labels, learner.options.loss, learner.task.classes)


class Subtracts(Margin):
    """The same by the way around: what is added takes the cross-entropy off again."""

    classification = Plugin.classification

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        assert learner.task is not None
        own = Margin.classification(self, learner, step)
        assert own is not None
        base = classification_loss(step.logits, step.batch.labels, learner.options.loss, learner.task.classes)
        return own - base


def ends(stream: Any) -> dict[str, Tensor]:
    stream.run()
    state: dict[str, Tensor] = stream.learner.state_dict()
    return state


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["global", "local"])
def test_without_a_margin_it_is_the_cross_entropy_bit_for_bit(loss: str, make_stream: Any) -> None:
    mine, plain = (ends(make_stream(one, Replay(12), loss=loss)) for one in (Margin(0.0), Finetune()))
    assert all(torch.equal(value, mine[name]) for name, value in plain.items())


@pytest.mark.slow
def test_its_gradient_is_that_of_the_loss_alone(make_stream: Any) -> None:
    mine, around, plain = (
        ends(make_stream(one, loss="local", optimizer={"name": "sgd", "lr": 0.01}))
        for one in (Margin(), Subtracts(), Finetune())
    )
    for name, value in mine.items():
        assert torch.allclose(value, around[name], atol=1e-5), name
    assert any(not torch.allclose(value, plain[name], atol=1e-5) for name, value in mine.items())


@pytest.mark.slow
def test_interrupted_and_resumed_it_ends_in_the_same_bits(make_stream: Any, tmp_path: Path) -> None:
    alone = make_stream(Margin(), epochs=2)
    alone.run()
    step = alone.tasks[1].steps - 1
    again = interrupted(make_stream, tmp_path / "x.ckpt", 1, step, lambda: [Margin()], epochs=2)
    for mine, his in zip(bits(again), bits(alone), strict=True):
        assert mine == his


def declared(hook: str) -> PluginSource:
    text = f"""class Mine(Plugin):\n    def {hook}(self, learner, step):\n        return None\n"""
    return read_source("from clsuite.plugin import Plugin\n" + text, "Mine")


def test_two_that_replace_it_are_refused_and_so_is_one_beside_what_takes_no_steps() -> None:
    one = ("one", declared("classification"))
    with pytest.raises(UserError, match="both answer the classification loss"):
        check_method([one, ("other", declared("classification"))], "class_incremental")
    check_method([one, ("other", declared("loss"))], "class_incremental")
    source = catalog()["ncm"].source
    assert source is not None
    with pytest.raises(UserError, match="classification of 'one' would have no effect"):
        check_method([one, ("ncm", source)], "class_incremental")
    icarl = catalog()["icarl"].source
    assert icarl is not None
    for method in ([one, ("icarl", icarl)], [("icarl", icarl), one]):
        with pytest.raises(UserError, match="iCaRL's loss stands in place of the cross-entropy"):
            check_method(method, "class_incremental")
