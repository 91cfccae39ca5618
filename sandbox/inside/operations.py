"""The operations that the process of the tests may ask of an object in the process of the solution."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

#: Operation: (the special method of a proxy that asks for it, what the solution's process does).
OPERATIONS: dict[str, tuple[str, Callable[..., Any]]] = {
    "length": ("__len__", len),
    "truth": ("__bool__", bool),
    "text": ("__str__", str),
    "representation": ("__repr__", repr),
    "integer": ("__int__", int),
    "index": ("__index__", operator.index),
    "real": ("__float__", float),
    "absolute": ("__abs__", abs),
    "negative": ("__neg__", operator.neg),
    "iterate": ("__iter__", iter),
    "next": ("__next__", next),
    "reversed": ("__reversed__", reversed),
    "contains": ("__contains__", operator.contains),
    "item": ("__getitem__", operator.getitem),
    "set_item": ("__setitem__", operator.setitem),
    "delete_item": ("__delitem__", operator.delitem),
    "enter": ("__enter__", lambda it: it.__enter__()),
    "exit": ("__exit__", lambda it, *_: it.__exit__(None, None, None)),
    "add": ("__add__", operator.add),
    "subtract": ("__sub__", operator.sub),
    "multiply": ("__mul__", operator.mul),
    "divide": ("__truediv__", operator.truediv),
    "less": ("__lt__", operator.lt),
    "less_equal": ("__le__", operator.le),
    "greater": ("__gt__", operator.gt),
    "greater_equal": ("__ge__", operator.ge),
}
