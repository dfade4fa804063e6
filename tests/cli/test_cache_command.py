"""``clsuite cache``: what is kept is shown, damage is found, and what is cleared is made again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clsuite.cli.main import main
from clsuite.data.datasets import load_table
from clsuite.data.feature_files import Block, FeatureFiles
from clsuite.data.spec import DatasetSpec

DAY = 86400
ABOUT = {"backbone": "a_vit", "images": [20, 3, 32, 32], "precision": "", "device": "cpu", "threads": 2}
Call = Callable[..., str]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with one table, not used for ten days, and three blocks, used now, 3 and 20 days ago."""
    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path))
    load_table(DatasetSpec(name="digits", train_per_class=2, test_per_class=1), 32)
    (table,) = (tmp_path / "tables").iterdir()
    files = FeatureFiles(10**9, tmp_path)
    for days in (0, 3, 20):
        files.write("g" * 32, f"{days:02}", Block(np.full((5, 100), days, np.float32), 1.0), ABOUT)
        os.utime(block(tmp_path, days), (time.time() - days * DAY,) * 2)
    os.utime(table, (time.time() - 10 * DAY,) * 2)
    return tmp_path


def block(root: Path, days: int) -> Path:
    return root / "features" / ("g" * 32) / f"{days:02}.safetensors"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def called(*words: str, status: int = 0) -> str:
        ended = main(["cache", *words])
        told = capsys.readouterr()
        assert ended == status, told
        return told.out + told.err

    return called


def test_all_is_shown_by_size_and_last_use(cache: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = call("show")
    assert "30 images of 32 px, 10 classes (0, 1, ...)" in shown
    assert "10 days ago" in shown
    assert "a_vit on a table of 20 images of 32 px (cpu, float32, 2 threads): 3 blocks" in shown
    assert "of at most 20.0 GB (CLSUITE_FEATURE_LIMIT)" in shown
    assert "a_vit" not in call("show", "--kind", "tables")
    assert call("verify").endswith("all as written\n")


def test_an_empty_cache_is_shown_checked_and_cleared(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path / "none"))
    assert "nothing is kept" in call("show")
    assert "0 looked at" in call("verify")
    assert "nothing deleted" in call("clear")


def test_damage_is_found_in_tables_and_features(cache: Path, call: Call) -> None:
    block(cache, 3).write_bytes(block(cache, 3).read_bytes()[:-1])
    assert f"{block(cache, 3)}: it is truncated, or of another kind" in call("verify", status=1)
    (table,) = (cache / "tables").iterdir()
    content = bytearray((table / "images.npy").read_bytes())
    content[-1] ^= 1
    (table / "images.npy").write_bytes(content)
    told = call("verify", status=1)
    assert f"{table}: its images 0 to 29 have changed since they were written" in told
    assert "2 looked at" in told
    assert "2 damaged" in told
    assert "1 damaged" in call("verify", "--kind", "tables", status=1)
    assert sorted(path.name for path in (cache / "tables").iterdir()) == [table.name]


def test_what_was_not_used_for_long_is_cleared_alone(cache: Path, call: Call) -> None:
    assert "nothing deleted" in call("clear", "--older-than", "30d")
    assert "of features deleted" in call("clear", "--older-than", "2w")
    assert [block(cache, days).exists() for days in (0, 3, 20)] == [True, True, False]
    assert "of tables deleted" in call("clear", "--older-than", "9d")
    assert list((cache / "tables").iterdir()) == []
    assert "of features deleted" in call("clear", "--older-than", "36h", "--kind", "features")
    assert [block(cache, days).exists() for days in (0, 3)] == [True, False]


def test_a_cleared_table_is_made_again(cache: Path, call: Call) -> None:
    spec = DatasetSpec(name="digits", train_per_class=2, test_per_class=1)
    before = load_table(spec, 32).images.tobytes()
    call("clear")
    assert list((cache / "tables").iterdir()) == []
    assert list((cache / "features").iterdir()) == []
    assert load_table(spec, 32).images.tobytes() == before
    assert call("verify", "--kind", "tables").endswith("all as written\n")


def test_use_is_noted(cache: Path, call: Call) -> None:
    load_table(DatasetSpec(name="digits", train_per_class=2, test_per_class=1), 32)
    assert FeatureFiles(10**9, cache).read("g" * 32, "20") is not None
    assert "nothing deleted" in call("clear", "--older-than", "4d")


def test_features_are_cleared_down_to_a_size_the_oldest_first(cache: Path, call: Call) -> None:
    size = block(cache, 0).stat().st_size
    assert "of features deleted" in call("clear", "--down-to", f"{2 * size}B")
    assert [block(cache, days).exists() for days in (0, 3, 20)] == [True, True, False]
    assert len(list((cache / "tables").iterdir())) == 1


def test_files_that_were_begun_long_ago_go_and_those_of_now_stay(cache: Path, call: Call) -> None:
    old, new = (block(cache, 0).with_name(name) for name in (".old.1234", ".new.1234"))
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (time.time() - 2 * DAY,) * 2)
    call("clear", "--kind", "features")
    assert [path.name for path in old.parent.glob(".*")] == [".new.1234"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("shw",), "unknown action 'shw'. Did you mean 'show'?"),
        (("clear", "--kind", "feature"), "unknown kind 'feature'. Did you mean 'features'?"),
        (("clear", "--older-than", "30"), "--older-than: '30' is not an age, such as 30d, 12h or 2w"),
        (("clear", "--down-to", "5"), "--down-to: '5' is not a size, such as 500MB or 20GB"),
        (("show", "--older-than", "3d"), "--older-than and --down-to are options of 'clear', not of 'show'"),
        (("clear", "--down-to", "5GB", "--kind", "tables"), "--down-to is only for features"),
        (("clear", "--down-to", "5GB", "--older-than", "3d"), "excludes --older-than"),
    ],
)
def test_bad_words_are_one_line(words: tuple[str, ...], complaint: str, cache: Path, call: Call) -> None:
    told = call(*words, status=2)
    assert complaint in told
    assert told.count("\n") == 1
    assert block(cache, 20).exists()
