"""The first half of encoding a value: the tree of JSON that stands for it, made anew of exact built-in types."""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

from sandbox.inside import between, written

MAX_DEPTH = 48
MAX_NODES = 2_000_000
#: The tag of what stands for an object that is no plain data.
FOREIGN = "h"
_SMALL = 1 << 53
_VERBATIM = ""
# How what is met most is written. Its type alone is looked at: to ask whether a value is an instance of others is
# to write to the page of each, which a fork copies.
_OFTEN: dict[type, str] = {
    **dict.fromkeys((type(None), bool, str), _VERBATIM),
    int: "i",
    list: "l",
    tuple: "t",
    set: "s",
    frozenset: "z",
    dict: "d",
    FunctionType: FOREIGN,
}
_PLAIN: dict[str, str] = {}
_ORDERED: OrderedDict[str, str] = OrderedDict()
_VIEWS: dict[type, str] = {
    type(_PLAIN.keys()): "keys",
    type(_ORDERED.keys()): "keys",
    type(_PLAIN.values()): "values",
    type(_ORDERED.values()): "values",
    type(_PLAIN.items()): "items",
    type(_ORDERED.items()): "items",
}


class ValueRefusedError(ValueError):
    """The value is not plain data, or too large or too deep."""


class Packer:
    """Makes the tree of one value. ``foreign``, ``arrays``: as :func:`sandbox.inside.values.encode` says."""

    def __init__(self, foreign: Callable[[object], object] | None, arrays: bool) -> None:
        self._foreign = foreign
        self._arrays = arrays
        self._budget = MAX_NODES

    def pack(self, value: object, depth: int) -> Any:
        """Return the tree. Raises ValueRefusedError."""
        self._budget -= 1
        if depth > MAX_DEPTH or self._budget < 0:
            raise ValueRefusedError("value too deep" if depth > MAX_DEPTH else "value too large")
        tag = _OFTEN.get(type(value))
        if tag is None:
            return self._pack_seldom(value, depth)
        if tag == _VERBATIM:
            return value
        if tag == "i":
            return value if -_SMALL < value < _SMALL else ["i", hex(value)]  # type: ignore[operator, arg-type]
        if tag == FOREIGN:
            return (
                self._pack_foreign(value, depth) if self._foreign is not None else self._pack_seldom(value, depth)
            )
        if tag == "d":
            return ["d", *[self.pack(part, depth + 1) for pair in value.items() for part in pair]]  # type: ignore[attr-defined]
        return [tag, *[self.pack(item, depth + 1) for item in value]]  # type: ignore[attr-defined]

    def _pack_foreign(self, value: object, depth: int) -> Any:
        assert self._foreign is not None
        return [FOREIGN, self.pack(self._foreign(value), depth + 1)]

    def _pack_seldom(self, value: object, depth: int) -> Any:
        match value:
            case int():
                number = int.__int__(value)
                return number if -_SMALL < number < _SMALL else ["i", hex(number)]
            case float():
                real = float.__float__(value)
                return real if math.isfinite(real) else ["f", float.__repr__(real)]
            case str():
                return str.__str__(value)
            case bytes():
                return ["b", bytes.__bytes__(value).hex()]
            case bytearray():
                return ["bytearray", bytes(bytearray.__iter__(value)).hex()]
            case complex():
                plain = complex.__complex__(value)
                return ["c", self.pack(plain.real, depth), self.pack(plain.imag, depth)]
            case range():
                return ["r", *(self.pack(part, depth) for part in (value.start, value.stop, value.step))]
            case list():
                return self._items("l", list.__iter__(value), depth)
            case tuple():
                names = between.names_of(value) if self._foreign is not None else None
                head: list[Any] = ["t"] if names is None else ["named", ["l", *names]]
                return [*head, *self._items("t", tuple.__iter__(value), depth)[1:]]
            case set():
                return self._items("s", set.__iter__(value), depth)
            case frozenset():
                return self._items("z", frozenset.__iter__(value), depth)
            case dict():
                tag = "counter" if self._foreign is not None and between.is_counter(value) else "d"
                return self._items(tag, (part for pair in dict.items(value) for part in pair), depth)
            case deque():
                bound = self.pack(deque.maxlen.__get__(value), depth)
                return ["deque", bound, *self._items("l", deque.__iter__(value), depth)[1:]]
        view = _VIEWS.get(type(value))
        if view is not None:
            return self._items(view, value, depth)  # type: ignore[arg-type]
        if self._arrays and (parts := between.array_parts(value)) is not None:
            return ["array", parts[0], ["l", *parts[1]], parts[2]]
        if between.is_numpy(value):
            return self.pack(value.tolist(), depth)  # type: ignore[attr-defined]
        text = written.write(value)
        if text is not None:
            return list(text)
        if self._foreign is not None:
            return self._pack_foreign(value, depth)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = (
                (field.name, getattr(value, field.name)) for field in dataclasses.fields(value) if field.compare
            )
            return self._items(
                "record", (type(value).__name__, *(part for pair in fields for part in pair)), depth
            )
        raise ValueRefusedError(f"value of type {type(value).__name__} cannot be returned")

    def _items(self, tag: str, items: Iterable[object], depth: int) -> list[Any]:
        return [tag, *(self.pack(item, depth + 1) for item in items)]
