"""MBPP+ inputs as EvalPlus calls with them.

Its files are JSON, which has neither tuples nor sets nor complex numbers; which arguments of which task are some
of these is known by the task's number alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Convert = Callable[[Any], Any]


def _list_of(convert: Convert) -> Convert:
    return lambda items: [convert(item) for item in items]


def _tuple_of(convert: Convert) -> Convert:
    return lambda items: tuple(convert(item) for item in items)


def _deep(value: Any) -> Any:
    return tuple(map(_deep, value)) if isinstance(value, list) else value


def _flat(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _set(value: Any) -> Any:
    # An empty one is the empty dictionary there.
    return set(value) if value else {}


def _tuple_values(value: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(items) for key, items in value.items()}


def _keep(value: Any) -> Any:
    return value


# What becomes of every argument.
_EVERY: tuple[tuple[Convert, str], ...] = (
    (tuple, "2 116 132 143 222 261 273 394 399 421 424 429 470 560 579 596 616 630 726 740 744 809"),
    (_list_of(tuple), "63 64 70 94 120 237 272 299 400 409 417 438 473 614 780"),
    (_tuple_of(tuple), "259 401 445"),
    (_deep, "580 615 791"),
    (_tuple_of(_flat), "278"),
    (_list_of(_set), "115"),
    (complex, "252"),
)
# What becomes of the first arguments; the others stay.
_FIRST: tuple[tuple[tuple[Convert, ...], str], ...] = (
    ((_list_of(tuple),), "75 413 444 753"),
    ((tuple,), "250 307 405 446 617 720 763 808"),
    ((_keep, tuple), "106 750"),
    ((_tuple_values,), "722"),
    ((float, complex), "124"),
)
_EVERY_BY_TASK = {f"Mbpp/{number}": convert for convert, numbers in _EVERY for number in numbers.split()}
_FIRST_BY_TASK = {f"Mbpp/{number}": convert for convert, numbers in _FIRST for number in numbers.split()}


def typed_arguments(task_id: str, arguments: list[Any]) -> list[Any]:
    """Give the arguments of one call their types.

    Raises TypeError, ValueError, AttributeError or IndexError for values that do not fit the task.
    """
    every = _EVERY_BY_TASK.get(task_id, _keep)
    converted = [every(argument) for argument in arguments]
    for position, convert in enumerate(_FIRST_BY_TASK.get(task_id, ())):
        converted[position] = convert(converted[position])
    return converted
