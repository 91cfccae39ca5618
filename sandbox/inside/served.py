"""The solution's half of a split judge: run the program, then answer what the tests ask of it.

Everything here runs beside hostile code, which may answer in its place: an answer is data, whoever wrote it.
"""

from __future__ import annotations

import builtins
import contextlib
import copy
import dataclasses
import importlib
import io
import operator
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any

from sandbox.inside import between, protocol, reports, values
from sandbox.inside.channel import Channel, ClosedError, Messages
from sandbox.inside.operations import OPERATIONS

_MUTABLE = (list, dict, set, bytearray, deque)
_UNCHANGING = frozenset({type(None), bool, int, float, str})
# A batch of an iterator's items is cut short where the next one may take long, or be long.
_BATCH_S = 0.001
_SHORT_TEXT = 64
_SHORT_TUPLE = 8

Key = int | str  # of an argument: its position or keyword


def serve(channel: Channel, server: Server) -> None:
    """Answer requests until the tests close the channel."""
    while True:
        try:
            channel.send(server.answer(channel.receive()[1:]))
        except ClosedError:
            os._exit(0)


class Server:
    """Answers requests out of a namespace, in at most ``max_bytes``."""

    def __init__(self, channel: Messages, namespace: dict[str, Any], max_bytes: int) -> None:
        self._channel = channel
        self._namespace = namespace
        self._max = max_bytes
        self._held: list[object] = []
        self._number: dict[int, int] = {}
        # The id of what stands here for a function of the tests: its number there.
        self._stubs: dict[int, int] = {}
        self._one_at_a_time = threading.RLock()
        self._asked = 0
        self._arrays = False  # whether the tests can take one

    def answer(self, request: bytes) -> bytes:
        """Do what a request asks, and encode the answer."""
        self._asked += 1
        try:
            return self._answer(request)
        finally:
            self._asked -= 1

    def _answer(self, request: bytes) -> bytes:
        try:
            operation, target, args, kwargs, captured, self._arrays = self._decode(request)
            if type(target) is int:
                target = self._held[target]
            before = self._contents(args, kwargs)
            output = ("", "")
            if captured:
                with _captured(captured) as streams:
                    ended, result = self._attempt(operation, target, args, kwargs)
                output = streams[0].getvalue(), streams[1].getvalue()
            else:
                ended, result = self._attempt(operation, target, args, kwargs)
            changes = []
            if before:
                after, given = self._contents(args, kwargs), _arguments(args, kwargs)
                changes = [(key, arg) for key, arg in given if after.get(key) != before.get(key)]
            beside = (changes, output) if changes or any(output) else ()
            return protocol.ANSWER + self._encode((ended, result, *beside))
        except values.ValueRefusedError as error:
            return protocol.ANSWER + self._encode((False, ValueError(str(error))))
        except BaseException as error:  # noqa: BLE001 - of hostile code, which an answer may run
            return protocol.ANSWER + self._encode((False, RuntimeError(reports.describe(error))))

    def _attempt(
        self, operation: str, target: Any, args: list[Any], kwargs: dict[str, Any]
    ) -> tuple[bool, object]:
        try:
            return True, self._act(operation, target, args, kwargs)
        except BaseException as error:  # noqa: BLE001 - the solution's exception becomes the tests'
            return False, error

    def _act(self, operation: str, target: Any, args: list[Any], kwargs: dict[str, Any]) -> object:
        match operation:
            case "name":
                return self._namespace[target]
            case "call":
                return target(*args, **kwargs)
            case "get":
                return getattr(target, *args)
            case "set":
                setattr(target, *args)
                return None
            case "delete":
                delattr(target, *args)
                return None
            case "exit":
                return _exit(target, *args)
            case "deep_copy":
                return copy.deepcopy(target)
            case "pull":
                return _pull(target, *args)
            case "hash":
                return hash(target)
            case "fields":
                return type(target), _fields(target)
            case "instance":
                return isinstance(args[0], target)
            case "subclass":
                return issubclass(args[0], target)
        action: Callable[..., Any] = OPERATIONS[operation][1]
        return action(target, *args)

    def _contents(self, args: list[Any], kwargs: dict[str, Any]) -> dict[Key, bytes]:
        """Encode the arguments that a call may change in place."""
        found = {}
        for key, arg in _arguments(args, kwargs):
            if type(arg) not in _UNCHANGING and (
                isinstance(arg, _MUTABLE) or between.array_parts(arg) is not None
            ):
                with contextlib.suppress(values.ValueRefusedError):
                    found[key] = values.encode(arg, 1 << 30, self._stand_for, arrays=True)
        return found

    def _encode(self, value: object) -> bytes:
        return values.encode(value, self._max, self._stand_for, arrays=self._arrays)

    def _decode(self, data: bytes) -> Any:
        return values.decode_trusted(data, self._resolve)

    def _stand_for(self, value: Any) -> object:
        """Return plain data that stands for an object on the other side."""
        if id(value) in self._stubs:
            return "theirs", self._stubs[id(value)]
        if type(value) is FunctionType:
            return self._hold(value)
        if isinstance(value, type):
            name = value.__name__
            if value.__module__ == "builtins" and getattr(builtins, name, None) is value:
                return "builtin", name
            if issubclass(value, BaseException):
                bases = tuple(base for base in value.__bases__ if issubclass(base, BaseException))
                return "exception_class", self._hold(value), name, bases
        if isinstance(value, BaseException):
            return self._error(value)
        if isinstance(value, Iterator) and not any(hasattr(type(value), name) for name in ("__len__", "__bool__")):
            return "iterator", self._hold(value)
        number = self._hold(value)
        return ("record", number) if _is_record(value) else number

    def _error(self, error: BaseException) -> object:
        """Return what stands for an exception: its class, its arguments as far as they are plain, and its text."""
        kind = type(error)
        try:
            values.encode(error.args, self._max)
            args = error.args
        except values.ValueRefusedError:
            args = (reports.describe(error),)
        # What the language itself raises has nothing to ask for, and there may be much of it.
        number = None if kind.__module__ == "builtins" else self._hold(error)
        return "exception", kind, number, args, str(error)

    def _hold(self, value: object) -> int:
        number = self._number.setdefault(id(value), len(self._held))
        if number == len(self._held):
            self._held.append(value)
        return number

    def _resolve(self, data: object) -> object:
        """Return what data from the tests stands for."""
        match data:
            case int() as number:
                return self._held[number]
            case ("function", int() as number, str() as name):
                return self._function(number, name)
            case ("iterator", int() as number):
                return self._stub(number, self._feed(number))
            case ("library", str() as module, str() as name):
                return operator.attrgetter(name)(importlib.import_module(module))
            case ("exception", type() as kind, tuple() as args):
                return kind(*args)
        raise values.ValueRefusedError("not an object of the tests")

    def _function(self, number: int, name: str) -> object:
        def function(*args: object, **kwargs: object) -> object:
            return self._call_back(number, args, kwargs)

        function.__name__ = function.__qualname__ = name
        return self._stub(number, function)

    def _stub(self, number: int, stub: object) -> object:
        self._hold(stub)  # its id is not used again
        self._stubs[id(stub)] = number
        return stub

    def _feed(self, number: int) -> Iterator[object]:
        while True:
            try:
                item = self._call_back(number, (), {})
            except StopIteration:
                return
            yield item

    def _call_back(self, number: int, args: tuple[object, ...], kwargs: Mapping[str, object]) -> object:
        """Have the tests call one of their functions; meanwhile they may ask things themselves."""
        with self._one_at_a_time:
            if not self._asked:
                raise RuntimeError("the tests wait for no answer, so none of their functions can be called")
            message = protocol.CALL_BACK + self._encode((number, args, dict(kwargs)))
            try:
                while True:
                    self._channel.send(message)
                    reply = self._channel.receive()
                    if reply[:1] != protocol.ASK:
                        break
                    message = self.answer(reply[1:])
            except ClosedError:
                os._exit(0)
        returned, result = self._decode(reply[1:])
        if returned:
            return result
        raise result


