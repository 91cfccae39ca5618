"""Values that cross between the two processes of a split judge as what they are, and to the host as plain data.

The host compares; there a ``Counter`` is a dictionary, a named tuple a tuple and an array of numpy a list. A test
that has one in its hands asks more of it.
"""

from __future__ import annotations

import base64
import importlib
import math
import sys
from collections import Counter, namedtuple
from collections.abc import Sequence
from functools import lru_cache
from types import CodeType
from typing import Any

#: Kinds of numpy's numbers whose bytes are all there is to them.
_NUMBERS = "biufc"
_NUMPY = "numpy"
_MAX_DIMENSIONS = 32
_MAX_FIELDS = 64
# Making a class takes a third of a millisecond.
_KINDS_KEPT = 256


def is_counter(value: object) -> bool:
    """Tell whether a value counts what it is asked for as 0 where it has none."""
    return isinstance(value, Counter)


def counter(counts: dict[Any, Any]) -> Counter[Any]:
    """Return the counter with these counts, whatever they are."""
    made: Counter[Any] = Counter()
    dict.update(made, counts)
    return made


def names_of(value: tuple[Any, ...]) -> list[str] | None:
    """Return the class and the fields of a named tuple, None of another tuple. Its class may be hostile."""
    fields = type(value).__dict__.get("_fields")
    if type(fields) is not tuple or len(fields) != tuple.__len__(value) or len(fields) > _MAX_FIELDS:
        return None
    names = [type.__dict__["__name__"].__get__(type(value)), *fields]
    return names if all(type(name) is str for name in names) else None


def named(names: Sequence[str], items: Sequence[Any]) -> tuple[Any, ...]:
    """Return a named tuple of a class of our own with these names. Raises ValueError for what can be none."""
    if len(names) != len(items) + 1 or len(items) > _MAX_FIELDS:
        raise ValueError("not a named tuple")
    made: tuple[Any, ...] = _kind(*names)(*items)
    return made


@lru_cache(_KINDS_KEPT)
def _kind(name: str, *fields: str) -> type[tuple[Any, ...]]:
    return namedtuple(name, fields)  # it checks every name


def uses_arrays(code: CodeType | str) -> bool:
    """Tell whether code imports numpy, so that an array may be handed to it."""
    if isinstance(code, str):
        return _NUMPY in code
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return any(name.partition(".")[0] == _NUMPY for name in code.co_names) or any(map(uses_arrays, inner))


def is_numpy(value: object) -> bool:
    """Tell whether the value is an array or a scalar of numpy, which the program may have loaded."""
    numpy = sys.modules.get(_NUMPY)
    return numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic))


def array_parts(value: Any) -> list[Any] | None:
    """Return the type, the shape and the bytes, in base 64, of an array of numbers; None of anything else."""
    numpy = sys.modules.get(_NUMPY)
    if numpy is None or type(value) is not numpy.ndarray or value.dtype.kind not in _NUMBERS:
        return None
    return [value.dtype.str, list(value.shape), base64.b64encode(value.tobytes()).decode("ascii")]


def array(kind: str, shape: Sequence[int], text: str) -> Any:
    """Return the array that :func:`array_parts` describes. Raises ValueError, and ImportError without numpy."""
    numpy = importlib.import_module(_NUMPY)
    data = base64.b64decode(text, validate=True)
    dtype = numpy.dtype(kind)
    if dtype.kind not in _NUMBERS or len(shape) > _MAX_DIMENSIONS or min(shape, default=0) < 0:
        raise ValueError("not an array of numbers")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError("an array of another size")
    return numpy.frombuffer(data, dtype).reshape(tuple(shape)).copy()
