"""PGP: what readers see moves outside of the spaces of earlier tasks alone; Fwd-Prompt; empty spaces change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from interruptions import bits, interrupted
from torch import Tensor

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.options import OptimizerSpec
from clsuite.learner.token_covariances import token_covariances
from clsuite.peft import Read, reads_of
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import find_plugin
from clsuite.plugin.compatibility import check_method
from clsuite.scenarios import Scenario, Task
from clsuite_plugins.coda_prompt import CodaPrompt
from clsuite_plugins.dual_prompt import DualPrompt
from clsuite_plugins.l2p import L2P
from clsuite_plugins.pet import Pet
from clsuite_plugins.pgp import PGP

ADAMW = {"loss": "local", "optimizer": OptimizerSpec(name="adamw", lr=0.01, weight_decay=0.3)}


def small(name: str) -> Plugin:
    made: dict[str, Plugin] = {
        "prompt": Pet(kind="prompt", size=3),
        "prefix": Pet(kind="prefix", size=3),
        "l2p": L2P(size=2, pool=4, top_k=2),
        "dual_prompt": DualPrompt(general_length=2, expert_length=2, general_blocks="0", expert_blocks="1"),
    }
    return made[name]


class Look(Plugin):
    """Keeps how far the rows that are read go in each task, and the share of it that lies in the space of before."""

    def __init__(self, method: PGP | None = None) -> None:
        super().__init__()
        self.method = method
        self.shares: dict[str, float] = {}

    def rows(self, learner: Learner) -> dict[tuple[str, Read], Tensor]:
        named = dict(learner.named_parameters())
        found = reads_of(learner.plugin_modules, "plugin_modules")
        return {(name, read): read.rows(named[name]).detach().clone() for name, read in found}

    def on_task_start(self, learner: Learner, task: Task) -> None:
        self.start = self.rows(learner)
        self.before = dict(self.method._spaces) if self.method else {}

    def on_task_end(self, learner: Learner, task: Task) -> None:
        for key, rows in self.rows(learner).items():
            moved, basis = rows - self.start[key], self.before.get(key[1].space)
            if basis is not None and float(moved.norm()) > 1e-6:
                self.shares[f"{key[0]} {key[1].index} {task.index}"] = float((moved @ basis).norm() / moved.norm())


@pytest.mark.parametrize(("name", "kinds"), [("prompt", 1), ("prefix", 1), ("l2p", 2), ("dual_prompt", 2)])
def test_what_is_read_moves_outside_of_earlier_spaces_alone(
    name: str, kinds: int, make_stream: Any, scenario: Scenario
) -> None:
    method = PGP(energy=0.9)
    look = Look(method)
    make_stream(small(name), method, look, on=scenario.first(2), **ADAMW).run()
    assert len({key.split(" ")[0].split(".")[-1] for key in look.shares}) == kinds
    assert max(look.shares.values()) < 1e-4
    assert all(1 <= basis.shape[1] < 192 for basis in method._spaces.values())
    assert method.stored_bytes() == {"statistics": sum(4 * basis.numel() for basis in method._spaces.values())}


def test_without_the_projection_it_would_move_inside_too(make_stream: Any, scenario: Scenario) -> None:
    class Watches(PGP):
        transform_update = Plugin.transform_update

    method = Watches(energy=0.9)
    look = Look(method)
    make_stream(small("prompt"), method, look, on=scenario.first(2), **ADAMW).run()
    assert min(look.shares.values()) > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prompt", "dual_prompt"])
def test_empty_spaces_change_no_bit(name: str, make_stream: Any, scenario: Scenario) -> None:
    streams = [
        make_stream(*plugins, on=scenario.first(2), **ADAMW)
        for plugins in ([small(name)], [small(name), PGP(energy=0.0, key_energy=0.0)])
    ]
    for stream in streams:
        stream.run()
    assert bits(streams[0]) == bits(streams[1])


def test_a_step_goes_into_the_pretrained_space_and_then_out_of_the_earlier_ones() -> None:
    """In three dimensions: the pre-trained space is the plane of x and y, the earlier one the direction (1, 1, 1)."""
    method, read = PGP(), Read("tokens", (), "block", 0)
    rows = torch.tensor([[1.0, 2.0, 9.0]])
    method._pretrained = {read.space: torch.eye(3)[:, :2]}
    method._spaces = {}
    torch.testing.assert_close(method._projected(read, rows), torch.tensor([[1.0, 2.0, 0.0]]))
    method._spaces = {read.space: torch.full((3, 1), 3**-0.5)}
    torch.testing.assert_close(method._projected(read, rows), torch.tensor([[0.0, 1.0, -1.0]]))


def test_fwd_prompt_keeps_the_first_tasks_directions(make_stream: Any, scenario: Scenario) -> None:
    method = PGP(energy=0.5, pretrained="first_task", pretrained_energy=0.9)
    look = Look(method)
    make_stream(small("prompt"), method, look, on=scenario.first(2), **ADAMW).run()
    assert max(look.shares.values()) < 1e-4
    assert method._pretrained.keys() == method._spaces.keys()
    assert all(1 <= basis.shape[1] < 192 for basis in method._pretrained.values())


def test_readers_are_tokens_queries_and_features(make_stream: Any, scenario: Scenario) -> None:
    """Of DualPrompt: the queries of both blocks in the pass of the chosen prompts, and features without prompts."""
    prompts, method = small("dual_prompt"), PGP()
    learner: Learner = make_stream(prompts, method).learner
    learner.start(scenario)
    learner.begin_task(scenario.tasks[0])
    task, seen = scenario.tasks[0], list[Tensor]()
    reads = [read for _, read in reads_of(learner.plugin_modules)]
    assert {read.space for read in reads} == {"queries 0", "queries 1", "features -1"}
    handle = learner.backbone.model.blocks[1].attn.qkv.register_forward_hook(
        lambda module, inputs, output: seen.append(output[..., :192].flatten(0, 1).double())
    )
    learner.features_of(task.train)
    handle.remove()
    found = method._moments(learner, task, reads)
    queries = torch.cat([one for number, one in enumerate(seen) if number % 2])  # the other passes make the query
    torch.testing.assert_close(found["queries 1"], queries.T @ queries / len(queries), rtol=1e-3, atol=1e-4)
    features = make_stream().learner.backbone.eval()
    with torch.no_grad():
        plain = features(features.normalize(learner.images_of(task.train))).double()
    torch.testing.assert_close(found["features -1"], plain.T @ plain / len(plain), rtol=1e-3, atol=1e-4)


def test_the_tokens_of_a_block_have_the_prompts_among_them(make_stream: Any, scenario: Scenario) -> None:
    learner: Learner = make_stream(small("prompt")).learner
    learner.start(scenario)
    learner.begin_task(scenario.tasks[0])
    seen: list[Tensor] = []
    handle = learner.backbone.model.blocks[1].norm1.register_forward_hook(
        lambda module, inputs, output: seen.append(inputs[0].flatten(0, 1).double())
    )
    found = token_covariances(learner, scenario.tasks[0].train, [1], of="block")[0]
    handle.remove()
    tokens = torch.cat(seen)
    assert len(tokens) == len(scenario.tasks[0].train) * (16 + 3)
    torch.testing.assert_close(found, tokens.T @ tokens / len(tokens), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_interrupted_and_resumed_it_ends_in_the_same_bits(make_stream: Any, scenario: Scenario, tmp_path: Path) -> None:
    def method() -> list[Plugin]:
        return [small("dual_prompt"), PGP(pretrained="first_task")]

    given = {"on": scenario.first(2), **ADAMW}
    alone = make_stream(*method(), **given)
    alone.run()
    again = interrupted(make_stream, tmp_path / "x.ckpt", 1, alone.tasks[1].steps - 1, method, **given)
    assert bits(again) == bits(alone)


def test_methods_without_such_prompts_are_refused(make_stream: Any, scenario: Scenario) -> None:
    with pytest.raises(UserError, match="'pgp' works on prompts, but no plugin of the method has any"):
        check_method([(name, find_plugin(name)[1]) for name in ("finetune", "pgp")], "class_incremental")
    with pytest.raises(UserError, match="pgp: it is not known what reads the prompts of this method"):
        make_stream(CodaPrompt(components=9, length=2, blocks="all"), PGP()).learner.start(scenario)


@pytest.mark.parametrize("given", [{"energy": 1.1}, {"key_energy": -0.1}, {"pretrained_energy": 0.0}])
def test_bad_arguments_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"pgp: {next(iter(given))} is"):
        PGP(**given)
