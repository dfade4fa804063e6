"""The state of objects in the middle of a task: put back into objects that began alike, or refused."""

from __future__ import annotations

import random
import sys
from collections import UserDict, defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from clsuite.stream.object_state import ObjectStates, UnsavableError
from clsuite.stream.sealed_state import read_state, write_state


class Inner:
    """Something that a plugin keeps."""

    def __init__(self) -> None:
        self.seen = 0


class Kept:
    """What plugins keep, of all kinds."""

    def __init__(self) -> None:
        self.number, self.text, self.nothing = 1, "a", None
        self.tensor, self.half = torch.zeros(3), torch.zeros(2, dtype=torch.bfloat16)
        self.array, self.flag = np.zeros(4, dtype=np.uint8), np.float32(0.5)
        self.inner = Inner()
        self.same_inner, self.listed = self.inner, [self.inner, {"x": self.inner}]
        self.alias = self.tensor
        self.queue: deque[int] = deque(maxlen=2)
        self.known = {1, 2}
        self.torch_generator = torch.Generator().manual_seed(0)
        self.numpy_generator, self.numpy_state = np.random.default_rng(0), np.random.RandomState(0)
        self.python = random.Random(0)
        self.teacher = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.function = len
        self.circle: list[Any] = []
        self.circle.append(self.circle)


def change(kept: Kept) -> None:
    kept.number, kept.text = 2, "b"
    kept.tensor += 1
    kept.half += 0.5
    kept.array = np.arange(3, dtype=np.uint8)
    kept.flag = np.float32(0.1)
    kept.inner.seen = 7
    kept.queue.extend([1, 2, 3])
    kept.known = {5}
    kept.listed.append({(0, 1): [torch.ones(2), "new"]})
    kept.teacher.requires_grad_(False).eval()
    with torch.no_grad():
        kept.teacher[0].weight.fill_(3)
    vars(kept)["later"] = 4
    del kept.nothing
    draws(kept)


def draws(kept: Kept) -> list[float]:
    return [
        float(torch.rand(1, generator=kept.torch_generator)), float(kept.numpy_generator.random()),
        float(kept.numpy_state.rand()), kept.python.random(),
    ]  # fmt: skip


def states(kept: Any) -> ObjectStates:
    return ObjectStates({"kept": kept}, ())


def test_all_that_changed_is_put_back_through_a_file(tmp_path: Any) -> None:
    """It is read with nothing executed; what several know stays one thing."""
    first, second = Kept(), Kept()
    before, after = states(first), states(second)
    change(first)
    write_state(before.save(), tmp_path / "x")
    after.load(read_state(tmp_path / "x"))
    assert (second.number, second.text, vars(second)["later"]) == (2, "b", 4)
    assert not hasattr(second, "nothing")
    assert second.tensor.tolist() == [1, 1, 1]
    assert second.alias is second.tensor
    assert second.half.dtype == torch.bfloat16
    assert second.array.tolist() == [0, 1, 2]
    assert (second.array.dtype, second.flag.dtype, second.flag) == (np.uint8, np.float32, np.float32(0.1))
    assert second.inner.seen == 7
    assert second.same_inner is second.inner is second.listed[0] is second.listed[1]["x"]  # type: ignore[index]
    assert second.listed[2][0, 1][1] == "new"  # type: ignore[index]
    assert (list(second.queue), second.queue.maxlen) == ([2, 3], 2)
    assert second.known == {5}
    assert second.circle[0] is second.circle
    assert second.teacher[0].weight.tolist() == [[3, 3], [3, 3]]
    assert not second.teacher.training
    assert not any(parameter.requires_grad for parameter in second.teacher.parameters())
    assert draws(second) == draws(first)


def replace_function(kept: Any) -> None:
    kept.function = max


def add_object(kept: Any) -> None:
    kept.nothing = Inner()


def take_view(kept: Any) -> None:
    kept.half = kept.tensor[:2]


def take_view_of_array(kept: Any) -> None:
    kept.flag = kept.array[:2]


def write_words(kept: Any) -> None:
    kept.array = np.array(["a"])


def mask(kept: Any) -> None:
    kept.array = np.ma.masked_array(kept.array, mask=True)


def turn_bytes(kept: Any) -> None:
    kept.array = np.zeros(2, dtype=">i4" if sys.byteorder == "little" else "<i4")


def make_sparse(kept: Any) -> None:
    kept.half = torch.eye(2).to_sparse()


def leave_out_values(kept: Any) -> None:
    kept.half = torch.zeros(2, device="meta")


SPOILERS = [
    replace_function, add_object, take_view, take_view_of_array, write_words, mask, turn_bytes, make_sparse,
    leave_out_values,
]  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILERS)
def test_what_has_no_state_is_refused_by_its_name(spoil: Any) -> None:
    kept = Kept()
    before = states(kept)
    before.save()
    spoil(kept)
    with pytest.raises(UnsavableError, match=r"^kept\."):
        before.save()


def through_a_file(first: Any, second: Any, change: Callable[[Any], None], path: Path) -> None:
    """Change the first of two alike objects, and restore its state into the second."""
    before, after = states(first), states(second)
    change(first)
    write_state(before.save(), path / "x")
    after.load(read_state(path / "x"))


