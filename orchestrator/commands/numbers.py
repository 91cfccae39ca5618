"""Numbers on the command line."""

from __future__ import annotations

import math
from typing import Any

import click

from common.numbers import LARGEST_SEED


class FiniteRange(click.FloatRange):
    """A number within bounds, which infinity and nan are not: no comparison tells that nan is outside."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


#: What keys random numbers.
SEED = click.IntRange(0, LARGEST_SEED)
