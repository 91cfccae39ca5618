"""Plain Python data as bytes and back: how a return value leaves the jail.

The encoder runs next to hostile code and the decoder on the host, so the decoder trusts nothing: JSON only,
bounded depth and size. Subclasses collapse to their base type, which is what makes always-equal objects
harmless. The encoding: None, bool, str, small int and finite float as JSON; everything else as a JSON list
whose first item is a tag.
"""

from __future__ import annotations

import json
import math
from typing import Any

MAX_DEPTH = 48
MAX_NODES = 100_000
# Items of sets and keys of dictionaries: ints with equal hashes make building them quadratic.
MAX_HASHED = 10_000
_SMALL = 1 << 53
_SCALARS = (type(None), bool, str, int, float)


class ValueRefusedError(ValueError):
    """The value is not plain data, or too large or too deep."""


def encode(value: object, max_bytes: int) -> bytes:
    """Raises :class:`ValueRefusedError` for what cannot cross."""
    budget = [MAX_NODES]
    data = json.dumps(_pack(value, 0, budget), separators=(",", ":"), allow_nan=False).encode("ascii")
    if len(data) > max_bytes:
        raise ValueRefusedError(f"value too large: {len(data)} bytes encoded")
    return data


def _pack(value: object, depth: int, budget: list[int]) -> Any:
    budget[0] -= 1
    if depth > MAX_DEPTH or budget[0] < 0:
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
            return ["c", _pack(plain.real, depth, budget), _pack(plain.imag, depth, budget)]
        case range():
            return ["r", *(_pack(part, depth, budget) for part in (value.start, value.stop, value.step))]
        case list():
            return ["l", *(_pack(item, depth + 1, budget) for item in list.__iter__(value))]
        case tuple():
            return ["t", *(_pack(item, depth + 1, budget) for item in tuple.__iter__(value))]
        case set():
            return ["s", *(_pack(item, depth + 1, budget) for item in set.__iter__(value))]
        case frozenset():
            return ["z", *(_pack(item, depth + 1, budget) for item in frozenset.__iter__(value))]
        case dict():
            return [
                "d",
                *(_pack(part, depth + 1, budget) for pair in dict.items(value) for part in pair),
            ]
    raise ValueRefusedError(f"value of type {type(value).__name__} cannot be returned")


def decode(data: bytes) -> object:
    """The value, built from exact built-in types only. Raises :class:`ValueRefusedError`."""
    try:
        tree = json.loads(data.decode("ascii"), parse_constant=_refuse_constant)
        return _unpack(tree, 0, [MAX_NODES, MAX_HASHED])
    except ValueRefusedError:
        raise
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise ValueRefusedError(f"not an encoded value: {error}") from error


def _refuse_constant(name: str) -> object:
    raise ValueRefusedError(f"not an encoded value: {name}")


def _unpack(tree: Any, depth: int, budget: list[int]) -> Any:
    budget[0] -= 1
    if depth > MAX_DEPTH or budget[0] < 0:
        raise ValueRefusedError("value too deep or too large")
    if isinstance(tree, _SCALARS):
        return tree
    if not isinstance(tree, list) or not tree or not isinstance(tree[0], str):
        raise ValueRefusedError("not an encoded value")
    tag, items = tree[0], tree[1:]
    if tag in ("i", "f", "b"):
        return _unpack_text(tag, items)
    if tag in ("s", "z", "d"):
        budget[1] -= len(items)
        if budget[1] < 0:
            raise ValueRefusedError("value too large: too many set items or dictionary keys")
    parts = [_unpack(item, depth + 1, budget) for item in items]
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
