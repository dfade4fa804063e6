"""Files that are read: those below a folder, whatever happens to it meanwhile, and none that never ends."""

from __future__ import annotations

import os
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pytest

from clsuite.cli.main import main
from clsuite.config.paths import files_below, near_paths
from clsuite.config.yaml_text import read_yaml
from clsuite.data.naming import text_lines
from clsuite.errors import UserError
from clsuite.records import read_predictions, read_record

RECORD = str(Path(__file__).parents[2] / "leaderboard" / "records" / "quickstart" / "ncm")


def test_the_nearest_names_beside_a_path_have_its_ending(tmp_path: Path) -> None:
    for name in ("er_ace.py", "er_ace.txt", ".er_ace.py", "other.py"):
        (tmp_path / name).touch()
    (tmp_path / "my_images").mkdir()
    assert near_paths(tmp_path / "er-ace.py") == f" Did you mean '{tmp_path / 'er_ace.py'}'?"
    assert near_paths(tmp_path / "my_imges") == f" Did you mean '{tmp_path / 'my_images'}'?"
    assert near_paths(tmp_path / "quite another") == near_paths(tmp_path / "gone" / "er_ace.py") == ""


def test_files_below_a_folder_are_those_of_the_pattern_and_links(tmp_path: Path) -> None:
    (tmp_path / "a" / "b.json").mkdir(parents=True)
    for name in ("z.json", "a/y.json", "a/b.json/x.json", "a/w.txt"):
        (tmp_path / name).touch()
    (tmp_path / "a" / "loop.json").symlink_to(tmp_path)
    found = [path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path, "*.json")]
    assert found == ["a/b.json/x.json", "a/loop.json", "a/y.json", "z.json"]
    assert len(files_below(tmp_path)) == 5
    assert files_below(tmp_path / "gone") == []


def test_deep_folders_are_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(1500):
        Path("d").mkdir()
        monkeypatch.chdir("d")
    Path("x").touch()
    monkeypatch.chdir(tmp_path)
    assert [path.name for path in files_below(Path())] == ["x"]
    subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # Python's own removal, by pytest, ends at 1,000 levels


@pytest.mark.parametrize(("gone", "told"), [(True, 0), (False, 1)])
def test_a_folder_that_goes_meanwhile_is_left_out_and_one_that_cannot_be_read_is_told(
    gone: bool, told: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("good", "bad", "worse"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.json").touch()
    scan = os.scandir

    def scandir(place: Path) -> Any:
        if Path(place).name in ("bad", "worse"):
            if gone:
                (Path(place) / "x.json").unlink()
                Path(place).rmdir()
            raise OSError(22, "Invalid argument", str(place))  # as of a process below /proc that ends
        return scan(place)

    monkeypatch.setattr(os, "scandir", scandir)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert files_below(tmp_path) == [tmp_path / "good" / "x.json"]
    assert len(caught) == told
    assert all("a folder that cannot be read" in str(one.message) for one in caught)
    assert all("Invalid argument (and 1 more)" in str(one.message) for one in caught)


@pytest.mark.parametrize("name", ["/dev/null", "/dev/full"])
def test_what_never_ends_is_not_read(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a regular file"):
        read_record(Path(name))
    with pytest.raises(UserError, match="not a regular file"):
        read_yaml(Path(name))
    with pytest.raises(UserError, match="not a regular file"):
        text_lines(Path(name))
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(UserError, match="not a regular file"):
        read_predictions(tmp_path / "pipe.npz")


@pytest.mark.parametrize("name", ["pipe", "link", "link.svg"])
def test_no_file_takes_the_name_of_a_pipe_or_a_device(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    for link in ("link", "link.svg"):
        Path(link).symlink_to("/dev/null")
    before = Path(name).lstat().st_ino
    command = ["plot", RECORD] if name.endswith(".svg") else ["table", RECORD, "--format", "csv"]
    assert main([*command, "-o", name]) == 2
    assert capsys.readouterr().err.endswith(f"cannot write '{name}': not a regular file\n")
    assert Path(name).lstat().st_ino == before
