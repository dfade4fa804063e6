"""Files that arguments of plugins name: their content is part of the run key."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from clsuite.errors import UserError
from clsuite.runner.execute import build_stream
from clsuite.runner.named_files import named_files, refuse_changed_files
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import RunPlan, make_plan
from clsuite.runner.spec import BenchmarkSpec

READS = """
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from clsuite.plugin import Plugin


class Reads(Plugin):
    '''Reads files.'''

    def __init__(self, path: str = "", kind: Literal["a", "b"] = "a", several: Mapping[str, Any] | None = None) -> None:
        super().__init__()
"""
OF_A_FOLDER = READS.replace("kind: ", "names: str = '', fingerprint: str | None = None, kind: ")

MakePlan = Callable[..., RunPlan]


@pytest.fixture
def plan_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakePlan:
    """Plans a run of a plugin with arguments; the current folder is ``here``, the data root ``root``."""
    for name in ("here", "root", "yaml"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "yaml" / "reads.py").write_text(READS)
    (tmp_path / "yaml" / "folder.py").write_text(OF_A_FOLDER)

    def plan(args: dict[str, Any], plugin: str = "./reads.py", backbone: str = "omniglot_vit") -> RunPlan:
        spec = BenchmarkSpec.model_validate({
            "name": "tiny", "dataset": {"name": "digits", "train_per_class": 3, "test_per_class": 1},
            "scenario": {"tasks": 5}, "training": {"epochs": 1}, "backbone": {"name": backbone, "weights":
            "bundled" if backbone == "omniglot_vit" else "random"},
            "methods": {"mine": {"plugins": [{"name": plugin, "args": args}]}},
        })  # fmt: skip
        return make_plan(spec, tmp_path / "yaml", RunOptions(out=tmp_path / "out", data_root=tmp_path / "root"))[0]

    return plan


@pytest.mark.parametrize("place", ["here", "root", "absolute"])
@pytest.mark.parametrize(
    ("argument", "name"), [({"path": 0}, "path"), ({"several": {"x": 0}}, "several.x"),
                           ({"several": {"x": [1, {"y": 0}]}}, "several.x.1.y")],
)  # fmt: skip
def test_the_content_of_a_file_is_in_the_key(
    plan_of: MakePlan, tmp_path: Path, place: str, argument: dict[str, Any], name: str
) -> None:
    file = tmp_path / ("here" if place == "absolute" else place) / "texts.txt"
    text = str(file) if place == "absolute" else "texts.txt"

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: filled(part) for key, part in value.items()}
        return [filled(part) for part in value] if isinstance(value, list) else text if value == 0 else value

    keys = []
    for content in (b"one", b"two", b"one"):
        file.write_bytes(content)
        pending = plan_of(filled(argument)).pending
        assert pending.plugins[0].files == {name: sha256(content).hexdigest()}
        assert pending.recomputed_key() == pending.key
        keys.append(pending.key)
    assert keys[0] == keys[2] != keys[1]


def test_other_keys_do_not_change(plan_of: MakePlan, tmp_path: Path) -> None:
    args = {"path": "herding", "several": {"x": ["", "a\0b", "x" * 5000, 1, None, True]}}
    before = plan_of(args).pending
    assert "files" not in before.model_dump(mode="json")["plugins"][0]
    (tmp_path / "here" / "a").write_text("the word of an argument that is no path")
    (tmp_path / "root" / "herding").mkdir()
    assert plan_of(args).pending.key == before.key


def test_a_default_that_is_a_word_is_no_file(plan_of: MakePlan, tmp_path: Path) -> None:
    before = plan_of({}, plugin="coda_prompt").pending
    for name in ("all", "0-4"):
        (tmp_path / "here" / name).write_text("a file that is there by chance")
    assert plan_of({}, plugin="coda_prompt").pending == before


def test_a_default_that_is_a_path_is_a_file(plan_of: MakePlan, tmp_path: Path) -> None:
    (tmp_path / "yaml" / "listed.py").write_text(READS.replace('path: str = ""', 'path: str = "texts.txt"'))
    before = plan_of({}, plugin="./listed.py").pending.key
    (tmp_path / "here" / "texts.txt").write_text("one")
    assert plan_of({}, plugin="./listed.py").pending.key != before


def test_files_in_two_places_are_both_in_the_key(plan_of: MakePlan, tmp_path: Path) -> None:
    (tmp_path / "here" / "w.pth").write_text("one")
    alone = plan_of({"path": "w.pth"}).pending.key
    (tmp_path / "root" / "w.pth").write_text("one")
    assert plan_of({"path": "w.pth"}).pending.key == alone
    (tmp_path / "root" / "w.pth").write_text("two")
    assert plan_of({"path": "w.pth"}).pending.key != alone


def test_a_folder_without_a_fingerprint_is_told_by_names_and_sizes(plan_of: MakePlan, tmp_path: Path) -> None:
    images = tmp_path / "root" / "images" / "cat"
    images.mkdir(parents=True)
    (images / "1.png").write_text("one")
    (images.parent / "names.txt").write_text("cat\ta cat")
    args = {"path": "images", "names": "names.txt"}
    keys = [plan_of(args, "./folder.py").pending.key]
    (images / "2.png").write_text("two")
    keys.append(plan_of(args, "./folder.py").pending.key)
    (images.parent / "names.txt").write_text("cat\ta dog")
    keys.append(plan_of(args, "./folder.py").pending.key)
    assert len(set(keys)) == 3
    stated = plan_of({**args, "fingerprint": "ab"}, "./folder.py").pending
    assert set(stated.plugins[0].files or {}) == {"names"}


def test_a_file_that_changed_since_the_plan_is_refused(plan_of: MakePlan, tmp_path: Path) -> None:
    file = tmp_path / "here" / "texts.txt"
    file.write_text("one")
    plan = plan_of({"path": "texts.txt"})
    refuse_changed_files(plan.plugins, plan.pending.plugins, plan.data_root)
    for change in (lambda: file.write_text("two"), file.unlink):
        change()
        with pytest.raises(UserError, match=r"'texts.txt', which argument 'path' of plugin '.*reads.py' names, is"):
            build_stream(plan, lambda event: None)


def test_files_of_shipped_plugins_are_found(plan_of: MakePlan, tmp_path: Path) -> None:
    (tmp_path / "root" / "captions").write_text("a cat")
    zscl = plan_of({"texts": "captions"}, "zscl", "open_clip:clip_nano").pending.plugins[0]
    assert set(zscl.files or {}) == {"texts"}
    (tmp_path / "here" / "w.pth").write_text("weights")
    backdoor = plan_of({"networks": {"vit_tiny_patch16_224": "w.pth"}}, "backdoor").pending.plugins[0]
    assert set(backdoor.files or {}) == {"networks.vit_tiny_patch16_224"}


def test_a_file_that_cannot_be_read_is_named(
    plan_of: MakePlan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "here" / "texts.txt").write_text("one")
    plan = plan_of({"path": "texts.txt"})

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("clsuite.runner.named_files.sha256_of_file", refuse)
    with pytest.raises(UserError, match=r"'path' of plugin '.*' names 'texts.txt', which cannot be read: Permission"):
        named_files(plan.plugins[0], {"path": "texts.txt"}, None)
