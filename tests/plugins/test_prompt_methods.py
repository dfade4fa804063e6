"""L2P, L2L, DualPrompt and CODA-Prompt do what their papers say."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch.nn import functional as F

from clsuite.backbones.vit import Backbone
from clsuite.data.batch import Batch, gather
from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.peft.route import Route
from clsuite.plugin import Plugin
from clsuite.scenarios import Scenario
from clsuite_plugins.coda_prompt import CodaPrompt
from clsuite_plugins.dual_prompt import DualPrompt
from clsuite_plugins.icarl import ICaRL
from clsuite_plugins.l2p import L2P
from clsuite_plugins.replay import Replay

POOL: dict[str, Any] = {"size": 2, "pool": 4, "top_k": 2}
METHODS: dict[str, Any] = {
    "l2p": lambda: L2P(**POOL),
    "l2l": lambda: L2P("lora", blocks="all", **POOL),
    "dual_prompt": lambda: DualPrompt(2, 2, "0", "1"),
    "coda_prompt": lambda: CodaPrompt(components=9, length=2, blocks="all"),
}


class Trained:
    """A method that has learned the stream, and for how many images it computed a query."""

    def __init__(self, plugin: Any, make_stream: Any) -> None:
        self.plugin, self.queries = plugin, 0
        self.stream = make_stream(plugin, loss="local")
        self.before = copied(self.stream.learner.backbone)
        self.stream.learner.backbone.register_forward_hook(self._count)
        self.stream.run()
        self.queried, self.learner = self.queries, self.stream.learner.eval()

    @property
    def module(self) -> Any:
        return self.plugin.module if isinstance(self.plugin, L2P) else self.plugin.prefix

    def _count(self, backbone: Any, inputs: Any, output: torch.Tensor) -> None:
        started = hasattr(self.plugin, "_routed")  # row -1 passes before
        self.queries += len(output) if started and not self.module.enabled else 0


RUNS: dict[str, Trained] = {}


@pytest.fixture
def trained(make_stream: Any) -> Any:
    """Gives a method that has learned the stream; learned once for all tests."""

    def give(method: str) -> Trained:
        if method not in RUNS:
            RUNS[method] = Trained(METHODS[method](), make_stream)
        return RUNS[method]

    return give


def images_of(learner: Learner, scenario: Scenario, rows: Any) -> Batch:
    """A transformed batch of table rows."""
    batch = gather(scenario.table, scenario.labels, rows)
    assert batch.images is not None
    return batch.with_images(learner.backbone.normalize(batch.images))


def unknown(batch: Batch) -> Batch:
    """The same images, of nobody knows which rows."""
    return Batch(batch.images, batch.labels, torch.full_like(batch.indices, -1), batch.replayed)


def copied(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("method", METHODS)
def test_answers_hang_on_no_other_image_and_nothing_is_left_behind(
    method: str, trained: Any, scenario: Scenario
) -> None:
    run = trained(method)
    learner, module, model = run.learner, run.module, run.learner.backbone.model
    assert equal(run.before, copied(learner.backbone))
    assert run.stream.matrix.counts().of("task_aware").accuracy.diagonal().min() > 0.6
    rows = np.concatenate([task.test[:3] for task in scenario.tasks])
    batch = images_of(learner, scenario, rows)
    with torch.no_grad():
        together = learner.predict_logits(batch)
        torch.testing.assert_close(learner.predict_logits(unknown(batch)), together, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(learner(batch.images), together, rtol=1e-4, atol=1e-4)
        for position in range(len(rows)):
            alone = learner.predict_logits(images_of(learner, scenario, rows[[position]]))[0]
            torch.testing.assert_close(alone, together[position], rtol=1e-4, atol=1e-4)
        assert module.route is None
        assert not getattr(module, "given", None)
        with module.switched(False):
            plain = learner.backbone(batch.images)
            module.detach_from_model()
            torch.testing.assert_close(learner.backbone(batch.images), plain, rtol=0, atol=0)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    assert not any("forward" in part.__dict__ for part in model.modules())
    module.attach(model)


@pytest.mark.parametrize("method", METHODS)
def test_each_query_is_computed_once(method: str, trained: Any, scenario: Scenario) -> None:
    assert trained(method).queried == sum(len(task.train) + len(task.test) for task in scenario.tasks)


@pytest.mark.parametrize("method", ["l2p", "l2l"])
def test_l2p_gives_each_image_the_entries_of_the_nearest_keys(method: str, trained: Any, scenario: Scenario) -> None:
    run = trained(method)
    learner, plugin = run.learner, run.plugin
    batch = images_of(learner, scenario, scenario.tasks[1].test[:5])
    with torch.no_grad():
        answer = learner.predict_logits(batch)
        with run.module.switched(False):
            query = learner.backbone(batch.images)
        nearest = F.cosine_similarity(query[:, None], plugin.keys["key"][None], dim=2).topk(2).indices
        alone = copy.deepcopy(run.module)
        run.module.detach_from_model()
        with run.module.switched(False):
            alone.attach(learner.backbone.model)
            for position in range(5):
                alone.route = Route(nearest[position : position + 1], 4)
                expected = learner.head(learner.backbone(batch.images[position : position + 1]))[0]
                torch.testing.assert_close(answer[position], expected, rtol=1e-4, atol=1e-4)
            alone.detach_from_model()
        run.module.attach(learner.backbone.model)


@pytest.mark.parametrize(("head_input", "tokens"), [("prompts", 4), ("backbone", 16)])
def test_l2ps_head_is_given_the_prompts_or_what_the_backbone_gives(
    head_input: Any, tokens: int, make_stream: Any, scenario: Scenario
) -> None:
    stream = make_stream(L2P(**POOL, head_input=head_input))
    stream.learner.start(scenario)
    learner, seen = stream.learner.eval(), []
    learner.backbone.model.norm.register_forward_pre_hook(lambda norm, inputs: seen.append(inputs[0].shape))
    learner.encode(images_of(learner, scenario, scenario.tasks[0].test[:3]))
    assert seen[-1] == (3, tokens, 192)


def test_l2ps_head_is_given_the_mean_of_the_prompts_also_by_a_network_with_a_class_token(
    make_stream: Any, scenario: Scenario
) -> None:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 1, "num_heads": 3}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, **sizes)
    learner, behind = make_stream(L2P(**POOL)).learner, list[torch.Tensor]()
    learner.backbone = Backbone(model, (0.5,) * 3, (0.5,) * 3)
    learner.eval().start(scenario)
    model.norm.register_forward_pre_hook(lambda norm, inputs: behind.append(inputs[0]))
    features = learner.encode(images_of(learner, scenario, scenario.tasks[0].test[:3]))
    normed = F.layer_norm(behind[-1], (48,), model.norm.weight, model.norm.bias, model.norm.eps)
    assert normed.shape == (3, 4, 48)
    torch.testing.assert_close(features, normed.mean(dim=1))


def test_l2p_trains_the_chosen_entries_and_pulls_their_keys_alone(make_stream: Any, scenario: Scenario) -> None:
    plugin = L2P(size=2, pool=10, top_k=1)
    before: dict[str, torch.Tensor] = {}
    chosen: set[int] = set()
    cosines: list[float] = []

    class Look(Plugin):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            if not before:
                before.update(tokens=plugin.module.tokens.detach().clone(), key=plugin.keys["key"].detach().clone())
                self.note(pl_module)

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
            self.note(pl_module)

        def note(self, learner: Any) -> None:
            best = plugin._cosines(plugin._routed.query.of_rows(learner.task.train)).max(dim=1)
            chosen.update(best.indices.tolist())
            cosines.append(best.values.mean().item())

    stream = make_stream(plugin, Look(), on=scenario.first(1), optimizer={"name": "adam", "lr": 0.01})
    stream.run()
    rest = [entry for entry in range(10) if entry not in chosen]
    assert 0 < len(chosen) < 10
    moved = (plugin.module.tokens.detach() != before["tokens"]).view(10, -1).any(dim=1)
    assert not moved[rest].any()
    assert moved.any()
    assert torch.equal(plugin.keys["key"][rest], before["key"][rest])
    assert cosines[-1] > cosines[0]


def test_l2p_votes_in_training_only_where_asked_to() -> None:
    cosines = torch.tensor([[0.9, 0.8, 0.1, 0.0], [0.9, 0.1, 0.8, 0.0], [0.0, 0.1, 0.8, 0.9]])
    single = [[0, 1], [0, 2], [3, 2]]
    by_sample, by_batch = L2P(**POOL), L2P(selection="batch", **POOL)
    assert by_sample._choose(cosines, training=True).tolist() == single
    assert by_batch._choose(cosines, training=False).tolist() == single
    assert by_batch._choose(cosines, training=True).tolist() == [[0, 2]] * 3


def test_l2p_turns_later_tasks_to_other_entries_where_asked_to() -> None:
    cosines = torch.tensor([[0.9, 0.8, 0.1, 0.0], [0.9, 0.8, 0.0, 0.1]])
    plain, turned = L2P(size=2, pool=4, top_k=1), L2P(size=2, pool=4, top_k=1, diversify=True)
    assert turned._choose(cosines, training=True).tolist() == [[0], [0]]
    for plugin in (plain, turned):
        plugin._chosen_before = torch.tensor([90.0, 50.0, 0.0, 0.0])
    assert plain._choose(cosines, training=True).tolist() == [[0], [0]]
    assert turned._choose(cosines, training=True).tolist() == [[2], [3]]
    assert turned._choose(cosines, training=False).tolist() == [[0], [0]]


@pytest.mark.slow
def test_l2p_counts_what_each_task_chooses(make_stream: Any, scenario: Scenario) -> None:
    plugin = L2P(size=2, pool=8, top_k=1, diversify=True)
    stream = make_stream(plugin, Replay(capacity=10), epochs=2, loss="local")
    counts: list[list[bool]] = []

    class Look(Plugin):
        def on_task_start(self, learner: Learner, task: Any) -> None:
            self.before = plugin._chosen_before.clone()

        def on_task_end(self, learner: Learner, task: Any) -> None:
            chosen = plugin._chosen_before - self.before
            assert chosen.sum() >= 2 * len(task.train)
            counts.append((chosen > 0).tolist())

    stream.learner.plugins += (Look(),)
    stream.run()
    first, second = (set(np.flatnonzero(used)) for used in counts[:2])
    assert second - first


@pytest.mark.slow
def test_l2p_stands_beside_what_asks_for_features_by_another_way(make_stream: Any) -> None:
    stream = make_stream(L2P("lora", blocks="all", **POOL), ICaRL(capacity=18))
    stream.run()
    assert stream.matrix.counts().of("class_incremental").accuracy[-1].mean() > 0.5


def test_dual_prompt_takes_the_tasks_own_prompt_in_training_and_queries_at_test(
    trained: Any, scenario: Scenario
) -> None:
    run = trained("dual_prompt")
    learner, plugin = run.learner, run.plugin
    batch = images_of(learner, scenario, np.concatenate([task.test[:4] for task in scenario.tasks]))
    given: list[dict[int, Any]] = []
    learner.backbone.model.norm.register_forward_hook(lambda *_: given.append(dict(plugin.prefix.given)))
    with plugin.prefix.switched(False), torch.no_grad():
        query = learner.backbone(batch.images)
    keys = torch.stack([expert["key"] for expert in plugin.experts])
    nearest = F.cosine_similarity(query[:, None], keys[None], dim=2).argmax(dim=1)
    assert len(set(nearest.tolist())) > 1
    for training, owners in ((False, nearest), (True, torch.full_like(nearest, 2))):
        learner.train(training)
        learner.encode(batch)
        for position, owner in enumerate(owners.tolist()):
            for half in (0, 1):
                assert torch.equal(given[-1][1][half][position], plugin.experts[owner]["prompt"][0, half])
                assert torch.equal(given[-1][0][half], plugin.general["prompt"][0, half])
    learner.eval()


def test_dual_prompt_leaves_old_experts_and_trains_the_general_prompt_on(make_stream: Any) -> None:
    plugin = DualPrompt(2, 2, "0", "1")
    experts: list[dict[str, torch.Tensor]] = []
    general: list[torch.Tensor] = []

    class Look(Plugin):
        def on_task_end(self, learner: Learner, task: Any) -> None:
            experts.append(copied(plugin.experts[-1]))
            general.append(plugin.general["prompt"].detach().clone())

    make_stream(plugin, Look(), loss="local").run()
    assert all(equal(kept, copied(expert)) for kept, expert in zip(experts, plugin.experts, strict=True))
    assert not torch.equal(general[0], general[1])
    assert not torch.equal(general[1], general[2])


def test_dual_prompt_looks_up_the_experts_of_exemplars() -> None:
    plugin = DualPrompt(1, 1, "0", "1")
    plugin._general_at, plugin._expert_at = [0], [1]
    plugin.general = torch.nn.ParameterDict({"prompt": torch.zeros(1, 2, 1, 4)})
    plugin.experts = [
        torch.nn.ParameterDict({"prompt": torch.full((1, 2, 1, 4), float(task)), "key": torch.eye(4)[task]})
        for task in range(3)
    ]
    plugin.prefix = type("Prefix", (), {"given": {}})()  # type: ignore[assignment]
    query = torch.eye(4)[[0, 0, 1]]
    plugin._route(query, torch.tensor([False, True, True]))
    assert plugin.prefix.given[1][0][:, 0, 0].tolist() == [2.0, 0.0, 1.0]
    plugin._route(query, None)
    assert plugin.prefix.given[1][0][:, 0, 0].tolist() == [0.0, 0.0, 1.0]


def test_dual_prompt_with_replay_learns(make_stream: Any) -> None:
    stream = make_stream(DualPrompt(2, 2, "0", "1"), Replay(capacity=30), epochs=2)
    stream.run()
    assert stream.matrix.counts().of("class_incremental").accuracy[-1].mean() > 0.6


def test_codas_new_components_are_orthonormal_and_old_ones_stay_bit_identical(make_stream: Any) -> None:
    plugin = CodaPrompt(components=12, length=4, blocks="all", orthogonality=0.0)
    kept: list[dict[str, torch.Tensor]] = []

    class Look(Plugin):
        def on_task_start(self, learner: Learner, task: Any) -> None:
            for name in ("prompt", "key", "mask"):
                new = plugin.parts[-1][name].detach()
                gram = new @ new.mT
                torch.testing.assert_close(gram, torch.eye(4).expand_as(gram), rtol=0, atol=1e-5)
                for old in plugin.parts[:-1]:
                    across = new @ F.normalize(old[name].detach(), dim=2).mT
                    assert across.abs().max() < 1e-5

        def on_task_end(self, learner: Learner, task: Any) -> None:
            kept.append(copied(plugin.parts[-1]))

    stream = make_stream(plugin, Look(), loss="local", optimizer={"name": "adam", "lr": 0.01})
    stream.run()
    assert [part["prompt"].shape[1] for part in plugin.parts] == [4, 4, 4]
    assert all(equal(old, copied(part)) for old, part in zip(kept, plugin.parts, strict=True))
    trained = plugin._all("key").detach()
    assert ((trained @ trained.mT) - torch.eye(12)).abs().max() > 1e-3


def test_codas_weights_are_raw_cosines_of_the_attended_query(trained: Any) -> None:
    plugin = trained("coda_prompt").plugin
    query = torch.randn(5, 192, generator=torch.Generator().manual_seed(0))
    plugin._route(query, None)
    for place, block in enumerate(plugin._at):
        masks, keys = plugin._all("mask")[place], plugin._all("key")[place]
        prompts = plugin._all("prompt")[place].view(9, 2, 192)
        for sample in range(5):
            weights = torch.stack([F.cosine_similarity(query[sample] * masks[m], keys[m], dim=0) for m in range(9)])
            expected = (weights[:, None, None] * prompts).sum(dim=0)
            torch.testing.assert_close(plugin.prefix.given[block][0][sample], expected[:1], rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(plugin.prefix.given[block][1][sample], expected[1:], rtol=1e-4, atol=1e-6)
    plugin.prefix.release()


def test_codas_loss_keeps_components_orthogonal(make_stream: Any, scenario: Scenario) -> None:
    distances = {}
    for weight in (0.0, 10.0):
        plugin = CodaPrompt(components=9, length=4, blocks="all", orthogonality=weight)
        make_stream(plugin, on=scenario.first(1), optimizer={"name": "adam", "lr": 0.01}).run()
        distances[weight] = sum(plugin._distance(plugin._all(name)).item() for name in ("prompt", "key", "mask"))
    assert distances[10.0] < 0.5 * distances[0.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L2P(top_k=11), "top_k is 11, but must be between 1 and the 10 entries"),
        (lambda: L2P(similarity=-1.0), "similarity is -1.0, but must be at least 0"),
        (lambda: DualPrompt(expert_length=0), "expert_length is 0, but must be at least 1"),
        (lambda: DualPrompt(matching=-1.0), "matching is -1.0, but must be at least 0"),
        (lambda: CodaPrompt(length=3), "length is 3, but must be even"),
        (lambda: CodaPrompt(orthogonality=-1.0), "orthogonality is -1.0, but must be at least 0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(make: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        (DualPrompt(general_blocks="0-1", expert_blocks="1"), "block 1 is in general_blocks and in expert_blocks"),
        (DualPrompt(), "has only the blocks 0 to 1"),
        (CodaPrompt(components=2, blocks="all"), "components is 2, but each of 3 tasks needs one"),
        (CodaPrompt(components=193, blocks="all"), "in features of width 192 no more"),
        (L2P("lora", size=193), "rank is 193, but must be between 1 and 192"),
    ],
)
def test_what_does_not_fit_the_network_or_the_stream_is_refused(plugin: Plugin, message: str, make_stream: Any) -> None:
    with pytest.raises(UserError, match=message):
        make_stream(plugin).run()


@pytest.mark.parametrize(
    "make",
    [
        lambda: L2P(**POOL, query="augmented"),
        lambda: DualPrompt(2, 2, "0", "1", query="augmented"),
        lambda: CodaPrompt(components=9, length=2, blocks="all", query="augmented"),
    ],
)
def test_the_query_of_the_augmented_image_is_taken_where_asked_for(
    make: Any, make_stream: Any, scenario: Scenario
) -> None:
    plugin, routed = make(), []
    route = plugin._route
    plugin._route = lambda query, replayed: (routed.append((query, replayed)), route(query, replayed))
    stream = make_stream(plugin, augment="flip", loss="local", on=scenario.first(1))
    learner, seen = stream.learner, []

    def look(batch: Batch) -> None:
        with torch.no_grad(), plugin._routed.query._plain():
            seen.append(learner.backbone(batch.images))

    before = plugin.on_before_forward
    plugin.on_before_forward = lambda learner, batch: (
        look(batch) if learner.training else None,
        before(learner, batch),
    )
    stream.run()
    queries = [query for query, replayed in routed if replayed is not None]
    assert len(queries) == len(seen) > 0
    for query, expected in zip(queries, seen, strict=True):
        torch.testing.assert_close(query, expected, rtol=1e-4, atol=1e-4)
    rows = torch.from_numpy(scenario.tasks[0].train)
    plain = plugin._routed.query.of_rows(rows.numpy())
    flipped = sum(bool((torch.cdist(query, plain).amin(dim=1) > 0.1).any()) for query in queries)
    assert flipped > 0


def test_an_expert_prompt_begins_as_a_copy_of_the_last_and_its_key_anew(make_stream: Any, scenario: Scenario) -> None:
    for start in ("copy", "new"):
        plugin = DualPrompt(2, 2, "0", "1", expert_start=start)
        learner = make_stream(plugin).learner
        learner.start(scenario)
        for task in scenario.tasks[:2]:
            learner.begin_task(task)
        first, second = plugin.experts
        assert torch.equal(first["prompt"], second["prompt"]) == (start == "copy")
        assert not torch.equal(first["key"], second["key"])


def test_first_values_of_prompts_and_keys_are_those_asked_for(make_stream: Any, scenario: Scenario) -> None:
    for init, low, high in (("unit", -1.0, 1.0), ("small", 0.0, 0.01)):
        pool, dual = L2P(prompt_init=init, key_init=init), DualPrompt(5, 5, "0", "1", prompt_init=init, key_init=init)
        for plugin in (pool, dual):
            learner = make_stream(plugin).learner
            learner.start(scenario)
            learner.begin_task(scenario.tasks[0])
        for values in (pool.module.tokens, pool.keys["key"], dual.general["prompt"], dual.experts[0]["key"]):
            assert values.min() >= low
            assert values.max() <= high
            assert values.max() - values.min() > 0.9 * (high - low)
