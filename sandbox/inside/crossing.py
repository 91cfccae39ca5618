"""What crosses between the processes of a split judge, as the tests see it: data, and what stands for the rest."""

from __future__ import annotations

import builtins
import importlib
import operator
from collections.abc import Iterator
from functools import partial
from typing import Any

from sandbox.inside import places, protocol, stand_ins, values
from sandbox.inside.stand_ins import Asking, Handle, Record, RemoteIterator

_OURS = ("tests", "sandbox", "__main__")


class Crossing:
    """Encodes what tests hand over, and decodes what they get. ``remote``: whom its stand-ins ask."""

    def __init__(self, remote: Asking, max_bytes: int) -> None:
        self._remote = remote
        self._max = max_bytes
        self.arrays = False  # of numpy, which the tests must have
        self._functions: list[Any] = []  # of the tests, which the solution calls by number
        self._classes: dict[int, type[BaseException]] = {}

    def function(self, number: int) -> Any:
        """Return a function of the tests. Raises ValueRefusedError where none was handed over by this number."""
        if not 0 <= number < len(self._functions):
            raise values.ValueRefusedError("malformed call")
        return self._functions[number]

    def encode(self, value: object) -> bytes:
        """Encode a value. Raises ValueRefusedError for what cannot be handed to the solution."""
        return values.encode_trusted(value, self._max, self._stand_for, arrays=True)

    def decode(self, data: bytes, names: Iterator[str]) -> object:
        """Decode a value; ``names`` are the places of the objects in it. Raises ValueRefusedError."""
        return values.decode(data, partial(self._stand_in, names), arrays=self.arrays)

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
        """Make the stand-in of an object of the solution."""
        match data:
            case int() as number:
                return Handle(self._remote, number, next(names))
            case ("record", int() as number):
                return Record(self._remote, number, next(names))
            case ("iterator", int() as number):
                place = next(names)
                return RemoteIterator(self._remote, number, place, places.inside(f"{place}[]"))
            case ("theirs", int() as number):
                return self.function(number)
            case ("builtin", str() as name) if isinstance(found := getattr(builtins, name, None), type):
                return found
            case ("exception_class", int() as number, str() as name, tuple() as bases):
                if number not in self._classes:
                    handle = Handle(self._remote, number, next(names))
                    self._classes[number] = stand_ins.exception_class(handle, name, bases)
                return self._classes[number]
            case ("exception", type() as kind, None, tuple() as args, str()) if issubclass(kind, BaseException):
                return _built_in(kind, args)
            case ("exception", type() as kind, int() as number, tuple() as args, str() as text):
                return stand_ins.exception(kind, Handle(self._remote, number, next(names)), args, text)
        raise values.ValueRefusedError("not an object of the solution")


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
