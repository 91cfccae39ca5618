"""Plain Python data as bytes and back: how a return value leaves the jail.

The encoder runs next to hostile code and the decoder on the host, so the decoder trusts nothing: JSON only,
bounded depth and size. Subclasses collapse to their base type, which is what makes always-equal objects
harmless. The encoding: None, bool, str, small int and finite float as JSON; everything else as a JSON list
whose first item is a tag. Other objects may cross by name where a caller gives a way to (``foreign``).

Plain data is what the language writes as literals, and of its library: ``bytearray``, the views of dictionaries,
``deque``, ``Decimal``, ``Fraction``, dates, times and time differences. Instances of data classes cross as their
fields, unless they may cross by name.
"""

from __future__ import annotations

import dataclasses
import json
import marshal
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from sandbox.inside import between, written
from sandbox.inside.packing import FOREIGN, MAX_DEPTH, MAX_NODES, Packer
from sandbox.inside.packing import ValueRefusedError as ValueRefusedError

# Distinct items of a set, or keys of a dictionary, with one hash: building either is quadratic in them.
MAX_SHARED_HASH = 128
_SCALARS = frozenset({type(None), bool, str, int, float})
_MALFORMED = (ValueError, TypeError, RecursionError, ArithmeticError, ImportError)
# Comparing an int with a Decimal converts it, in a time quadratic in its bits.
_MAX_CONVERTED_BITS = 1 << 15


@dataclasses.dataclass(frozen=True)
class Record:
    """An instance of a data class, where there is no such class: its name, and the fields that are compared."""

    kind: str
    fields: dict[str, object]


def encode(
    value: object, max_bytes: int, foreign: Callable[[object], object] | None = None, *, arrays: bool = False
) -> bytes:
    """Encode a value in at most ``max_bytes``; ``foreign`` gives what stands for another object than plain data.

    With ``foreign``, counters and named tuples stay what they are; with ``arrays``, so do arrays of numpy.

    Raises :class:`ValueRefusedError` for what cannot cross.
    """
    return _bounded(_WRITER.encode(Packer(foreign, arrays).pack(value, 0)).encode("ascii"), max_bytes)


def encode_trusted(
    value: object, max_bytes: int, foreign: Callable[[object], object] | None = None, *, arrays: bool = False
) -> bytes:
    """Encode as :func:`encode` does, for a receiver that trusts the sender, which reads it at no cost."""
    return _bounded(marshal.dumps(Packer(foreign, arrays).pack(value, 0)), max_bytes)


def _bounded(data: bytes, max_bytes: int) -> bytes:
    if len(data) > max_bytes:
        raise ValueRefusedError(f"value too large: {len(data)} bytes encoded")
    return data


# Trees are made anew, so that none holds itself.
_WRITER = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False)


def refuse_collisions(items: Sequence[Hashable]) -> None:
    """Check that a set of these items takes about linear time: hostile data can give many of them one hash.

    Raises :class:`ValueRefusedError` where more than ``MAX_SHARED_HASH`` distinct items share one.
    """
    if len(items) <= MAX_SHARED_HASH:
        return
    counts: dict[int, int] = {}
    for item in items:
        counts[hash(item)] = counts.get(hash(item), 0) + 1
    crowded: dict[int, set[Hashable]] = {key: set() for key, count in counts.items() if count > MAX_SHARED_HASH}
    for item in items if crowded else ():
        distinct = crowded.get(hash(item))
        if distinct is not None:
            distinct.add(item)
            if len(distinct) > MAX_SHARED_HASH:
                raise ValueRefusedError(f"more than {MAX_SHARED_HASH} items share a hash")


def is_huge(value: object) -> bool:
    """Tell whether a value is an int that takes long to compare with a Decimal."""
    return isinstance(value, int) and value.bit_length() > _MAX_CONVERTED_BITS


def decode(data: bytes, foreign: Callable[[Any], object] | None = None, *, arrays: bool = False) -> object:
    """Decode a value into exact built-in types only; ``foreign`` makes the stand-ins for other objects.

    With ``foreign``, there are counters and named tuples too, and with ``arrays`` arrays of numpy.

    Raises :class:`ValueRefusedError`.
    """
    try:
        # Reading builds every node before one of them can be counted.
        if data.count(b",") >= MAX_NODES:
            raise ValueRefusedError("value too large")
        text = data.decode("ascii")
        tree, end = _PARSER.raw_decode(text)
        if end != len(text):
            raise ValueRefusedError("not an encoded value: more than one")
        return _Unpacker(foreign, arrays).unpack(tree, 0)
    except ValueRefusedError:
        raise
    except _MALFORMED as error:
        raise ValueRefusedError(f"not an encoded value: {error}") from error


