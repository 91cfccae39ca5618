"""What stands, in the process of the tests, for an object that stays in the process of the solution.

A stand-in has no value of its own: what it is asked goes to the solution's process. What is compared here is which
object it stands for and, of data classes, their fields; no ``__eq__`` of the solution ever decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, cast

from sandbox.inside.operations import OPERATIONS

#: Special attributes that tests read; libraries ask objects for others, numpy for memory addresses.
_READABLE = frozenset({"__name__", "__qualname__", "__wrapped__", "__dict__"})
_ONE_BY_ONE = 16
_MAX_BATCH = 1024


class Asking(Protocol):
    """The solution's process, as a stand-in asks it."""

    def ask(self, operation: str, target: Handle, args: tuple[object, ...] = (), kwargs: object = None) -> object:
        """Return what the solution answers."""
        ...

    def pull(self, target: RemoteIterator, count: int) -> tuple[list[object], bool, BaseException | None]:
        """Return the next items, up to ``count``, whether there may be more, and what ended them."""
        ...

    def compared(self, target: Handle) -> None:
        """Take note that a test asks which object this is."""
        ...

    def raised(self, place: str, error: BaseException) -> None:
        """Take note of what the solution raises in place of an answer."""
        ...

    def resumed(self, target: RemoteIterator) -> None:
        """Take note that a test goes through an iterator which has given items before."""
        ...

    def suppressed(self, target: Handle, error: BaseException) -> None:
        """Take note that a context manager of the solution swallows an exception of the tests."""
        ...


class Handle:
    """An object of the solution, and the place it came from. Two are equal when they stand for one object."""

    __slots__ = ("_couplet_number", "_couplet_place", "_couplet_remote")

    _couplet_number: int
    _couplet_place: str
    _couplet_remote: Asking

    def __init__(self, remote: Asking, number: int, place: str) -> None:
        object.__setattr__(self, "_couplet_remote", remote)
        object.__setattr__(self, "_couplet_number", number)
        object.__setattr__(self, "_couplet_place", place)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Handle):
            return False
        self._couplet_remote.compared(self)
        return other._couplet_number == self._couplet_number

    def __hash__(self) -> int:
        return hash(self._couplet_number)

    def __mro_entries__(self, bases: object) -> tuple[type, ...]:
        raise TypeError("a class of the solution has no subclasses in the process of the tests")

    def __call__(self, *args: object, **kwargs: object) -> object:
        return self._couplet_remote.ask("call", self, args, kwargs)

    def __getattr__(self, name: str) -> object:
        if _is_special(name) and name not in _READABLE:
            raise AttributeError(name)
        return self._couplet_remote.ask("get", self, (name,))

    def __setattr__(self, name: str, value: object) -> None:
        self._couplet_remote.ask("set", self, (name, value))

    def __delattr__(self, name: str) -> None:
        self._couplet_remote.ask("delete", self, (name,))

    def __instancecheck__(self, instance: object) -> bool:
        return is_stand_in(instance) and self._couplet_remote.ask("instance", self, (instance,)) is True

    def __subclasscheck__(self, subclass: object) -> bool:
        return is_stand_in(subclass) and self._couplet_remote.ask("subclass", self, (subclass,)) is True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        """End a block. An assertion that does not hold leaves it, whatever the solution says."""
        swallows = bool(self._couplet_remote.ask("exit", self, (error,)))
        if not swallows or error is None or isinstance(error, AssertionError) or not isinstance(error, Exception):
            return False
        self._couplet_remote.suppressed(self, error)
        return True

    def __deepcopy__(self, memo: object) -> object:
        return self._couplet_remote.ask("deep_copy", self)

    def __reduce_ex__(self, protocol: object) -> str:
        raise TypeError("an object of the solution stays in its process")


def _forward(operation: str) -> Callable[..., object]:
    def method(self: Handle, *args: object) -> object:
        return self._couplet_remote.ask(operation, self, args)

    return method


for _operation, (_special, _) in OPERATIONS.items():
    setattr(Handle, _special, _forward(_operation))
del _operation, _special

# The docstrings of these classes would be found before that of the solution's object.
_DOCUMENTED = property(lambda self: self._couplet_remote.ask("get", self, ("__doc__",)))


