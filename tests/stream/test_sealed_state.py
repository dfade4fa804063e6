"""Checkpoints and models on disk: what is not what was written is noticed."""

from __future__ import annotations

import resource
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clsuite.errors import InputWarning, UserError
from clsuite.stream import checkpoint
from clsuite.stream.sealed_state import DamagedStateError, read_state, state_digest, write_state
from clsuite_plugins.replay import Replay

STATE: dict[str, Any] = {
    "identity": "x",
    "learner": {"parameters": {"w": torch.arange(20_000.0).reshape(100, 200).T}, "sizes": [2, 3], "none": None},
    "matrix": [torch.zeros(0), torch.tensor(3), torch.ones(3, dtype=torch.bfloat16), torch.tensor([True])],
    "rng": torch.get_rng_state(),
    "numbers": {"a": 0.1, 3: -1, "t": (1, "two"), "f": False},
}


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    write_state(STATE, tmp_path / "s")
    back = read_state(tmp_path / "s")
    assert back.pop("sha256") == state_digest(STATE) == state_digest(back)
    torch.testing.assert_close(back["learner"]["parameters"]["w"], STATE["learner"]["parameters"]["w"])


def test_another_state_has_another_digest() -> None:
    digests = [state_digest(value) for value in (
        STATE, {**STATE, "identity": "y"}, {**STATE, "rng": None}, {**STATE, "matrix": STATE["matrix"][:-1]}, [1, 2],
        [[1], 2], {"a": 1}, {"b": 1}, {"a": True}, {"a": 1.0}, {"a": "1"}, torch.zeros(2, 3), torch.zeros(3, 2),
        torch.zeros(6), torch.zeros(6).int(), -torch.zeros(6),
    )]  # fmt: skip
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("place", np.linspace(0.02, 0.97, 9))
@pytest.mark.parametrize("how", ["sector", "bit"])
def test_damage_never_gives_another_state(tmp_path: Path, place: float, how: str) -> None:
    """Either it is noticed, or it fell on bytes that hold nothing."""
    write_state(STATE, tmp_path / "s")
    content = bytearray((tmp_path / "s").read_bytes())
    start = int(place * len(content))
    if how == "sector":
        content[start : start + 512] = bytes(len(content[start : start + 512]))
    else:
        content[start] ^= 16
    (tmp_path / "s").write_bytes(content)
    try:
        back = read_state(tmp_path / "s")
    except DamagedStateError:
        return
    back.pop("sha256")
    assert state_digest(back) == state_digest(STATE)


def test_flipped_weights_are_noticed(tmp_path: Path) -> None:
    write_state(STATE, tmp_path / "s")
    content = (tmp_path / "s").read_bytes()
    wanted = torch.tensor([11111.0]).numpy().tobytes()
    assert content.count(wanted) == 1
    (tmp_path / "s").write_bytes(content.replace(wanted, torch.tensor([11111.5]).numpy().tobytes()))
    with pytest.raises(DamagedStateError, match="its content has changed since it was written"):
        read_state(tmp_path / "s")


@pytest.mark.parametrize("missing", [*STATE, "sha256"])
def test_a_missing_entry_is_noticed(tmp_path: Path, missing: str) -> None:
    write_state(STATE, tmp_path / "s")
    state = torch.load(tmp_path / "s", weights_only=True)
    torch.save({name: value for name, value in state.items() if name != missing}, tmp_path / "s")
    with pytest.raises(DamagedStateError):
        read_state(tmp_path / "s")


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"\x80\x02]q\x00."])
def test_a_cut_or_foreign_checkpoint_is_told_and_not_taken(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c.ckpt").write_bytes(content)
    with pytest.warns(
        InputWarning, match=r"the checkpoint '.*c\.ckpt' is damaged: .*\. The run begins again from the start\."
    ):
        assert checkpoint.load(tmp_path / "c.ckpt") is None
    torch.save([1], tmp_path / "c.ckpt")
    with pytest.warns(InputWarning, match="it has no checksum"):
        assert checkpoint.load(tmp_path / "c.ckpt") is None


def test_no_checkpoint_is_nothing_to_tell(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checkpoint.load(tmp_path / "c.ckpt") is None


class _KilledError(Exception):
    pass


def interrupted(make_stream: Any, path: Path) -> None:
    def stop(event: dict[str, Any]) -> None:
        if event["task"] == 1:
            raise _KilledError

    stream = make_stream(plugin(), checkpoint=path)
    stream.report = stop
    with pytest.raises(_KilledError):
        stream.run()


def plugin() -> Any:
    return Replay(capacity=20)


@pytest.mark.slow
def test_a_run_with_a_damaged_checkpoint_ends_as_an_uninterrupted_one(make_stream: Any, tmp_path: Path) -> None:
    whole = make_stream(plugin())
    whole.run()
    path = tmp_path / "c.ckpt"
    interrupted(make_stream, path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 512] = bytes(512)
    path.write_bytes(content)
    again = make_stream(plugin(), checkpoint=path)
    with pytest.warns(InputWarning, match="is damaged"):
        again.run()
    assert again.matrix.counts() == whole.matrix.counts()
    assert [task.final_loss for task in again.tasks] == [task.final_loss for task in whole.tasks]


@pytest.mark.parametrize("bytes_left", [0, 1_000, 60_000])
def test_a_full_disk_is_told_and_leaves_what_was_there(bytes_left: int, tmp_path: Path) -> None:
    """The disk is full as soon as a file would become larger than the process may write."""
    path = tmp_path / "s"
    write_state({"identity": "before"}, path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, hard))
    try:
        with pytest.raises(UserError, match="File too large") as caught:
            write_state(STATE, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value) == f"cannot write '{path}': File too large"
    assert read_state(path)["identity"] == "before"
    assert [one.name for one in tmp_path.iterdir()] == ["s"]


def in_itself() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(1).expand(10**13),
        torch.zeros(1).expand(10**9),
        torch.zeros(10**12, device="meta"),
        torch.eye(3).to_sparse(),
        torch.ones(2, dtype=torch.complex64).conj(),
        in_itself(),
    ],
    ids=["endless", "large", "without bytes", "sparse", "conjugate", "in itself"],
)
def test_what_no_state_holds_is_damage_and_fills_no_memory(value: Any, tmp_path: Path) -> None:
    torch.save({"value": value, "sha256": "0" * 64}, tmp_path / "x.pt")
    with pytest.raises(DamagedStateError):
        read_state(tmp_path / "x.pt")


def test_tied_weights_are_read(tmp_path: Path) -> None:
    weight = torch.rand(100)
    write_state({"a": weight, "b": weight, "c": weight.expand(3, 100)}, tmp_path / "x.pt")
    assert torch.equal(read_state(tmp_path / "x.pt")["c"], weight.expand(3, 100))