SCALARS = [
    np.str_("new"), np.str_(""), np.bytes_(b"new"), np.longdouble(2) / 3, np.clongdouble(1j), np.datetime64("2020-01"),
    np.bool_(True), np.uint64(2**63), np.float16(0.5), np.complex64(1j),
]  # fmt: skip


@pytest.mark.parametrize("scalar", SCALARS, ids=repr)
@pytest.mark.parametrize("where", ["value", "key", "in a key", "member"])
def test_numpy_scalars_of_all_types_are_put_back(scalar: Any, where: str, tmp_path: Path) -> None:
    def change(kept: Any) -> None:
        places = {"value": scalar, "key": {scalar: 1}, "in a key": {("a", scalar): 1}, "member": {scalar}}
        kept.seen = places[where]

    first, second = Inner(), Inner()
    through_a_file(first, second, change, tmp_path)
    assert second.seen == first.seen
    (found,) = second.seen if where in ("key", "member") else [second.seen]  # type: ignore[misc]
    (found,) = [key[1] for key in second.seen] if where == "in a key" else [found]  # type: ignore[attr-defined]
    assert type(found) is type(scalar)


class Pair(NamedTuple):
    """Two things that a plugin keeps together."""

    count: int
    total: Any


class Collections:
    """Collections whose keys or types are unusual."""

    def __init__(self) -> None:
        self.counts, self.seen = {np.int64(0): 0}, {np.int64(0)}
        self.weight = nn.Parameter(torch.zeros(1))
        self.sums = {self.weight: torch.zeros(1)}
        self.kinds = {int, self}
        self.pair = Pair(0, torch.zeros(1))
        self.defaults = defaultdict[str, int](int)
        self.user = UserDict({"a": 0})
        self.windows: dict[str, deque[int]] = {}


def fill(kept: Collections) -> None:
    kept.counts[np.int64(3)] = 4
    kept.seen.add(np.int64(3))
    kept.sums[kept.weight] += 5
    kept.pair.total.add_(6)
    kept.defaults["a"] += 7
    kept.user["a"] = 8
    kept.windows["new"] = deque([9], maxlen=1)


def test_collections_with_unusual_keys_and_types_are_put_back(tmp_path: Path) -> None:
    first, second = Collections(), Collections()
    through_a_file(first, second, fill, tmp_path)
    assert (second.counts, second.seen) == ({0: 0, 3: 4}, {0, 3})
    assert second.sums[second.weight].item() == 5
    assert (type(second.pair), second.pair.total.item()) == (Pair, 6)
    assert second.defaults["a"] == 7
    assert second.defaults["other"] == 0
    assert dict(second.user) == {"a": 8}
    assert second.windows == {"new": deque([9])}
    assert second.windows["new"].maxlen == 1


def add_key(kept: Collections) -> None:
    kept.sums[nn.Parameter(torch.ones(1))] = torch.ones(1)


def add_member(kept: Collections) -> None:
    kept.kinds.add(float)


def add_default(kept: Any) -> None:
    kept.windows["new"] = defaultdict(int)


def add_record(kept: Any) -> None:
    kept.weight = np.zeros(1, dtype=[("a", np.int64)])[0]


@pytest.mark.parametrize("spoil", [add_key, add_member, add_default, add_record])
def test_collections_that_cannot_be_put_back_are_refused(spoil: Any) -> None:
    kept = Collections()
    before = states(kept)
    before.save()
    spoil(kept)
    with pytest.raises(UnsavableError, match=r"^kept\."):
        before.save()


def test_a_state_of_other_objects_does_not_fit() -> None:
    kept, other = Kept(), Inner()
    saved = states(kept).save()
    with pytest.raises((AttributeError, KeyError, TypeError)):
        states(other).load(saved)


class Parted:
    """What is one thing when a task begins and two later."""

    def __init__(self) -> None:
        self.weight = nn.Parameter(torch.zeros(2))
        self.anchor = self.weight.detach()
        self.hits = self.draws = torch.zeros(2)
        self.first = self.second = [0]


def test_what_was_one_thing_and_is_two_gets_two_values() -> None:
    kept, again = Parted(), Parted()
    states, restored = (ObjectStates({"kept": one}, ()) for one in (kept, again))
    with torch.no_grad():
        kept.weight.fill_(1)
    kept.anchor, kept.hits, kept.draws = torch.full((2,), 2.0), torch.full((2,), 3.0), torch.full((2,), 4.0)
    kept.first, kept.second = [5], [6]
    restored.load(states.save())
    found = [one.tolist() for one in (again.weight, again.anchor, again.hits, again.draws)]
    assert found == [[1, 1], [2, 2], [3, 3], [4, 4]]
    assert (again.first, again.second) == ([5], [6])


def test_one_object_that_became_two_is_refused() -> None:
    kept, again = Kept(), Kept()
    for one in (kept, again):
        one.listed[0] = one.inner
    states, restored = (ObjectStates({"kept": one}, ()) for one in (kept, again))
    kept.inner = Inner()
    kept.inner.seen = 1
    with pytest.raises(ValueError, match="two values for one Inner"):
        restored.load(states.save())


def test_an_array_and_a_tensor_in_one_memory_are_refused() -> None:
    kept = Kept()
    kept.tensor = torch.from_numpy(kept.array)
    with pytest.raises(UnsavableError, match="shares the memory of"):
        ObjectStates({"kept": kept}, ()).save()
