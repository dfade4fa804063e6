"""The state of objects in the middle of a task: everything that plugins keep, without code of their own.

Between tasks, a plugin declares its state (`clsuite.plugin.base.Plugin.state`). Within a task it keeps more: teachers,
sums, counters, random number generators. After an interruption the plugins' hooks begin the task again, and then
everything that can have changed since is restored: numbers, texts, tensors, arrays and generators, in containers and
in the attributes of objects. Anything else, such as a function, must be the same as at the beginning of the task, and
an object must have existed then. Otherwise it cannot be restored, and saving is refused.

The saved state consists of tensors and plain values, so that reading it executes nothing.
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
"""Attributes that PyTorch gives to each module."""


class UnsavableError(Exception):
    """Something that cannot be saved; the message says where it is."""


class ObjectStates:
    """Records objects at the beginning of a task, saves their state later, and restores it into equal new objects."""

    def __init__(self, roots: Mapping[str, Any], constant: tuple[type, ...]) -> None:
        """Record the objects as they are now.

        Args:
            roots: The objects, by name.
            constant: Types whose objects do not change, such as the stream.
        """
        self._roots, self._constant = dict(roots), constant
        self._first = dict(self._walk())
        self._keys = {path: [*one] for path, one in self._first.items() if isinstance(one, dict | set | frozenset)}

    def save(self) -> dict[str, Any]:
        """Return the state.

        Raises:
            UnsavableError: If a part of it cannot be restored.
        """
        saver = _Saver(self)
        return {name: saver.encode(root, name) for name, root in self._roots.items()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore a state.

        Raises:
            Exception: Any error, if the state is that of other objects.
        """
        loader = _Loader()
        for name, root in self._roots.items():
            loader.decode(state[name], root, name)

    def is_constant(self, value: Any) -> bool:
        """Whether a value never changes."""
        return isinstance(value, self._constant)

    def is_as_first(self, path: str, value: Any) -> bool:
        """Whether a place has the same value as when the task began; a hook may have been registered again."""
        first = self._first.get(path, self)
        alike = type(first) is type(value)
        return first is value or (alike and (isinstance(value, RemovableHandle) or _equal(first, value)))

    def had_kind(self, path: str, value: Any) -> bool:
        """Whether a place had a value of the same type when the task began."""
        return path in self._first and type(self._first[path]) is type(value)

    def had_keys(self, path: str, value: Any) -> bool:
        """Whether a mapping or a set had the same keys, in the same order, when the task began."""
        return _equal(self._keys.get(path), [*value])

    def _walk(self) -> Iterator[tuple[str, Any]]:
        seen = set[int]()
        todo = [*reversed(self._roots.items())]  # in the order of saving
        while todo:
            path, value = todo.pop()
            yield path, value
            if type(value) in PLAIN or self.is_constant(value) or id(value) in seen:
                continue
            seen.add(id(value))
            todo += [(f"{path}{key}", inner) for key, inner in reversed(parts_of(value))]


def parts_of(value: Any) -> list[tuple[str, Any]]:
    """The parts of a value, with their places."""
    if isinstance(value, dict):
        return list(zip(_places(value), value.values(), strict=True))
    if isinstance(value, list | tuple | deque):
        return [(f"[{number}]", inner) for number, inner in enumerate(value)]
    if isinstance(value, (Tensor, np.ndarray, np.generic, *GENERATORS, *PLAIN)) or not has_attributes(value):
        return []
    return [(f".{name}", inner) for name, inner in attributes(value).items()]


def _places(mapping: dict[Any, Any]) -> list[str]:
    """The place of each value; keys without a state of their own are numbered, so that it is known in any process."""
    return [f"[{key!r}]" if _is_key(key) else f"[key {number}]" for number, key in enumerate(mapping)]


def has_attributes(value: Any) -> bool:
    """Whether the attributes of a value are its state, which is not so for functions, classes and Python modules."""
    kind: Any = type(value)
    plain: Any = object
    own = kind.__reduce_ex__ is plain.__reduce_ex__ and kind.__reduce__ is plain.__reduce__
    return hasattr(value, "__dict__") and (own or isinstance(value, nn.Module)) and not callable_alone(value)