def _arguments(args: list[Any], kwargs: dict[str, Any]) -> list[tuple[Key, Any]]:
    return [*enumerate(args), *kwargs.items()]


@contextlib.contextmanager
def _captured(which: tuple[str, ...]) -> Iterator[tuple[io.StringIO, io.StringIO]]:
    """Keep what is written to stdout and stderr, where the tests have put something else in their place."""
    streams = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as redirected:
        if "stdout" in which:
            redirected.enter_context(contextlib.redirect_stdout(streams[0]))
        if "stderr" in which:
            redirected.enter_context(contextlib.redirect_stderr(streams[1]))
        yield streams


def _exit(target: Any, error: BaseException | None) -> object:
    return target.__exit__(None if error is None else type(error), error, None)


def _pull(iterator: Iterator[object], count: int) -> tuple[list[object], bool, BaseException | None]:
    """Take up to ``count`` items: return them, whether there are more, and the exception that ended them."""
    until = time.monotonic() + _BATCH_S
    items: list[object] = []
    while len(items) < count:
        try:
            item = next(iterator)
        except StopIteration:
            return items, False, None
        except BaseException as error:  # noqa: BLE001 - of the solution, once its items before are used up
            return items, False, error
        items.append(item)
        if not _is_short(item) or time.monotonic() > until:
            break
    return items, True, None


def _is_short(item: object) -> bool:
    match item:
        case None | bool() | float():
            return True
        case int():
            return item.bit_length() <= _SHORT_TEXT
        case str():
            return len(item) <= _SHORT_TEXT
        case tuple():
            return len(item) <= _SHORT_TUPLE and all(map(_is_short, item))
    return False


def _is_record(value: object) -> bool:
    """Tell whether a value is of a data class, whose instances are equal where their fields are."""
    parameters = getattr(type(value), "__dataclass_params__", None)
    return parameters is not None and bool(parameters.eq)


def _fields(record: Any) -> dict[str, object]:
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record) if field.compare}
