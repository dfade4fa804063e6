"""InfLoRA: branches in the directions that earlier tasks leave free, and the space that says which these are."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from clsuite.backbones.vit import Backbone
from clsuite.data.batch import gather
from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.options import OptimizerSpec, TrainingSpec
from clsuite.learner.token_covariances import token_covariances
from clsuite.peft import LoRA, transformer_blocks
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import find_plugin
from clsuite.plugin.compatibility import check_method
from clsuite.scenarios import Scenario, Task
from clsuite_plugins.inflora import InfLoRA, complement, free_directions, grown, lessened
from clsuite_plugins.pet import Pet


def moment_of(values: list[float], seed: int = 0) -> tuple[Tensor, Tensor]:
    """A second moment with given eigenvalues, and its eigenvectors."""
    basis = torch.linalg.qr(
        torch.randn(len(values), len(values), generator=torch.Generator().manual_seed(seed)).double()
    )
    return basis.Q @ torch.tensor(values).double().diag() @ basis.Q.T, basis.Q


def spans(first: Tensor, second: Tensor) -> bool:
    """Whether orthonormal columns span the same space."""
    return first.shape == second.shape and torch.allclose(first @ first.T, (second @ second.T).float(), atol=1e-5)


def test_rows_are_the_main_directions_of_what_is_allowed() -> None:
    moment, vectors = moment_of([8.0, 4.0, 2.0, 1.0, 0.5])
    nothing = torch.zeros(5, 0)
    assert spans(free_directions(moment, nothing, False, 2).T, vectors[:, :2])
    used = vectors[:, :2].float()
    assert spans(free_directions(moment, used, False, 2).T, vectors[:, 2:4])
    assert spans(free_directions(moment, vectors[:, 3:].float(), True, 2).T, vectors[:, 3:])


def test_rows_without_a_free_direction_are_zero() -> None:
    moment, vectors = moment_of([8.0, 4.0, 2.0, 1.0])
    rows = free_directions(moment, vectors[:, 3:].float(), True, 3)
    assert spans(rows[:1].T, vectors[:, 3:])
    assert torch.equal(rows[1:], torch.zeros(2, 4))


@pytest.mark.parametrize(("criterion", "kept"), [("code", 1), ("paper", 3)])
def test_the_first_space_keeps_less_than_the_share(criterion: Any, kept: int) -> None:
    """Shares of the code's energies: 0.79, 0.94, 0.99; of the paper's: 0.53, 0.76, 0.89, 0.96."""
    moment, vectors = moment_of([7.0, 3.0, 1.6, 1.0, 0.5])
    space = grown(moment, torch.zeros(5, 0), 0.9, criterion)
    assert spans(space, vectors[:, :kept])


def test_the_first_space_has_one_direction_at_least() -> None:
    moment, vectors = moment_of([9.0, 1.0, 0.1])
    assert spans(grown(moment, torch.zeros(3, 0), 0.5, "code"), vectors[:, :1])


def test_a_space_grows_until_it_keeps_the_share() -> None:
    """Of the paper's energies 9, 4 and 1, and of the code's, their squares."""
    moment, vectors = moment_of([9.0, 4.0, 1.0])
    used = vectors[:, 1:].float()
    assert spans(grown(moment, used, 5 / 14 - 0.01, "paper"), vectors[:, 1:])  # enough as it is
    assert grown(moment, used, 0.9, "paper").shape == (3, 3)
    assert spans(grown(moment, vectors[:, 2:].float(), 0.8, "code"), vectors[:, [2, 0]])  # 1/98, then 82/98
    assert grown(moment, vectors[:, 2:].float(), 0.99, "code").shape == (3, 3)


def test_free_directions_are_taken_until_they_hold_little() -> None:
    """Free directions hold 4 + 2 + 1 of 16 in the paper's measure: without 4 and 2 they hold less than a tenth."""
    moment, vectors = moment_of([9.0, 4.0, 2.0, 1.0])
    free = vectors[:, 1:].float()
    assert spans(lessened(moment, free, 0.9, "paper"), vectors[:, 3:])
    assert spans(lessened(moment, free, 1 - 8 / 16, "paper"), free.double())  # they hold less than the half: all stay
    assert spans(lessened(moment, free, 1 - 6 / 102, "code"), vectors[:, 2:])  # 16 + 4 + 1 of 102, then 5
    assert lessened(moment, free, 0.999, "paper").shape == (4, 0)


def test_the_complement_is_what_a_basis_lacks() -> None:
    _, vectors = moment_of([4.0, 3.0, 2.0, 1.0])
    assert spans(complement(vectors[:, :3].float()), vectors[:, 3:])