def is_frozen(value: Any) -> bool:
    """Whether a value is a frozen dataclass, which may be shared."""
    parameters: Any = vars(type(value)).get("__dataclass_params__")
    return parameters is not None and bool(parameters.frozen)


def callable_alone(value: Any) -> bool:
    """Whether a value is a function, a method, a class or a Python module."""
    return isinstance(value, type) or type(value).__module__ in ("builtins", "functools", "types", "weakref", "enum")


def attributes(value: Any) -> dict[str, Any]:
    """The attributes of an object; for a PyTorch module its parameters and buffers instead of PyTorch's own fields."""
    if not isinstance(value, nn.Module):
        return dict(vars(value))
    own = {name: inner for name, inner in vars(value).items() if name not in OF_TORCH or name == "training"}
    return own | parts_by_name(value)


def _equal(first: Any, value: Any) -> bool:
    try:
        return bool(first == value)
    except Exception:  # comparing user-defined objects may raise any error
        return False


class _Saver:
    """Turns values into tensors and plain values; a value that is found twice is saved once."""

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
        if isinstance(value, dict):
            return self._mapping(value, path)
        if isinstance(value, list | tuple | deque):
            return self._container(value, path)
        if isinstance(value, set | frozenset):
            return self._set(value, path)
        if has_attributes(value) and self._states.had_kind(path, value):
            return ["object", [[name, self.encode(one, f"{path}.{name}")] for name, one in attributes(value).items()]]
        return self._same(value, path)

    def _same(self, value: Any, path: str) -> Any:
        if not self._states.is_as_first(path, value):
            raise UnsavableError(f"{path} is another {type(value).__name__} than when the task began")
        return ["same"]

    def _numbers(self, value: Any, path: str) -> Any:
        if isinstance(value, np.generic):
            if not _is_key(value):
                raise UnsavableError(f"{path} is a scalar of {value.dtype}")
            return _scalar_code(value)
        if isinstance(value, np.ndarray):
            self._refuse_shared(_memory_of(value), path)
            if not isinstance(value, np.memmap) and type(value) is not np.ndarray:
                raise UnsavableError(f"{path} is a {type(value).__name__}")
            try:
                return ["array", torch.from_numpy(np.array(value))]
            except (TypeError, ValueError) as error:  # no numbers, or in another byte order
                raise UnsavableError(f"{path} is an array of {value.dtype}") from error
        if value.layout is not torch.strided or value.is_nested or value.is_quantized or value.is_meta:
            raise UnsavableError(f"{path} is a tensor that is sparse, nested, quantized or without values")
        self._refuse_shared(value.untyped_storage().data_ptr() if value.numel() else id(value), path)
        return ["tensor", value.detach().to("cpu", copy=True), str(value.device), value.requires_grad]

    def _refuse_shared(self, memory: int, path: str) -> None:
        if self._memory.setdefault(memory, path) != path:
            raise UnsavableError(f"{path} shares the memory of {self._memory[memory]}")

    def _set(self, value: Any, path: str) -> Any:
        if all(map(_is_key, value)):
            return ["set", [_key_code(one) for one in sorted(value, key=repr)]]
        if not self._states.had_keys(path, value):
            raise UnsavableError(f"{path} has other members than when the task began")
        return ["same"]

    def _mapping(self, value: Any, path: str) -> Any:
        if type(value) is not dict and not self._states.had_kind(path, value):
            return self._same(value, path)
        parts = [self.encode(one, f"{path}{place}") for place, one in parts_of(value)]
        if all(map(_is_key, value)):
            return ["mapping", [[_key_code(key), one] for key, one in zip(value, parts, strict=True)]]
        if not self._states.had_keys(path, value):
            raise UnsavableError(f"{path} has other keys than when the task began")
        return ["values", parts]

    def _container(self, value: Any, path: str) -> Any:
        kind = next(name for name, base in KINDS.items() if isinstance(value, base))
        named = hasattr(value, "_make")  # a named tuple
        if type(value) is not KINDS[kind] and not (self._states.had_kind(path, value) and (kind != "tuple" or named)):
            return self._same(value, path)
        code = [kind, [self.encode(one, f"{path}[{number}]") for number, one in enumerate(value)]]
        return [*code, value.maxlen] if kind == "deque" else code


