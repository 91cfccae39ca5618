"""Plain Python data as bytes and back: how a return value leaves the jail.

The encoder runs next to hostile code and the decoder on the host, so the decoder trusts nothing: JSON only,
bounded depth and size. Subclasses collapse to their base type, which is what makes always-equal objects
harmless. The encoding: None, bool, str, small int and finite float as JSON; everything else as a JSON list
whose first item is a tag. Other objects may cross by name where a caller gives a way to (``foreign``).
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable
from typing import Any

from sandbox.inside.collisions import collide

MAX_DEPTH = 48
MAX_NODES = 2_000_000
# Items of sets and keys of dictionaries: ints with equal hashes make building them quadratic.
MAX_HASHED = 10_000
_SMALL = 1 << 53
_SCALARS = (type(None), bool, str, int, float)
_SCALAR_TYPES = frozenset(_SCALARS)
_FOREIGN = "h"


class ValueRefusedError(ValueError):
    """The value is not plain data, or too large or too deep."""


def encode(value: object, max_bytes: int, foreign: Callable[[object], Any] | None = None) -> bytes:
    """Encode a value in at most ``max_bytes``; ``foreign`` gives the JSON data for other objects than plain data.

    Raises :class:`ValueRefusedError` for what cannot cross.
    """
    tree = _Packer(foreign).pack(value, 0)
    data = json.dumps(tree, separators=(",", ":"), allow_nan=False).encode("ascii")
    if len(data) > max_bytes:
        raise ValueRefusedError(f"value too large: {len(data)} bytes encoded")
    return data


class _Packer:
    def __init__(self, foreign: Callable[[object], Any] | None) -> None:
        self._foreign = foreign
        self._budget = MAX_NODES

    def pack(self, value: object, depth: int) -> Any:
        self._budget -= 1
        if depth > MAX_DEPTH or self._budget < 0:
            raise ValueRefusedError("value too deep" if depth > MAX_DEPTH else "value too large")
        match value:
            case None | bool():
                return value
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
            case complex():
                plain = complex.__complex__(value)
                return ["c", self.pack(plain.real, depth), self.pack(plain.imag, depth)]
            case range():
                return ["r", *(self.pack(part, depth) for part in (value.start, value.stop, value.step))]
            case list():
                return self._items("l", list.__iter__(value), depth)
            case tuple():
                return self._items("t", tuple.__iter__(value), depth)
            case set():
                return self._items("s", set.__iter__(value), depth)
            case frozenset():
                return self._items("z", frozenset.__iter__(value), depth)
            case dict():
                return self._items("d", (part for pair in dict.items(value) for part in pair), depth)
        if _is_numpy(value):
            return self.pack(value.tolist(), depth)  # type: ignore[attr-defined]
        if self._foreign is not None:
            return [_FOREIGN, self._foreign(value)]
        raise ValueRefusedError(f"value of type {type(value).__name__} cannot be returned")

    def _items(self, tag: str, items: Iterable[object], depth: int) -> list[Any]:
        return [tag, *(self.pack(item, depth + 1) for item in items)]


def _is_numpy(value: object) -> bool:
    """Return whether the value is an array or a scalar of numpy, which the program may have loaded."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic))


def decode(data: bytes, foreign: Callable[[Any], object] | None = None) -> object:
    """Decode a value into exact built-in types only; ``foreign`` makes the stand-ins for other objects.

    Raises :class:`ValueRefusedError`.
    """
    try:
        # Reading builds every node before one of them can be counted.
        if data.count(b",") >= MAX_NODES:
            raise ValueRefusedError("value too large")
        tree = _PARSER.decode(data.decode("ascii"))
        return _Unpacker(foreign).unpack(tree, 0)
    except ValueRefusedError:
        raise
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise ValueRefusedError(f"not an encoded value: {error}") from error


def _refuse_constant(name: str) -> object:
    raise ValueRefusedError(f"not an encoded value: {name}")


def _refuse_object(_: list[tuple[str, Any]]) -> object:
    raise ValueRefusedError("not an encoded value")


_PARSER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_refuse_object)


class _Unpacker:
    def __init__(self, foreign: Callable[[Any], object] | None) -> None:
        self._foreign = foreign
        self._budget = MAX_NODES
        self._hashed = MAX_HASHED

    def unpack(self, tree: Any, depth: int) -> Any:
        self._budget -= 1
        if depth > MAX_DEPTH or self._budget < 0:
            raise ValueRefusedError("value too deep or too large")
        if isinstance(tree, _SCALARS):
            return tree
        if not isinstance(tree, list) or not tree or not isinstance(tree[0], str):
            raise ValueRefusedError("not an encoded value")
        tag, items = tree[0], tree[1:]
        if tag in ("i", "f", "b"):
            return _unpack_text(tag, items)
        if tag == _FOREIGN and self._foreign is not None and len(items) == 1:
            return self._foreign(items[0])
        if tag in ("s", "z", "d"):
            self._hashed -= len(items)
            if self._hashed < 0:
                raise ValueRefusedError("value too large: too many set items or dictionary keys")
        parts = self._parts(items, depth + 1)
        if tag in ("s", "z", "d") and collide(parts[:: 2 if tag == "d" else 1]):
            raise ValueRefusedError("not an encoded value: made to collide")
        match tag:
            case "l":
                return parts
            case "t":
                return tuple(parts)
            case "s":
                return set(parts)
            case "z":
                return frozenset(parts)
            case "d" if len(parts) % 2 == 0:
                return dict(zip(parts[::2], parts[1::2], strict=True))
            case "c" if len(parts) == 2 and all(type(part) is float for part in parts):
                return complex(*parts)
            case "r" if len(parts) == 3 and all(type(part) is int for part in parts):
                return range(*parts)
        raise ValueRefusedError(f"not an encoded value: tag {tag[:10]!r}")

    def _parts(self, items: list[Any], depth: int) -> list[Any]:
        if not _SCALAR_TYPES.issuperset(map(type, items)):
            return [self.unpack(item, depth) for item in items]
        self._budget -= len(items)
        if self._budget < 0:
            raise ValueRefusedError("value too large")
        return items


def _unpack_text(tag: str, items: list[Any]) -> int | float | bytes:
    if len(items) != 1 or not isinstance(items[0], str):
        raise ValueRefusedError("not an encoded value")
    text = items[0]
    if tag == "b":
        return bytes.fromhex(text)
    if tag == "i":
        return int(text, 16)
    if text not in ("nan", "inf", "-inf"):
        raise ValueRefusedError("not an encoded value")
    return float(text)
