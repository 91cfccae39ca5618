"""The solution's half of a split judge: run the program, then answer what the tests ask of it.

Everything here runs beside hostile code, which may answer in its place: an answer is data, whoever wrote it.
"""

from __future__ import annotations

import builtins
import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

from sandbox.inside import protocol, reports, values
from sandbox.inside.channel import Channel, ClosedError
from sandbox.inside.operations import OPERATIONS

_MUTABLE = (list, dict, set)
_MAX_ITEMS = 1000


def serve(channel: Channel, namespace: dict[str, Any], max_bytes: int) -> None:
    """Answer requests until the tests close the channel."""
    objects = Objects(max_bytes)
    while True:
        try:
            request = channel.receive()
        except ClosedError:
            os._exit(0)
        channel.send(_answer(objects, namespace, request))


class Objects:
    """The objects of the solution that tests hold by number."""

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._held: list[object] = []
        self._number: dict[int, int] = {}

    def encode(self, value: object) -> bytes:
        return values.encode(value, self._max, self._hold)

    def decode(self, data: bytes) -> Any:
        return values.decode(data, self._get)

    def _hold(self, value: object) -> int:
        number = self._number.setdefault(id(value), len(self._held))
        if number == len(self._held):
            self._held.append(value)
        return number

    def _get(self, number: object) -> object:
        assert isinstance(number, int)
        return self._held[number]


def _answer(objects: Objects, namespace: dict[str, Any], request: bytes) -> bytes:
    try:
        operation, target, args, kwargs = objects.decode(request)
        before = [_content(arg) for arg in args]
        result = _act(operation, target, args, kwargs, namespace)
        after = [None if old is None else _content(arg) for arg, old in zip(args, before, strict=True)]
        changed = [(i, args[i]) for i, new in enumerate(after) if new not in (None, before[i])]
        result, drained = _drained(result)
        return objects.encode((True, result, drained, changed))
    except BaseException as error:  # noqa: BLE001 - the solution's exception becomes the tests'
        names = [kind.__name__ for kind in type(error).__mro__ if getattr(builtins, kind.__name__, None) is kind]
        try:
            return values.encode((False, names[0], error.args), 10 * protocol.NOTE_BYTES)
        except values.ValueRefusedError:
            return values.encode((False, names[0], (reports.describe(error),)), 10 * protocol.NOTE_BYTES)


def _drained(result: object) -> tuple[object, bool]:
    """Turn a built-in iterator into a list of its rest, unless that is too long; return whether it did."""
    if not (isinstance(result, Iterator) and type(result).__module__ in ("builtins", "itertools")):
        return result, False
    items = list(itertools.islice(result, _MAX_ITEMS + 1))
    return (items, True) if len(items) <= _MAX_ITEMS else (itertools.chain(items, result), False)


def _content(arg: object) -> bytes | None:
    """Encode an argument that a call may change in place: a list, set or dictionary of plain data; else None."""
    if not isinstance(arg, _MUTABLE):
        return None
    try:
        return values.encode(arg, 1 << 30)
    except values.ValueRefusedError:
        return None


def _act(
    operation: str, target: Any, args: list[Any], kwargs: dict[str, Any], namespace: dict[str, Any]
) -> object:
    match operation:
        case "name":
            return namespace[target]
        case "call":
            return target(*args, **kwargs)
        case "get":
            return getattr(target, *args)
        case "set":
            setattr(target, *args)
            return None
    action: Callable[..., Any] = OPERATIONS[operation][1]
    return action(target, *args)