def _is_key(value: Any) -> bool:
    """Whether the value itself can be saved as a key of a mapping or a member of a set."""
    if type(value) is tuple:
        return all(map(_is_key, value))
    return type(value) in PLAIN or (isinstance(value, np.generic) and value.dtype.kind not in "OV")


def _key_code(value: Any) -> Any:
    """A key as it is saved: a plain value as itself, others as a list."""
    if type(value) is tuple:
        return ["tuple", [_key_code(one) for one in value]]
    return _scalar_code(value) if isinstance(value, np.generic) else value


def _key_of(code: Any) -> Any:
    """The key with a code."""
    if not isinstance(code, list):
        return code
    return tuple(map(_key_of, code[1])) if code[0] == "tuple" else _scalar_of(code)


def _scalar_code(value: Any) -> list[Any]:
    """The bytes of a NumPy scalar, since PyTorch does not support all of its types."""
    one = np.array([value])
    return ["number", torch.from_numpy(one.view(np.uint8)), one.dtype.str]


def _scalar_of(code: Any) -> Any:
    """The NumPy scalar with a code."""
    return code[1].numpy().reshape(-1).view(code[2])[0]


KINDS: dict[str, Any] = {"list": list, "tuple": tuple, "deque": deque}


def _memory_of(array: Any) -> int:
    """The address of an array's memory, which equals that of a tensor in the same memory."""
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
    """Arrays as lists: PyTorch does not support all unsigned types."""
    if isinstance(value, dict):
        return {key: _plain_arrays(one) for key, one in value.items()}
    return ["numbers", value.dtype.str, value.tolist()] if isinstance(value, np.ndarray) else value


def _to_arrays(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _to_arrays(one) for key, one in value.items()}
    return np.array(value[2], dtype=value[1]) if isinstance(value, list) else value


class _Loader:
    """Restores saved values into the objects that exist now.

    If one object at the beginning of the task was two when the state was saved, the first is restored into it, and the
    second gets an object of its own.
    """

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._filled: dict[int, Any] = {}  # keeps the objects alive, so that no other object gets their id

    def decode(self, saved: Any, live: Any, path: str) -> Any:
        """Return the value for a place: the existing object if it may be referenced elsewhere."""
        if saved[0] == "again":
            return self._made[saved[1]]
        value = live if saved[0] == "same" else getattr(self, f"_{saved[0]}")(saved, self._free(live, saved[0]), path)
        self._made[path] = value
        return value

    def _free(self, live: Any, kind: str) -> Any:
        """Return the object to restore a value into: the existing one, unless it already got another value.

        Raises:
            ValueError: If it did, and a second object cannot be created.
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
        return _scalar_of(saved)

    def _generator(self, saved: Any, live: Any, path: str) -> Any:
        if isinstance(live, torch.Generator):
            live.set_state(saved[1])
        elif isinstance(live, random.Random):
            live.setstate(saved[1])
        elif isinstance(live, np.random.RandomState):
            live.set_state(_to_arrays(saved[1]))
        else:
            live.bit_generator.state = _to_arrays(saved[1])
        return live

    def _set(self, saved: Any, live: Any, path: str) -> Any:
        members = map(_key_of, saved[1])
        return frozenset(members) if isinstance(live, frozenset) else set(members)

    def _mapping(self, saved: Any, live: Any, path: str) -> Any:
        live = live if isinstance(live, dict) else {}
        self._made[path] = live
        pairs = [(_key_of(code), one) for code, one in saved[1]]
        values = {key: self.decode(one, live.get(key), f"{path}[{key!r}]") for key, one in pairs}
        live.clear()
        live.update(values)
        return live

    def _values(self, saved: Any, live: Any, path: str) -> Any:
        self._made[path] = live
        for key, place, one in zip(list(live), _places(live), saved[1], strict=True):
            live[key] = self.decode(one, live[key], f"{path}{place}")
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
        items = self._items(saved, live, path)
        return live._make(items) if hasattr(live, "_make") else tuple(items)

    def _deque(self, saved: Any, live: Any, path: str) -> Any:
        items = self._items(saved, live, path)
        live = live if isinstance(live, deque) and live.maxlen == saved[2] else deque(maxlen=saved[2])
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
