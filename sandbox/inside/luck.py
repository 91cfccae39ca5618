"""Random numbers that are the same for every test, whatever the tests before it drew."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from functools import partial

_generator = random.seed.__self__  # type: ignore[attr-defined]  # what the functions of the module draw from
_seed = partial(super(random.Random, _generator).seed, 0)


def _start_over() -> None:
    _seed()
    _generator.gauss_next = None


def kept(drawn: bool) -> Callable[[], None]:
    """Return what puts the generators of random numbers back to where they are now.

    ``drawn``: whether somebody may care where that is. Otherwise it is anywhere, if always in the same place: to
    read a state takes longer than a short test.
    """
    if not drawn and "numpy" not in sys.modules:
        return _start_over
    state = random.getstate()
    numpy = sys.modules.get("numpy")
    arrays = None if numpy is None else numpy.random.get_state()

    def put_back() -> None:
        random.setstate(state)
        if arrays is not None:
            sys.modules["numpy"].random.set_state(arrays)

    return put_back
