"""The tests' half of a split judge: asks the process of the solution, and keeps account of what it asked.

Plain data crosses by value. Any other object stays where it is, and a stand-in (:mod:`sandbox.inside.stand_ins`)
takes its place on the other side.
"""

from __future__ import annotations

import builtins
import copy
import importlib
import operator
import sys
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from sandbox.inside import places, protocol, stand_ins, values
from sandbox.inside.channel import ClosedError, Messages
from sandbox.inside.contents import content
from sandbox.inside.stand_ins import Handle, Record, RemoteIterator

_OURS = ("tests", "sandbox", "__main__")
_STREAMS = ("stdout", "stderr")
# What ends a loop (of iterators, and of classes with __getitem__ alone), or makes getattr, hasattr and the get and
# "in" of mappings go on as if nothing was there.
_SWALLOWED = (StopIteration, StopAsyncIteration, LookupError, AttributeError)


class SolutionGone(BaseException):
    """The solution's process ended, or broke the protocol. No test may catch it by catching Exception."""


@dataclass(frozen=True)
class Account:
    """What one script asked: how often, of which objects, and which arguments the solution changed, by place."""

    asked: int
    uses: frozenset[str]
    changes: frozenset[str]


class Remote:
    """The solution's process, as the process of the tests asks it."""

    def __init__(self, channel: Messages, max_bytes: int) -> None:
        self._channel = channel
        self._max = max_bytes
        self._gone: SolutionGone | None = None
        self._functions: list[Any] = []  # of the tests, which the solution calls by number
        self._classes: dict[int, type[BaseException]] = {}
        self._turn = threading.RLock()
        self._constants: set[str] = set()
        self.answering = 0  # calls of the tests' functions by the solution that are under way
        self.start(None)

    def start(self, expected: frozenset[str] | None, *, shown: bool = True) -> None:
        """Begin an account. ``expected``: changes of arguments, any of them where it is None.

        ``shown``: tests see the others too, until :meth:`undo`.
        """
        self._expected = expected
        self._shown = shown
        self._unexpected: list[tuple[Any, Any]] = []  # arguments, and what they held before
        self._answers = places.Answers()
        self._asked = 0
        self._uses: set[str] = set()
        self._changes: set[str] = set()
        self.denied: AssertionError | None = None

    def undo(self) -> None:
        """Take back the changes of arguments that were not expected."""
        while self._unexpected:
            _copy_into(*self._unexpected.pop())

    def account(self) -> Account:
        """Return the account so far. Raises SolutionGone once it ended, even if a test caught that."""
        if self._gone is not None:
            raise self._gone
        return Account(self._asked, frozenset(self._uses | self._constants), frozenset(self._changes))

    def name(self, name: str) -> object:
        """Look up an object of the solution by its name. Raises KeyError where there is none."""
        found = self._exchange(name, places.inside(name), "name", name, (), {})
        if not (callable(found) or stand_ins.is_stand_in(found)):
            self._constants.add(places.constant(name, content(found)))
        return found

    def ask(self, operation: str, target: Handle, args: tuple[object, ...] = (), kwargs: object = None) -> object:
        """Have the solution do an operation: return its result and change arguments that it changed.

        Raises what the solution raised.
        """
        self._asked += 1
        name = args[0] if operation in ("get", "set", "delete") else ""
        place = places.asked(target._couplet_place, operation, str(name))
        # Whatever an export is, tests ask for it by name; its answers are what counts.
        if not (operation == "call" and places.is_export(target._couplet_place)):
            self._uses.add(place)
        answer = place if operation == "get" else self._answers.next(place)
        try:
            result = self._exchange(answer, places.inside(answer), operation, target, args, kwargs or {})
        except SolutionGone:
            raise
        except BaseException as error:
            if not (operation == "next" and isinstance(error, StopIteration)):
                self.raised(answer, error)
            raise
        if operation == "fields":
            self._uses.add(f"{place} {content(result)}")
        return result

    def pull(self, target: RemoteIterator, count: int) -> tuple[list[object], bool, BaseException | None]:
        """Return the next items of an iterator. Raises SolutionGone."""
        place = target._couplet_place
        match self._exchange(place, target._couplet_names, "pull", target, (count,), {}):
            case (list() as items, bool() as more, (None | BaseException()) as error) if len(items) <= count:
                return items, more and bool(items), error
        raise self._broken("malformed answer")

    def compared(self, target: Handle) -> None:
        """Record that it decides which object this is."""
        self._uses.add(f"{target._couplet_place} equal")

    def raised(self, place: str, error: BaseException) -> None:
        """Record an exception that the language itself may swallow: then a test goes on without an answer.

        Of the reference, of which nothing is expected yet, all are recorded: where it raises one, others may raise
        another.
        """
        if self._expected is None or isinstance(error, _SWALLOWED) or not isinstance(error, Exception):
            self._uses.add(places.raising(place, ends_loops=isinstance(error, StopIteration)))

    def found_nothing(self) -> None:
        """Note that the test asked an iterator for an item that it did not have."""
        self._uses.add(places.raising("next", ends_loops=False))

    def unheard(self, error: BaseException | None) -> None:
        """Record an exception that ends a thread or a finalizer of the tests, and so fails nothing by itself."""
        if isinstance(error, AssertionError):
            self.denied = self.denied or error
        else:
            self._uses.add(places.raising("unheard", ends_loops=False))

    def resumed(self, target: RemoteIterator) -> None:
        """Record that a test goes through an iterator that has given items before."""
        self._uses.add(f"{target._couplet_place} resumed")

    def suppressed(self, target: Handle, error: BaseException) -> None:
        """Record that the solution swallows an exception of the tests."""
        self._uses.add(f"{target._couplet_place} suppresses {type(error).__name__}")

    def _exchange(
        self,
        place: str,
        names: Iterator[str],
        operation: str,
        target: object,
        args: tuple[object, ...],
        kwargs: Any,
    ) -> Any:
        if self._gone is not None:
            raise self._gone
        captured = [name for name in _STREAMS if getattr(sys, name) is not getattr(sys, f"__{name}__")]
        request = self._encode((operation, target, list(args), kwargs, captured))
        try:
            with self._turn:
                reply = self._reply(request, f"{place}^")
            answer = self._decode(reply, names)
        except (ClosedError, values.ValueRefusedError) as error:
            raise self._broken(str(error)) from error
        match answer:
            case (bool() as ended, result):
                pass
            case (bool() as ended, result, list() as changes, (str() as out, str() as err)):
                for change in changes:
                    self._change(place, args, kwargs, change, in_place=ended and result is None)
                for text, stream in ((out, sys.stdout), (err, sys.stderr)):
                    if text:
                        stream.write(text)
            case _:
                raise self._broken("malformed answer")
        if ended:
            return result
        if isinstance(result, BaseException):
            raise result
        raise self._broken("malformed answer")

    def _reply(self, request: bytes, place: str) -> bytes:
        """Send a request and return the answer, after any calls of the tests' functions that it takes."""
        message = protocol.ASK + request
        while True:
            self._channel.send(message)
            reply = self._channel.receive()
            if reply[:1] == protocol.ANSWER:
                return reply[1:]
            if reply[:1] != protocol.CALL_BACK:
                raise values.ValueRefusedError("malformed answer")
            message = self._call(place, reply[1:])

    def _broken(self, reason: str) -> SolutionGone:
        self._gone = SolutionGone(reason)
        return self._gone

    def _call(self, place: str, request: bytes) -> bytes:
        """Call a function of the tests for the solution, and encode what it returns or raises.

        That an assertion in it does not hold is remembered: the solution may swallow the exception.
        """
        match self._decode(request, places.inside(place)):
            case (int() as number, tuple() as args, dict() as kwargs) if 0 <= number < len(self._functions):
                pass
            case _:
                raise values.ValueRefusedError("malformed call")
        self.answering += 1
        try:
            reply: tuple[bool, object] = True, self._functions[number](*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the tests' exception becomes the solution's
            reply = False, error
            if isinstance(error, AssertionError):
                self.denied = self.denied or error
            elif not isinstance(error, StopIteration):
                self._uses.add(f"{place} raises {type(error).__name__}")
        finally:
            self.answering -= 1
        try:
            return protocol.RETURNED + self._encode(reply)
        except values.ValueRefusedError as error:
            return protocol.RETURNED + self._encode((False, TypeError(str(error))))

    def _change(
        self, place: str, args: tuple[object, ...], kwargs: dict[str, object], change: object, *, in_place: bool
    ) -> None:
        match change:
            case (int() as key, new) if 0 <= key < len(args):
                given = args[key]
            case (str() as key, new) if key in kwargs:
                given = kwargs[key]
            case _:
                return
        made = places.changed(place, key, in_place=in_place)
        self._changes.add(made)
        if self._expected is not None and places.unexpected([made], self._expected):
            if not self._shown:
                return
            self._unexpected.append((given, copy.copy(given)))
        _copy_into(given, new)

    def _encode(self, value: object) -> bytes:
        return values.encode(value, self._max, self._stand_for, arrays=True)

    def _decode(self, data: bytes, names: Iterator[str]) -> object:
        return values.decode(data, partial(self._stand_in, names))

    def _stand_for(self, value: object) -> object:
        """Return plain data that stands for an object of the tests, or for one that the solution knows."""
        handle = stand_ins.handle_of(value)
        if handle is not None:
            return handle._couplet_number
        if isinstance(value, BaseException):
            return "exception", _nearest_built_in(type(value)), _plain(value.args)
        library = _library_name(value)
        if library is not None:
            return "library", *library
        if isinstance(value, Iterator):
            return "iterator", self._function(value.__next__)
        if callable(value) and not isinstance(value, type):
            return "function", self._function(value), str(getattr(value, "__name__", "function"))
        raise values.ValueRefusedError(
            f"an object of type {type(value).__name__} cannot be handed to the solution"
        )

    def _function(self, function: object) -> int:
        self._functions.append(function)
        return len(self._functions) - 1

    def _stand_in(self, names: Iterator[str], data: object) -> object:
        """Make the stand-in of an object of the solution; ``names`` are the places of those in one answer."""
        match data:
            case int() as number:
                return Handle(self, number, next(names))
            case ("record", int() as number):
                return Record(self, number, next(names))
            case ("iterator", int() as number):
                place = next(names)
                return RemoteIterator(self, number, place, places.inside(f"{place}[]"))
            case ("theirs", int() as number) if 0 <= number < len(self._functions):
                return self._functions[number]
            case ("builtin", str() as name) if isinstance(found := getattr(builtins, name, None), type):
                return found
            case ("exception_class", int() as number, str() as name, tuple() as bases):
                if number not in self._classes:
                    handle = Handle(self, number, next(names))
                    self._classes[number] = stand_ins.exception_class(handle, name, bases)
                return self._classes[number]
            case ("exception", type() as kind, None, tuple() as args, str()) if issubclass(kind, BaseException):
                return _built_in(kind, args)
            case ("exception", type() as kind, int() as number, tuple() as args, str() as text):
                return stand_ins.exception(kind, Handle(self, number, next(names)), args, text)
        raise values.ValueRefusedError("not an object of the solution")


def _copy_into(old: Any, new: object) -> None:
    match old, new:
        case (list(), list()) | (bytearray(), bytearray()):
            old[:] = new
        case (dict(), dict()) | (set(), set()):
            old.clear()
            old.update(new)
        case (deque(), deque()):
            old.clear()
            old.extend(new)


def _library_name(value: object) -> tuple[str, str] | None:
    """Return the module and name under which both sides have a function or class; None for those of the tests."""
    name = getattr(value, "__qualname__", None)
    module = getattr(value, "__module__", None) or getattr(
        getattr(value, "__objclass__", None), "__module__", None
    )
    if not (isinstance(name, str) and isinstance(module, str)) or module.partition(".")[0] in _OURS:
        return None
    try:
        found = operator.attrgetter(name)(importlib.import_module(module))
    except (ImportError, AttributeError):
        return None
    return (module, name) if found is value else None


def _nearest_built_in(kind: type[BaseException]) -> type[BaseException]:
    return next(one for one in kind.__mro__ if one.__module__ == "builtins" and issubclass(one, BaseException))


def _plain(args: tuple[object, ...]) -> tuple[object, ...]:
    try:
        values.encode(args, protocol.MAX_CONTROL)
    except values.ValueRefusedError:
        return tuple(map(str, args))
    return args


def _built_in(kind: type[BaseException], args: tuple[object, ...]) -> BaseException:
    if isinstance(kind, stand_ins.RemoteExceptionClass):
        raise values.ValueRefusedError("not a built-in exception")
    try:
        return kind(*args)
    except (TypeError, ValueError):  # some are made of more than a message
        return RuntimeError(kind.__name__, *args)