def test_covariances_are_those_of_all_tokens(make_stream: Any, scenario: Scenario) -> None:
    learner: Learner = make_stream(InfLoRA(rank=2)).learner
    learner.start(scenario)
    rows, seen = scenario.tasks[0].train, list[Tensor]()
    model = learner.backbone.model
    handle = model.blocks[1].norm1.register_forward_hook(lambda module, inputs, output: seen.append(output))
    found = token_covariances(learner, rows, [0, 1])
    handle.remove()
    tokens = torch.cat(seen).flatten(0, 1).double()
    torch.testing.assert_close(found[1], tokens.T @ tokens / len(tokens), rtol=1e-4, atol=1e-5)
    assert not transformer_blocks(model)[0].attn.qkv._forward_hooks.keys() - set(_hooks_of(learner))


def _hooks_of(learner: Learner) -> list[int]:
    return [handle.id for handle in learner.plugins[0].branch._handles]  # type: ignore[attr-defined]


def test_augmented_covariances_are_others_and_follow_from_the_seed(make_stream: Any, scenario: Scenario) -> None:
    found = []
    for augment in (False, True, True):
        learner: Learner = make_stream(InfLoRA(rank=2), augment=["crop"]).learner
        learner.start(scenario)
        learner.begin_task(scenario.tasks[0])
        learner.own_loops = 0
        found.append(token_covariances(learner, scenario.tasks[0].train, [1], augment)[0])
    assert not torch.allclose(found[0], found[1], rtol=1e-3)
    assert torch.equal(found[1], found[2])


class Look(Plugin):
    """Looks at what a task begins and ends with, and at keys and values of inputs of the space."""

    def __init__(self, method: InfLoRA) -> None:
        super().__init__()
        self.method = method
        self.bases: list[list[Tensor]] = []
        self.modes: list[list[bool]] = []
        self.apart: list[float] = []
        self.moved: list[float] = []

    def before_task_training(self, learner: Learner, task: Task) -> None:
        self.answers = self.answer(learner)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        torch.testing.assert_close(self.answer(learner), self.answers, atol=1e-4, rtol=1e-4)
        self.bases.append([basis.clone() for basis in self.method._bases])
        self.modes.append([*self.method._free])
        for place, basis in enumerate(self.method._bases):
            down = self.down(place)
            torch.testing.assert_close(3 * down @ down.T, torch.eye(len(down)), atol=1e-5, rtol=0)
            torch.testing.assert_close(basis.T @ basis, torch.eye(basis.shape[1]), atol=1e-5, rtol=0)
            outside = down - down @ basis @ basis.T if self.method._free[place] else down @ basis
            assert outside.abs().max() < 1e-5 if outside.numel() else True
        self.begun = [self.down(place).clone() for place in range(2)]
        self.before = [self.used_outputs(learner, place) for place in range(2)]

    def on_task_end(self, learner: Learner, task: Task) -> None:
        basis_then = zip(self.before, (self.used_outputs(learner, place) for place in range(2)), strict=True)
        self.apart.append(
            max(float((one - other).abs().max()) for one, other in basis_then if one.numel()) if task.index else 0.0
        )
        assert all(torch.equal(self.begun[place], self.down(place)) for place in range(2))
        self.moved.append(max(float(part.up.detach().abs().max()) for part in self.method.branch.parts.values()))  # type: ignore[arg-type, union-attr]

    def down(self, place: int) -> Tensor:
        keys, values = (self.method.branch.parts[f"{place}_{target}"].down for target in "kv")
        assert keys is values
        assert isinstance(keys, Tensor)
        return keys

    def answer(self, learner: Learner) -> Tensor:
        batch = gather(learner.scenario.table, learner.scenario.labels, learner.scenario.tasks[0].test[:16])
        assert batch.images is not None
        with torch.no_grad():
            answer: Tensor = learner.eval().backbone(learner.backbone.normalize(batch.images))
        return answer

    def used_outputs(self, learner: Learner, place: int) -> Tensor:
        """Queries, keys and values of inputs that the earlier tasks used."""
        basis = self.bases[-1][place]
        used = complement(basis) if self.modes[-1][place] else basis
        with torch.no_grad():
            outputs: Tensor = transformer_blocks(learner.backbone.model)[place].attn.qkv(used.T[None])
        return outputs


