"""The tests' half of a split judge: asks the process of the solution, and keeps account of what it asked.

Plain data crosses by value. Any other object stays where it is, and a stand-in (:mod:`sandbox.inside.stand_ins`)
takes its place on the other side.
"""

from __future__ import annotations

import copy
import sys
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sandbox.inside import between, places, protocol, stand_ins, values
from sandbox.inside.channel import ClosedError, Messages
from sandbox.inside.contents import content
from sandbox.inside.crossing import Crossing
from sandbox.inside.hollow import is_hollow
from sandbox.inside.stand_ins import Handle, RemoteIterator

_STREAMS = ("stdout", "stderr")
_NUMBERS = frozenset({bool, int, float})
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
        self._gone: SolutionGone | None = None
        self._crossing = Crossing(self, max_bytes)
        self._turn = threading.RLock()
        self._constants: set[str] = set()
        self.answering = 0  # calls of the tests' functions by the solution that are under way
        self.start(None)

    def take_arrays(self, *, take: bool) -> None:
        """Have arrays of numpy come as such from now on, or as lists."""
        self._crossing.arrays = take

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
        # Under the name of an exception of its own, either is what a test waits for, whatever is raised.
        broad = found is Exception or found is BaseException
        if broad or not (callable(found) or stand_ins.is_stand_in(found)):
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
        self._look_into(answer, result)
        return result

    def pull(self, target: RemoteIterator, count: int) -> tuple[list[object], bool, BaseException | None]:
        """Return the next items of an iterator. Raises SolutionGone."""
        place = target._couplet_place
        match self._exchange(place, target._couplet_names, "pull", target, (count,), {}):
            case (list() as items, bool() as more, (None | BaseException()) as error) if len(items) <= count:
                if not items and not target._couplet_taken:
                    self._uses.add(places.empty(place))
                return items, more and bool(items), error
        raise self._broken("malformed answer")

    def _look_into(self, place: str, found: object) -> None:
        """Record what is hollow; of the reference also what is false, for which another may have either."""
        if is_hollow(found, arrays=self._crossing.arrays) or (self._expected is None and _is_nothing(found)):
            self._uses.add(places.empty(place))

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

    def entered(self, name: str) -> str:
        """Return the place of a call of a test's method, of which the language may swallow what it raises."""
        return self._answers.next(f"{name} of the test")

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
        target: Handle | str,
        args: tuple[object, ...],
        kwargs: Any,
    ) -> Any:
        if self._gone is not None:
            raise self._gone
        captured = [name for name in _STREAMS if getattr(sys, name) is not getattr(sys, f"__{name}__")]
        of = target if isinstance(target, str) else target._couplet_number
        request = self._crossing.encode((operation, of, list(args), kwargs, captured, self._crossing.arrays))
        try:
            with self._turn:
                reply = self._reply(request, f"{place}^")
            answer = self._crossing.decode(reply, names)
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
        match self._crossing.decode(request, places.inside(place)):
            case (int() as number, tuple() as args, dict() as kwargs):
                function = self._crossing.function(number)
            case _:
                raise values.ValueRefusedError("malformed call")
        self.answering += 1
        try:
            reply: tuple[bool, object] = True, function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the tests' exception becomes the solution's
            reply = False, error
            if isinstance(error, AssertionError):
                self.denied = self.denied or error
            elif not isinstance(error, StopIteration):
                self._uses.add(f"{place} raises {type(error).__name__}")
        finally:
            self.answering -= 1
        try:
            return protocol.RETURNED + self._crossing.encode(reply)
        except values.ValueRefusedError as error:
            return protocol.RETURNED + self._crossing.encode((False, TypeError(str(error))))

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
        else:
            self._look_into(f"{place} changes {key}", new)
        _copy_into(given, new)


def _is_nothing(found: object) -> bool:
    """Tell whether a right program may have something empty in this place: an object may be empty itself."""
    if type(found) in _NUMBERS:
        return not found
    if stand_ins.is_stand_in(found):
        return not isinstance(found, RemoteIterator)
    return found is None


def _copy_into(old: Any, new: Any) -> None:
    if between.is_numpy(old) and between.is_numpy(new) and old.shape == new.shape and old.flags.writeable:
        old[...] = new
    match old, new:
        case (list(), list()) | (bytearray(), bytearray()):
            old[:] = new
        case (dict(), dict()) | (set(), set()):
            old.clear()
            old.update(new)
        case (deque(), deque()):
            old.clear()
            old.extend(new)
