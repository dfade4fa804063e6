"""The page for authors holds what it says: its examples run as they stand, and names every hook there is."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from clsuite.api.surface import PUBLIC
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import find_plugin, load_class
from clsuite.plugin.introspection import read_source
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.replay import Replay

PAGE = (Path(__file__).parents[2] / "plugins" / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("page")
    for name, text in BLOCKS:
        (place / name).write_text(text)
    return place


def make(folder: Path, name: str, **arguments: Any) -> Plugin:
    return load_class(find_plugin(str(folder / name))[0])(**arguments)


def test_there_are_three_examples() -> None:
    assert [name for name, _ in BLOCKS] == ["l2_sp.py", "er.py", "ssf.py"]
    lines = BLOCKS[0][1].split("class L2SP")[1].split("    def stored_bytes")[0].splitlines()
    assert len([line for line in lines if line.strip()]) <= 15


@pytest.mark.slow
def test_the_loss_holds_the_backbone_near_its_start(folder: Path, make_stream: Any) -> None:
    moved = {}
    for alpha in (0.0, 100.0):
        stream = make_stream(make(folder, "l2_sp.py", alpha=alpha))
        start = {name: value.detach().clone() for name, value in stream.learner.backbone.named_parameters()}
        stream.run()
        end = stream.learner.backbone.named_parameters()
        moved[alpha] = float(sum((value.detach() - start[name]).square().sum() for name, value in end))
        sizes = sum(value.nbytes for value in start.values())
        assert stream.learner.plugins[0].stored_bytes() == {"weights": sizes}
    assert moved[100.0] < 0.2 * moved[0.0]


@pytest.mark.slow
def test_the_buffer_is_the_reference_replay(folder: Path, make_stream: Any) -> None:
    mine, reference, without = (
        make_stream(plugin) for plugin in (make(folder, "er.py", capacity=20), Replay(capacity=20), Finetune())
    )
    for stream in (mine, reference, without):
        stream.run()
    assert [task.gradient_samples for task in mine.tasks] == [task.gradient_samples for task in reference.tasks]
    assert mine.learner.plugins[0].stored_bytes() == reference.learner.plugins[0].stored_bytes()
    final = [stream.matrix.counts().of("class_incremental").accuracy[-1].mean() for stream in (mine, without)]
    assert final[0] > final[1] + 0.1


def test_the_module_is_trained_and_the_backbone_is_not(folder: Path, make_stream: Any) -> None:
    stream = make_stream(make(folder, "ssf.py"))
    before = {name: value.clone() for name, value in stream.learner.backbone.state_dict().items()}
    stream.run()
    for name, value in stream.learner.backbone.state_dict().items():
        assert torch.equal(before[name], value), name
    parts = dict(stream.learner.plugin_modules.named_parameters())
    assert len(parts) == 2 * len(stream.learner.backbone.model.blocks)
    assert all(
        not torch.equal(value, torch.full_like(value, float(name.endswith("scale")))) for name, value in parts.items()
    )
    assert stream.learner.plugins[0].stored_bytes() == {"modules": sum(value.nbytes for value in parts.values())}


@pytest.mark.parametrize(("name", "text"), BLOCKS)
def test_the_examples_are_read_as_plugins(name: str, text: str) -> None:
    classes = [node.name for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    source = read_source(text, classes[-1])
    assert source.summary.endswith(".")
    assert source.traits.paper
    assert len(text.splitlines()) < 60


def test_every_hook_stands_in_the_table_and_in_the_picture() -> None:
    table = PAGE.split("## The hooks")[1].split("## What a plugin declares")[0]
    picture = PAGE.split("```text")[1].split("```")[0]
    own = [name for name, value in vars(Plugin).items() if callable(value) and name[0] != "_"]
    assert len(own) > 10
    for name in own:
        assert f"`{name}(" in table, name
        assert f"{name}(" in picture or name in ("rebuild_modules", "load_state_dict", "lent_buffer"), name


def test_what_the_page_names_exists() -> None:
    from clsuite.learner.learner import Learner

    for name in re.findall(r"`learner\.(\w+)\(", PAGE):
        assert hasattr(Learner, name), name
    public = {name for names in PUBLIC.values() for name in names}
    for name in re.findall(r"`(ExemplarBuffer|build_pet|Step|UserError|Traits)\b", PAGE):
        assert name in public
