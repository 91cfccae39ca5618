"""The tests' half of a split judge: stand-ins for what lives in the process of the solution.

Plain data crosses by value. Any other object stays where it is, and a :class:`Handle` stands for it: what it is
asked goes to the solution's process, and only its identity is compared here, so no ``__eq__`` of the solution ever
decides.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable

from sandbox.inside import values
from sandbox.inside.channel import Channel, ClosedError
from sandbox.inside.operations import OPERATIONS


class SolutionGone(BaseException):
    """The solution's process ended, or broke the protocol. No test may catch it by catching Exception."""


class Handle:
    """An object of the solution. Two are equal when they stand for one object."""

    __slots__ = ("_couplet_number", "_couplet_remote")

    _couplet_number: int
    _couplet_remote: Remote

    def __init__(self, remote: Remote, number: int) -> None:
        object.__setattr__(self, "_couplet_remote", remote)
        object.__setattr__(self, "_couplet_number", number)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and other._couplet_number == self._couplet_number

    def __hash__(self) -> int:
        return hash(self._couplet_number)

    def __call__(self, *args: object, **kwargs: object) -> object:
        return self._couplet_remote.ask("call", self, args, kwargs)

    def __getattr__(self, name: str) -> object:
        # Libraries ask objects for these, numpy for memory addresses: not a thing to believe.
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return self._couplet_remote.ask("get", self, (name,))

    def __setattr__(self, name: str, value: object) -> None:
        self._couplet_remote.ask("set", self, (name, value))


def _forward(operation: str) -> Callable[..., object]:
    def method(self: Handle, *args: object) -> object:
        return self._couplet_remote.ask(operation, self, args)

    return method


for _operation, (_special, _) in OPERATIONS.items():
    setattr(Handle, _special, _forward(_operation))


class Remote:
    """The solution's process, as the process of the tests asks it."""

    def __init__(self, channel: Channel, max_bytes: int) -> None:
        self._channel = channel
        self._max = max_bytes
        self._calls = 0
        self._handles = 0
        self._gone: SolutionGone | None = None

    def calls(self) -> int:
        """Count the calls of the solution. Raises SolutionGone once it ended, even if a test caught that."""
        if self._gone is not None:
            raise self._gone
        return self._calls

    def handles(self) -> int:
        """Count the answers that were objects, without those that tests asked for by name.

        An object may lie about everything that it is asked, so a solution may need no more of them than the
        reference.
        """
        return self._handles

    def name(self, name: str) -> object:
        """Look up an object of the solution by its name. Raises KeyError where there is none."""
        before = self._handles
        found = self.ask("name", name, ())
        self._handles = before
        return found

    def ask(self, operation: str, target: object, args: tuple[object, ...], kwargs: object = None) -> object:
        """Have the solution do an operation: return its result and change arguments that it changed.

        Raises what the solution raised, as a built-in exception.
        """
        self._calls += operation == "call"
        # "exit" hands an exception over in Python, which cannot cross and whose kind hardly ever matters.
        sent = () if operation == "exit" else args
        request = values.encode((operation, target, list(sent), kwargs or {}), self._max, _number)
        match self._exchange(request):
            case (True, result, bool() as drained, list() as changed):
                for change in changed:
                    _copy_back(args, change)
                return iter(result) if drained and isinstance(result, list) else result
            case (False, str() as kind, tuple() as details):
                raise _exception(kind, details)
        self._gone = SolutionGone("malformed answer")
        raise self._gone

    def _exchange(self, request: bytes) -> object:
        try:
            self._channel.send(request)
            return values.decode(self._channel.receive(), self._handle)
        except (ClosedError, values.ValueRefusedError) as error:
            self._gone = SolutionGone(str(error))
            raise self._gone from error

    def _handle(self, data: object) -> Handle:
        if type(data) is not int:
            raise values.ValueRefusedError("not a handle")
        self._handles += 1
        return Handle(self, data)


def _number(value: object) -> int:
    if isinstance(value, Handle):
        return value._couplet_number
    raise values.ValueRefusedError(f"an object of type {type(value).__name__} cannot be handed to the solution")


def _copy_back(args: tuple[object, ...], change: object) -> None:
    match change:
        case (int() as index, new) if 0 <= index < len(args):
            match args[index], new:
                case (list() as old, list() as content):
                    old[:] = content
                case (dict() as old, dict() as content):
                    old.clear()
                    old.update(content)
                case (set() as old, set() as content):
                    old.clear()
                    old.update(content)


def _exception(kind: str, details: tuple[object, ...]) -> BaseException:
    cls = getattr(builtins, kind, None)
    if not (isinstance(cls, type) and issubclass(cls, BaseException)):
        cls = RuntimeError
    try:
        error: BaseException = cls(*details)
    except TypeError:  # some are made of more than a message
        error = RuntimeError(kind, *details)
    return error
