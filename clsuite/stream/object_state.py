"""The state of objects as they are in the middle of a task: whatever plugins keep, without a line of their own.

Between tasks, a plugin says what must survive (`clsuite.plugin.base.Plugin.state`). Within one it keeps more: teachers,
sums, counters, sources of random numbers. After an interruption the task is begun once more, by the plugins' own hooks,
and then all that can have changed since is put back: numbers, texts, tensors, arrays, generators, in containers and in
the attributes of objects. What is neither, such as a function, must be the same as when the task began, and an object
must have been there then: else there is no saying what it would be, and the state is refused.

What is saved consists of tensors and plain values, so that reading it executes nothing.
"""

from __future__ import annotations

import copy
import random
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from clsuite.private_api import parts_by_name

PLAIN = (bool, int, float, complex, str, bytes, type(None))
GENERATORS = (torch.Generator, np.random.RandomState, np.random.Generator, random.Random)
OF_TORCH = frozenset(vars(nn.Module()))
"""Attributes of a module that PyTorch keeps."""


class UnsavableError(Exception):
    """Something that cannot be saved; the message says where it is."""


class ObjectStates:
    """Sees some objects when a task begins, saves their state later, and puts it back into others that began alike."""

    def __init__(self, roots: Mapping[str, Any], constant: tuple[type, ...]) -> None:
        """Remember what is there.

        Args:
            roots: The objects, by name.
            constant: Types whose objects do not change, such as the stream.
        """
        self._roots, self._constant = dict(roots), constant
        self._first = dict(self._walk())

    def save(self) -> dict[str, Any]:
        """The state.

        Raises:
            UnsavableError: If something has no state that can be put back.
        """
        saver = _Saver(self)
        return {name: saver.encode(root, name) for name, root in self._roots.items()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Put a state back.

        Raises:
            Exception: Any, if it is of other objects.
        """
        loader = _Loader()
        for name, root in self._roots.items():
            loader.decode(state[name], root, name)

    def is_constant(self, value: Any) -> bool:
        """Whether something does not change."""
        return isinstance(value, self._constant)

    def is_as_first(self, path: str, value: Any) -> bool:
        """Whether the same stood at a place when the task began; of hooks, one that was hung up again."""
        first = self._first.get(path, self)
        alike = type(first) is type(value)
        return first is value or (alike and (isinstance(value, RemovableHandle) or _equal(first, value)))

    def had_kind(self, path: str, value: Any) -> bool:
        """Whether something of the same kind stood at a place when the task began."""
        return path in self._first and type(self._first[path]) is type(value)

    def _walk(self) -> Iterator[tuple[str, Any]]:
        seen = set[int]()
        todo = [*reversed(self._roots.items())]  # in the order in which it is saved
        while todo:
            path, value = todo.pop()
            yield path, value
            if type(value) in PLAIN or self.is_constant(value) or id(value) in seen:
                continue
            seen.add(id(value))
            todo += [(f"{path}{key}", inner) for key, inner in reversed(parts_of(value))]


def parts_of(value: Any) -> list[tuple[str, Any]]:
    """What a value consists of, by where it is."""
    if isinstance(value, Mapping):
        return [(f"[{key!r}]", inner) for key, inner in value.items()]
    if isinstance(value, list | tuple | deque):
        return [(f"[{number}]", inner) for number, inner in enumerate(value)]
    if isinstance(value, (Tensor, np.ndarray, np.generic, *GENERATORS, *PLAIN)) or not has_attributes(value):
        return []
    return [(f".{name}", inner) for name, inner in attributes(value).items()]


def has_attributes(value: Any) -> bool:
    """Whether a value is an object whose state is its attributes: no function, class or module of Python."""
    kind: Any = type(value)
    plain: Any = object
    own = kind.__reduce_ex__ is plain.__reduce_ex__ and kind.__reduce__ is plain.__reduce__
    return hasattr(value, "__dict__") and (own or isinstance(value, nn.Module)) and not callable_alone(value)


def is_frozen(value: Any) -> bool:
    """Whether a value is a dataclass that cannot be changed, and may therefore be shared by those who know it."""
    parameters: Any = vars(type(value)).get("__dataclass_params__")
    return parameters is not None and bool(parameters.frozen)


def callable_alone(value: Any) -> bool:
    """Whether a value is a function, a method or a class, or a module of Python."""
    return isinstance(value, type) or type(value).__module__ in ("builtins", "functools", "types", "weakref", "enum")


def attributes(value: Any) -> dict[str, Any]:
    """The attributes of an object; of a module with its parameters and buffers, and without what PyTorch keeps else."""
    if not isinstance(value, nn.Module):
        return dict(vars(value))
    own = {name: inner for name, inner in vars(value).items() if name not in OF_TORCH or name == "training"}
    return own | parts_by_name(value)


def _equal(first: Any, value: Any) -> bool:
    try:
        return bool(first == value)
    except Exception:  # whatever a comparison of somebody's objects raises
        return False


class _Saver:
    """Turns values into tensors and plain values; what is met twice is saved once."""

    def __init__(self, states: ObjectStates) -> None:
        self._states = states
        self._met: dict[int, tuple[str, Any]] = {}
        self._memory: dict[int, str] = {}

    def encode(self, value: Any, path: str) -> Any:
        if type(value) in PLAIN:
            return ["plain", value]
        if self._states.is_constant(value):
            return self._same(value, path)
        if id(value) in self._met:
            return ["again", self._met[id(value)][0]]
        self._met[id(value)] = path, value
        if isinstance(value, Tensor | np.ndarray | np.generic):
            return self._numbers(value, path)
        if isinstance(value, GENERATORS):
            return ["generator", _generator_state(value)]
        if isinstance(value, Mapping | list | tuple | deque):
            return self._container(value, path)
        if isinstance(value, set | frozenset):
            if all(type(one) in PLAIN for one in value):
                return ["set", sorted(value, key=repr)]
        elif has_attributes(value) and self._states.had_kind(path, value):
            return ["object", [[name, self.encode(one, f"{path}.{name}")] for name, one in attributes(value).items()]]
        return self._same(value, path)

    def _same(self, value: Any, path: str) -> Any:
        if not self._states.is_as_first(path, value):
            raise UnsavableError(f"{path} is another {type(value).__name__} than when the task began")
        return ["same"]

    def _numbers(self, value: Any, path: str) -> Any:
        if isinstance(value, np.generic):
            return ["number", torch.from_numpy(np.array(value)), value.dtype.str]
        if isinstance(value, np.ndarray):
            self._refuse_shared(_memory_of(value), path)
            try:
                return ["array", torch.from_numpy(np.array(value))]
            except TypeError as error:
                raise UnsavableError(f"{path} is an array of {value.dtype}") from error
        self._refuse_shared(value.untyped_storage().data_ptr() if value.numel() else id(value), path)
        return ["tensor", value.detach().to("cpu", copy=True), str(value.device), value.requires_grad]

    def _refuse_shared(self, memory: int, path: str) -> None:
        if self._memory.setdefault(memory, path) != path:
            raise UnsavableError(f"{path} lies in the memory of {self._memory[memory]}")

    def _container(self, value: Any, path: str) -> Any:
        if isinstance(value, Mapping):
            if not isinstance(value, dict) or not all(type(key) in (*PLAIN, tuple) for key in value):
                return self._same(value, path)
            return ["mapping", [[key, self.encode(one, f"{path}[{key!r}]")] for key, one in value.items()]]
        kind = next(name for name, base in KINDS.items() if isinstance(value, base))
        if kind == "tuple" and type(value) is not tuple:
            return self._same(value, path)
        return [kind, [self.encode(one, f"{path}[{number}]") for number, one in enumerate(value)]]


KINDS: dict[str, Any] = {"list": list, "tuple": tuple, "deque": deque}


def _memory_of(array: Any) -> int:
    """Where the memory begins that an array lies in, as a tensor says it that may lie there too."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return int(array.__array_interface__["data"][0]) if array.size else id(array)


def _generator_state(value: Any) -> Any:
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, random.Random):
        return value.getstate()
    state = value.get_state(legacy=False) if isinstance(value, np.random.RandomState) else value.bit_generator.state
    return _plain_arrays(state)


