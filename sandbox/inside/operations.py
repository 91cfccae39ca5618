"""The operations that the process of the tests may ask of an object in the process of the solution."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable
from typing import Any

Action = Callable[..., Any]

#: Operation: (the special method of a stand-in that asks for it, what the solution's process does).
OPERATIONS: dict[str, tuple[str, Action]] = {
    "length": ("__len__", len),
    "truth": ("__bool__", bool),
    "text": ("__str__", str),
    "representation": ("__repr__", repr),
    "format": ("__format__", format),
    "integer": ("__int__", int),
    "index": ("__index__", operator.index),
    "real": ("__float__", float),
    "complex": ("__complex__", complex),
    "round": ("__round__", round),
    "truncate": ("__trunc__", math.trunc),
    "floor": ("__floor__", math.floor),
    "ceiling": ("__ceil__", math.ceil),
    "absolute": ("__abs__", abs),
    "negative": ("__neg__", operator.neg),
    "positive": ("__pos__", operator.pos),
    "invert": ("__invert__", operator.invert),
    "iterate": ("__iter__", iter),
    "next": ("__next__", next),
    "reversed": ("__reversed__", reversed),
    "contains": ("__contains__", operator.contains),
    "item": ("__getitem__", operator.getitem),
    "set_item": ("__setitem__", operator.setitem),
    "delete_item": ("__delitem__", operator.delitem),
    "enter": ("__enter__", lambda it: it.__enter__()),
    "less": ("__lt__", operator.lt),
    "less_equal": ("__le__", operator.le),
    "greater": ("__gt__", operator.gt),
    "greater_equal": ("__ge__", operator.ge),
    "copy": ("__copy__", copy.copy),
}

_BINARY: dict[str, tuple[str, Action]] = {
    "add": ("add", operator.add),
    "subtract": ("sub", operator.sub),
    "multiply": ("mul", operator.mul),
    "divide": ("truediv", operator.truediv),
    "floor_divide": ("floordiv", operator.floordiv),
    "remainder": ("mod", operator.mod),
    "divide_with_remainder": ("divmod", divmod),
    "power": ("pow", pow),
    "matrix_multiply": ("matmul", operator.matmul),
    "shift_left": ("lshift", operator.lshift),
    "shift_right": ("rshift", operator.rshift),
    "and": ("and", operator.and_),
    "or": ("or", operator.or_),
    "exclusive_or": ("xor", operator.xor),
}


def _swapped(action: Action) -> Action:
    return lambda right, left: action(left, right)


for _operation, (_stem, _action) in _BINARY.items():
    OPERATIONS[_operation] = (f"__{_stem}__", _action)
    OPERATIONS[f"{_operation}_from_right"] = (f"__r{_stem}__", _swapped(_action))
    _in_place = getattr(operator, f"__i{_stem}__", None)  # there is none of divmod
    if _in_place is not None:
        OPERATIONS[f"{_operation}_in_place"] = (f"__i{_stem}__", _in_place)