class Record(Handle):
    """An instance of a data class: equal to another one of that class with equal fields."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record):
            return super().__eq__(other)
        return self._couplet_remote.ask("fields", self) == other._couplet_remote.ask("fields", other)

    def __hash__(self) -> int:
        found = self._couplet_remote.ask("hash", self)
        if not isinstance(found, int):
            raise TypeError("unhashable object of the solution")
        return found


class RemoteIterator(Handle):
    """An iterator of the solution, whose items come over in batches; used up once, it has no further ones.

    A test that goes through it twice, as it may through a list, finds less or nothing the second time, and so
    nothing wrong. That is taken note of, and so is an end that a test does not loop up to, but runs into with
    ``next``: it ends a loop of the test, such as that of ``all(map(check, cases))``.
    """

    __slots__ = (
        "_couplet_begun",
        "_couplet_ended",
        "_couplet_items",
        "_couplet_looped",
        "_couplet_names",
        "_couplet_taken",
    )

    _couplet_begun: bool
    _couplet_items: list[object]
    _couplet_ended: BaseException | None
    _couplet_looped: bool
    _couplet_names: Iterator[str]
    _couplet_taken: int

    def __init__(self, remote: Asking, number: int, place: str, names: Iterator[str]) -> None:
        super().__init__(remote, number, place)
        object.__setattr__(self, "_couplet_begun", False)
        object.__setattr__(self, "_couplet_items", [])
        object.__setattr__(self, "_couplet_looped", False)
        object.__setattr__(self, "_couplet_ended", None)
        object.__setattr__(self, "_couplet_names", names)
        object.__setattr__(self, "_couplet_taken", 0)

    def __iter__(self) -> RemoteIterator:
        if self._couplet_begun:
            self._couplet_remote.resumed(self)
        object.__setattr__(self, "_couplet_looped", True)
        return self

    def __next__(self) -> object:
        object.__setattr__(self, "_couplet_begun", True)
        if not self._couplet_items and self._couplet_ended is None:
            self._couplet_refill()
        if self._couplet_items:
            return self._couplet_items.pop(0)
        ended = self._couplet_ended
        object.__setattr__(self, "_couplet_ended", StopIteration())
        if ended is not None and not (self._couplet_looped and isinstance(ended, StopIteration)):
            self._couplet_remote.raised(f"{self._couplet_place}[]", ended)
        raise ended or StopIteration

    def __contains__(self, item: object) -> bool:
        return any(item is one or item == one for one in self)

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        raise TypeError("an iterator of the solution has no len()")

    def _couplet_refill(self) -> None:
        """Take one item at a time first, since each may cost more than all before it, and then more and more."""
        count = 1 if self._couplet_taken < _ONE_BY_ONE else min(self._couplet_taken, _MAX_BATCH)
        items, more, error = self._couplet_remote.pull(self, count)
        object.__setattr__(self, "_couplet_taken", self._couplet_taken + len(items))
        object.__setattr__(self, "_couplet_items", items)
        if not more:
            object.__setattr__(self, "_couplet_ended", error or StopIteration())


for _class in (Handle, Record, RemoteIterator):
    setattr(_class, "__doc__", _DOCUMENTED)  # noqa: B010 - the type of a docstring is another
del _class


class RemoteExceptionClass(type):
    """The class of stand-ins for an exception class of the solution, whose instances are made there."""

    _couplet_handle: Handle

    def __call__(cls, *args: object, **kwargs: object) -> object:
        return cls._couplet_handle(*args, **kwargs)

    def __getattr__(cls, name: str) -> object:
        if name.startswith("_couplet") or _is_special(name):
            raise AttributeError(name)
        return getattr(cls._couplet_handle, name)


class RemoteException:
    """What an exception of the solution has beyond the built-in class that it descends from."""

    _couplet_handle: Handle
    _couplet_text: str

    def __str__(self) -> str:
        return self._couplet_text

    def __getattr__(self, name: str) -> object:
        if name.startswith("_couplet") or _is_special(name):
            raise AttributeError(name)
        return getattr(self._couplet_handle, name)


def exception_class(handle: Handle, name: str, bases: tuple[type, ...]) -> type[BaseException]:
    """Make the stand-in of an exception class from those of its bases.

    Raises TypeError for bases that do not fit each other, or are no exception classes.
    """
    if not bases or not all(isinstance(base, type) and issubclass(base, BaseException) for base in bases):
        raise TypeError("bases that are no exception classes")
    own = () if any(issubclass(base, RemoteException) for base in bases) else (RemoteException,)
    made: Any = RemoteExceptionClass(name, (*own, *bases), {"_couplet_handle": handle})
    return cast("type[BaseException]", made)


def exception(kind: type[BaseException], handle: Handle, args: tuple[object, ...], text: str) -> BaseException:
    """Make the stand-in of an exception. Raises TypeError for a class that cannot be made without arguments."""
    error: BaseException = kind.__new__(kind)
    error.args = args
    error.__dict__.update(_couplet_handle=handle, _couplet_text=text)
    return error


def handle_of(value: object) -> Handle | None:
    """Return the handle of a stand-in, None for any other object."""
    if isinstance(value, Handle):
        return value
    if isinstance(value, RemoteExceptionClass | RemoteException):
        return value._couplet_handle
    return None


def is_stand_in(value: object) -> bool:
    """Tell whether the value stands for an object of the solution."""
    return handle_of(value) is not None


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")