def _plain_arrays(value: Any) -> Any:
    """Arrays of unsigned numbers as lists: PyTorch has not all kinds of these."""
    if isinstance(value, dict):
        return {key: _plain_arrays(one) for key, one in value.items()}
    return ["numbers", value.dtype.str, value.tolist()] if isinstance(value, np.ndarray) else value


def _arrays_again(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _arrays_again(one) for key, one in value.items()}
    return np.array(value[2], dtype=value[1]) if isinstance(value, list) else value


class _Loader:
    """Puts saved values back into what stands in their places.

    What was one thing when the task began, and is two when it is saved, is filled once: the other gets its own.
    """

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._filled: dict[int, Any] = {}  # what is remembered is not forgotten, so that its number stays its own

    def decode(self, saved: Any, live: Any, path: str) -> Any:
        """What stands at a place from now on: the same object as before, wherever others may know it."""
        if saved[0] == "again":
            return self._made[saved[1]]
        value = live if saved[0] == "same" else getattr(self, f"_{saved[0]}")(saved, self._free(live, saved[0]), path)
        self._made[path] = value
        return value

    def _free(self, live: Any, kind: str) -> Any:
        """What a value may be put into: what stands in its place, unless another value lies in that already.

        Raises:
            ValueError: If it is an object, of which there is no other.
        """
        if not isinstance(live, Tensor | dict | list | deque) and kind not in ("object", "generator"):
            return live
        place = live.untyped_storage().data_ptr() if isinstance(live, Tensor) and live.numel() else 0
        taken = (place or id(live)) in self._filled
        self._filled[place or id(live)] = live
        if taken and (kind in ("object", "generator") or isinstance(live, nn.Parameter)):
            raise ValueError(f"two values for one {type(live).__name__}")
        return None if taken else live

    def _plain(self, saved: Any, live: Any, path: str) -> Any:
        return saved[1]

    def _tensor(self, saved: Any, live: Any, path: str) -> Any:
        fits = isinstance(live, Tensor) and live.shape == saved[1].shape and live.dtype == saved[1].dtype
        if isinstance(live, nn.Parameter) or (fits and live.is_leaf):
            with torch.no_grad():
                live.copy_(saved[1])
            return live.requires_grad_(saved[3]) if live.is_leaf and live.is_floating_point() else live
        return saved[1].to(saved[2]).requires_grad_(saved[3] and saved[1].is_floating_point())

    def _array(self, saved: Any, live: Any, path: str) -> Any:
        return saved[1].numpy().copy()

    def _number(self, saved: Any, live: Any, path: str) -> Any:
        return saved[1].numpy().astype(saved[2])[()]

    def _generator(self, saved: Any, live: Any, path: str) -> Any:
        if isinstance(live, torch.Generator):
            live.set_state(saved[1])
        elif isinstance(live, random.Random):
            live.setstate(saved[1])
        elif isinstance(live, np.random.RandomState):
            live.set_state(_arrays_again(saved[1]))
        else:
            live.bit_generator.state = _arrays_again(saved[1])
        return live

    def _set(self, saved: Any, live: Any, path: str) -> Any:
        return frozenset(saved[1]) if isinstance(live, frozenset) else set(saved[1])

    def _mapping(self, saved: Any, live: Any, path: str) -> Any:
        live = live if isinstance(live, dict) else {}
        self._made[path] = live
        values = {key: self.decode(one, live.get(key), f"{path}[{key!r}]") for key, one in saved[1]}
        live.clear()
        live.update(values)
        return live

    def _items(self, saved: Any, live: Any, path: str) -> list[Any]:
        before = list(live) if isinstance(live, list | tuple | deque) else []
        before += [None] * (len(saved[1]) - len(before))
        return [self.decode(one, before[number], f"{path}[{number}]") for number, one in enumerate(saved[1])]

    def _list(self, saved: Any, live: Any, path: str) -> Any:
        live = live if isinstance(live, list) else []
        self._made[path] = live
        live[:] = self._items(saved, live, path)
        return live

    def _tuple(self, saved: Any, live: Any, path: str) -> Any:
        return tuple(self._items(saved, live, path))

    def _deque(self, saved: Any, live: Any, path: str) -> Any:
        items = self._items(saved, live, path)
        live = live if isinstance(live, deque) else deque()
        live.clear()
        live.extend(items)
        return live

    def _object(self, saved: Any, live: Any, path: str) -> Any:
        if is_frozen(live):
            live = copy.copy(live)
        self._made[path] = live
        before = attributes(live)
        for name, one in saved[1]:
            value = self.decode(one, before.get(name), f"{path}.{name}")
            if value is not before.get(name, self):
                object.__setattr__(live, name, value) if not isinstance(live, nn.Module) else setattr(live, name, value)
        for name in before.keys() - {name for name, _ in saved[1]}:
            delattr(live, name)
        return live