@pytest.mark.slow
@pytest.mark.parametrize("criterion", ["code", "paper"])
def test_a_task_leaves_keys_and_values_of_used_directions_alone(make_stream: Any, criterion: Any) -> None:
    """With nearly all energy the space is more than half of all directions, and the free ones are retained."""
    method = InfLoRA(rank=3, energy=0.95 if criterion == "code" else 0.99999, criterion=criterion)
    look = Look(method)
    make_stream(method, look, loss="local", epochs=2).run()
    assert max(look.apart) < 1e-4
    assert min(look.moved) > 1e-3
    last = [basis.shape[1] for basis in method._bases]
    if criterion == "code":
        assert look.modes[-1] == method._free == [False, False]
        assert all(now >= then.shape[1] for now, then in zip(last, look.bases[1], strict=True))
        assert any(now > then.shape[1] for now, then in zip(last, look.bases[1], strict=True))
    else:
        assert True in look.modes[1]
        sizes = [(look.bases[1][one].shape[1], last[one]) for one in range(2) if look.modes[1][one]]
        assert all(now < then for then, now in sizes)


def test_used_directions_may_be_kept_to_the_end(make_stream: Any) -> None:
    method = InfLoRA(rank=3, energy=0.99999, criterion="paper", retain=False, blocks="1")
    make_stream(method, loss="local").run()
    assert method._free == [False]
    assert method._bases[0].shape[1] > 96
    assert {name.split(".")[1][0] for name, _ in method.branch.named_parameters()} == {"1"}


@pytest.mark.slow
def test_the_branch_goes_into_the_weights(make_stream: Any) -> None:
    method = InfLoRA(rank=3)
    stream = make_stream(method, loss="local", epochs=2)
    weight = stream.learner.backbone.model.blocks[0].attn.qkv.weight
    before = weight.detach().clone()
    stream.run()
    moved = (weight - before).chunk(3)
    assert torch.equal(moved[0], torch.zeros(192, 192))
    assert [int(torch.linalg.matrix_rank(part.detach(), tol=1e-5)) for part in moved[1:]] == [6, 6]  # of two tasks


@pytest.mark.slow
def test_it_forgets_less_than_one_lora(make_stream: Any) -> None:
    training = {"loss": "local", "epochs": 5, "batch_size": 4, "optimizer": OptimizerSpec(name="adam", lr=0.003)}
    finals = []
    for plugin in (Pet(size=10, targets="k+v"), InfLoRA()):
        stream = make_stream(plugin, **training)
        stream.run()
        finals.append(stream.matrix.counts().of("class_incremental").accuracy[-1].mean())
    assert finals[1] > finals[0], finals


def test_it_trains_as_many_parameters_as_the_authors(scenario: Scenario) -> None:
    """ViT-B/16, ten classes: the authors' log says 192,010."""
    with torch.device("meta"):
        model = timm.create_model("vit_base_patch16_224", num_classes=0)
    learner = Learner(Backbone(model, (0.5,) * 3, (0.5,) * 3), TrainingSpec(), [InfLoRA()], 0)
    learner.start(scenario)
    learner.head.grow(10, torch.Generator())
    assert sum(value.numel() for value in learner.parameters() if value.requires_grad) == 192_010


def test_what_is_stored_counts_a_shared_matrix_once(make_stream: Any) -> None:
    method = InfLoRA(rank=2)
    make_stream(method, loss="local").run()
    assert isinstance(method.branch, LoRA)
    stored = method.stored_bytes()
    assert stored["modules"] == 4 * 2 * 3 * 2 * 192
    assert stored["statistics"] == sum(4 * 192 * basis.shape[1] for basis in method._bases)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ("pet", "both freeze the backbone"),
        ("ewc", "importances would be those of another branch"),
        ("wise_ft", "kept weights"),
    ],
)
def test_what_does_not_go_with_it_is_refused(other: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        check_method([(name, find_plugin(name)[1]) for name in ("inflora", other)], "class_incremental")


def test_streams_that_pass_once_are_refused() -> None:
    with pytest.raises(UserError, match="for their covariance, before and after training, but the stream passes once"):
        check_method([("inflora", find_plugin("inflora")[1])], "online")


def test_it_stands_before_the_alignment_of_the_authors_variant() -> None:
    names = ("inflora", "classifier_alignment")
    check_method([(name, find_plugin(name)[1]) for name in names], "class_incremental")
    with pytest.raises(UserError, match=r"write \[inflora, classifier_alignment\]"):
        check_method([(name, find_plugin(name)[1]) for name in reversed(names)], "class_incremental")


@pytest.mark.parametrize(("given", "reason"), [({"rank": 0}, "rank is 0"), ({"energy": 1.5}, r"energy is 1\.5")])
def test_bad_arguments_are_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=f"inflora: {reason}"):
        InfLoRA(**given)


def test_a_network_without_blocks_is_refused(scenario: Scenario) -> None:
    model = timm.create_model("resnet10t", num_classes=0)
    model.head_hidden_size = 512
    learner = Learner(Backbone(model, (0.5,) * 3, (0.5,) * 3), TrainingSpec(), [InfLoRA()], 0)
    with pytest.raises(UserError, match="it needs a ViT"):
        learner.start(scenario)
