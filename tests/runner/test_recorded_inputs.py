"""What a record was made of is found again by its source or content, and only that."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clsuite.backbones.spec import BackboneSpec, Weights, find_weights
from clsuite.errors import AbsentError, UserError
from clsuite.plugin.catalog import find_plugin
from clsuite.records import PluginEntry
from clsuite.records.canonical import sha256_of_file
from clsuite.runner.record_config import probe_config
from clsuite.runner.recorded_inputs import PROBE, known_benchmarks, restored_plugin, restored_probe, restored_weights

PLUGIN = '''"""A method."""

from clsuite.plugin import Plugin


class Mine(Plugin):
    """Mine."""

    which = "{}"
'''


def entry_of(path: Path) -> PluginEntry:
    info, source = find_plugin(str(path))
    return PluginEntry(name=path.name, args={}, source=source.sha256, distribution=info.distribution)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root beside the current folder, which is empty."""
    (tmp_path / "here").mkdir()
    (tmp_path / "root/deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "root"


def test_of_two_files_of_one_name_the_one_that_ran_is_found(root: Path) -> None:
    for number, folder in enumerate((Path(), root)):
        (folder / "mine.py").write_text(PLUGIN.format(number))
    for folder in (Path(), root):
        found = restored_plugin(entry_of(folder / "mine.py"), [root, Path()])
        assert found.target == f"{(folder / 'mine.py').resolve()}:Mine"


def test_a_changed_plugin_and_an_absent_one_are_told(root: Path) -> None:
    (root / "mine.py").write_text(PLUGIN.format("old"))
    entry = entry_of(root / "mine.py")
    (root / "mine.py").write_text(PLUGIN.format("new"))
    with pytest.raises(UserError, match=f"'mine.py' .* has changed since the run.*.source {entry.source[:12]}, now"):
        restored_plugin(entry, [root])
    with pytest.raises(UserError, match=r"'mine.py', whose code would run: name its folder with --plugins-from FOLDER"):
        restored_plugin(entry, [])
    with pytest.raises(UserError, match=r"whose code would run, and there is none in '\.': name its folder with"):
        restored_plugin(entry, [Path()])


def test_a_file_of_weights_is_found_by_content_in_the_folder_and_below_the_root(root: Path) -> None:
    right, wrong = root / "deep/renamed.pt", root / "a.safetensors"
    right.write_bytes(b"right")
    wrong.write_bytes(b"wrong")
    backbone: dict[str, Any] = {"name": "some_vit", "weights": "file", "sha256": sha256_of_file(right)}
    assert restored_weights(backbone, root, []) == Weights("file", right, backbone["sha256"])
    with pytest.raises(AbsentError, match=f"sha256 {backbone['sha256'][:12]}, and no file in the current folder has"):
        restored_weights(backbone, None, [])
    with pytest.raises(AbsentError, match=r"a.safetensors' has not it: give --data-root FOLDER"):
        restored_weights(backbone, root, [], wrong)
    Path("mine.bin").write_bytes(b"right")
    assert restored_weights(backbone, None, known_benchmarks()).path == Path("mine.bin")


def test_weights_of_a_keyword_are_the_records_own() -> None:
    known = find_weights(BackboneSpec(), [])
    backbone: dict[str, Any] = {"name": "omniglot_vit", "weights": "bundled", "sha256": known.sha256}
    assert restored_weights(backbone, None, []) == known
    with pytest.raises(UserError, match="the bundled weights of 'omniglot_vit' are not those of the record"):
        restored_weights({**backbone, "sha256": "ab" * 32}, None, [])


@pytest.mark.parametrize("kind", ["head", "knn", "zero_shot"])
def test_a_probe_with_images_is_found_by_their_content(kind: str, root: Path, image_tree: Callable[..., Path]) -> None:
    tree = image_tree()
    names = {"names": "names.txt"} if kind == "zero_shot" else {}
    (tree / "train/names.txt").write_text("".join(f"class{label}\tthing {label}\n" for label in range(4)))
    probe = PROBE.validate_python({"kind": kind, "name": "images", "path": "tree/train", **names})
    probes = f"probes:\n  - {{kind: knn, path: tree/test}}\n  - {json.dumps(probe.model_dump(mode='json'))}\n"
    own = root / "own.yaml"
    own.write_text(f"name: own\ndataset: {{name: digits}}\nscenario: {{tasks: 5}}\nmethods: {{ncm: ncm}}\n{probes}")
    entry, known = probe_config(probe, 16, tree.parent), known_benchmarks(str(own))
    assert "path" not in entry
    assert restored_probe(entry, 16, tree.parent, known) == probe
    (tree / "train/class0/0.png").unlink()
    with pytest.raises(AbsentError, match="the images of probe 'images' are not where a shipped benchmark has them"):
        restored_probe(entry, 16, tree.parent, known)
