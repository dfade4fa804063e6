"""What a record was made of is found again by its source or content, and only that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clsuite.backbones.spec import BackboneSpec, Weights, find_weights
from clsuite.errors import AbsentError, UserError
from clsuite.plugin.catalog import find_plugin
from clsuite.records import PluginEntry
from clsuite.records.canonical import sha256_of_file
from clsuite.runner.restored import known_benchmarks, restored_plugin, restored_weights

PLUGIN = '"""A method."""\n\nfrom clsuite.plugin import Plugin\n\n\nclass Mine(Plugin):\n    """Mine, {}."""\n'


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
        found = restored_plugin(entry_of(folder / "mine.py"), root)
        assert found.target == f"{(folder / 'mine.py').resolve()}:Mine"


def test_a_changed_plugin_and_an_absent_one_are_told(root: Path) -> None:
    (root / "mine.py").write_text(PLUGIN.format("old"))
    entry = entry_of(root / "mine.py")
    (root / "mine.py").write_text(PLUGIN.format("new"))
    with pytest.raises(UserError, match=f"'mine.py' has changed since the run .source {entry.source[:12]}, now"):
        restored_plugin(entry, root)
    with pytest.raises(UserError, match=r"mine.py.*call it in the folder of that file, or say --data-root FOLDER"):
        restored_plugin(entry, None)


def test_a_file_of_weights_is_found_by_content_in_the_folder_and_below_the_root(root: Path) -> None:
    right, wrong = root / "deep/renamed.pt", root / "a.safetensors"
    right.write_bytes(b"right")
    wrong.write_bytes(b"wrong")
    backbone: dict[str, Any] = {"name": "some_vit", "weights": "file", "sha256": sha256_of_file(right)}
    assert restored_weights(backbone, root, []) == Weights("file", right, backbone["sha256"])
    with pytest.raises(AbsentError, match=f"sha256 {backbone['sha256'][:12]}, and no file in the current folder has"):
        restored_weights(backbone, None, [])
    with pytest.raises(AbsentError, match=r"a.safetensors' has not it: say --data-root FOLDER"):
        restored_weights(backbone, root, [], wrong)
    Path("mine.bin").write_bytes(b"right")
    assert restored_weights(backbone, None, known_benchmarks()).path == Path("mine.bin")


def test_weights_of_a_keyword_are_the_records_own() -> None:
    known = find_weights(BackboneSpec(), [])
    backbone: dict[str, Any] = {"name": "omniglot_vit", "weights": "bundled", "sha256": known.sha256}
    assert restored_weights(backbone, None, []) == known
    with pytest.raises(UserError, match="the bundled weights of 'omniglot_vit' are not those of the record"):
        restored_weights({**backbone, "sha256": "ab" * 32}, None, [])