def decode_trusted(data: bytes, foreign: Callable[[Any], object]) -> Any:
    """Decode what :func:`encode_trusted` has made; nothing else may ever be in ``data``.

    Raises :class:`ValueRefusedError` for what ``foreign`` refuses.
    """
    try:
        return _Unpacker(foreign, arrays=True).unpack(marshal.loads(data), 0)
    except ValueRefusedError:
        raise
    except _MALFORMED as error:
        raise ValueRefusedError(f"not an encoded value: {error}") from error


def _refuse_constant(name: str) -> object:
    raise ValueRefusedError(f"not an encoded value: {name}")


def _refuse_object(_: list[tuple[str, Any]]) -> object:
    raise ValueRefusedError("not an encoded value")


_PARSER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_refuse_object)


class _Unpacker:
    def __init__(self, foreign: Callable[[Any], object] | None, arrays: bool) -> None:
        self._foreign = foreign
        self._arrays = arrays
        self._budget = MAX_NODES
        self._decimals = self._huge = False

    def unpack(self, tree: Any, depth: int) -> Any:
        self._budget -= 1
        if depth > MAX_DEPTH or self._budget < 0:
            raise ValueRefusedError("value too deep or too large")
        if type(tree) in _SCALARS:
            return tree
        if not isinstance(tree, list) or not tree or not isinstance(tree[0], str):
            raise ValueRefusedError("not an encoded value")
        tag, items = tree[0], tree[1:]
        if tag in ("i", "f", "b", "bytearray") or tag in written.TAGS:
            return self._text(tag, items)
        if tag == FOREIGN and self._foreign is not None and len(items) == 1:
            return self._foreign(self.unpack(items[0], depth + 1))
        parts = self._parts(items, depth + 1)
        match tag:
            case "l":
                return parts
            case "t":
                return tuple(parts)
            case "s" | "z" | "keys":
                refuse_collisions(parts)
                return _UNIQUE[tag](parts)
            case "d" if len(parts) % 2 == 0:
                refuse_collisions(parts[::2])
                return dict(zip(parts[::2], parts[1::2], strict=True))
            case "counter" if len(parts) % 2 == 0 and self._foreign is not None:
                refuse_collisions(parts[::2])
                return between.counter(dict(zip(parts[::2], parts[1::2], strict=True)))
            case "named" if parts and self._foreign is not None and _are_all(str, parts[0]):
                return between.named(parts[0], parts[1:])
            case "array" if len(parts) == 3 and self._arrays and _are_all(int, parts[1]):
                return between.array(parts[0], parts[1], parts[2])
            case "record" if len(parts) % 2 == 1 and all(type(name) is str for name in (parts[0], *parts[1::2])):
                return Record(parts[0], dict(zip(parts[1::2], parts[2::2], strict=True)))
            case "items" if all(type(part) is tuple and len(part) == 2 for part in parts):
                refuse_collisions([key for key, _ in parts])
                return dict(parts).items()
            case "values":
                return dict(enumerate(parts)).values()
            case "deque" if parts and (parts[0] is None or (type(parts[0]) is int and parts[0] >= 0)):
                return deque(parts[1:], parts[0])
            case "c" if len(parts) == 2 and all(type(part) is float for part in parts):
                return complex(*parts)
            case "r" if len(parts) == 3 and all(type(part) is int for part in parts):
                return range(*parts)
        raise ValueRefusedError(f"not an encoded value: tag {tag[:10]!r}")

    def _text(self, tag: str, items: list[Any]) -> object:
        value = _unpack_text(tag, items)
        self._decimals |= tag == "decimal"
        self._huge |= is_huge(value)
        if self._decimals and self._huge:
            raise ValueRefusedError("a Decimal beside an int that is too large to be compared with it")
        return value

    def _parts(self, items: list[Any], depth: int) -> list[Any]:
        if not _SCALARS.issuperset(map(type, items)):
            return [self.unpack(item, depth) for item in items]
        self._budget -= len(items)
        if self._budget < 0:
            raise ValueRefusedError("value too large")
        return items


def _are_all(kind: type, items: object) -> bool:
    return type(items) is list and all(type(item) is kind for item in items)


def _unpack_text(tag: str, items: list[Any]) -> object:
    if len(items) != 1 or not isinstance(items[0], str):
        raise ValueRefusedError("not an encoded value")
    text = items[0]
    if tag in written.TAGS:
        return written.read(tag, text)
    if tag in ("b", "bytearray"):
        return bytes.fromhex(text) if tag == "b" else bytearray.fromhex(text)
    if tag == "i":
        return int(text, 16)
    if text not in ("nan", "inf", "-inf"):
        raise ValueRefusedError("not an encoded value")
    return float(text)


_UNIQUE: dict[str, Callable[[list[Any]], object]] = {
    "s": set,
    "z": frozenset,
    "keys": lambda items: dict.fromkeys(items).keys(),
}
