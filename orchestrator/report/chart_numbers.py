"""Round numbers for axes, and numbers in few characters."""

from __future__ import annotations

import math
from collections.abc import Sequence


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about ``count`` round numbers that cover ``low`` to ``high``."""
    if not high > low:
        margin = abs(low) * 0.1 or 1.0
        low, high = low - (margin if low else 0.0), high + margin
    raw = (high - low) / max(count - 1, 1)
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(f * magnitude for f in (1.0, 2.0, 2.5, 5.0, 10.0) if f * magnitude >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12 - math.floor(math.log10(step))) for i in range(first, last + 1)]


def labels(values: Sequence[float]) -> list[str]:
    """Write the tick labels of one axis, all with the same number of decimals."""
    step = values[1] - values[0] if len(values) > 1 else 1.0
    largest = max(abs(v) for v in values)
    if largest and (largest >= 1e5 or largest < 1e-2):
        return ["0" if v == 0 else _scientific(v) for v in values]
    decimals = next((d for d in range(6) if abs(round(step, d) - step) < step * 1e-6), 6)
    return [f"{v:.{decimals}f}" for v in values]


def short(value: float) -> str:
    """Write a number in about four characters, for tables and tooltips."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    if value == int(value) and abs(value) < 1e6:
        return f"{value:.0f}"
    if abs(value) >= 1e5 or abs(value) < 1e-3:
        return _scientific(value)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def percent(share: float) -> str:
    """Write a share of 1 as a percentage."""
    return f"{share:.1%}"


def count(value: float) -> str:
    """Write a large count in about four characters: ``12.3K``, ``4.56M``, ``65.5B``."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if size <= abs(value) < math.inf:
            return f"{value / size:.0f}{letter}" if abs(value) >= 100 * size else f"{value / size:.3g}{letter}"
    return short(value)


def extent(xs: Sequence[float]) -> tuple[float, float]:
    """Return the smallest and the largest, or a range of one around a single value."""
    low, high = min(xs), max(xs)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _scientific(value: float) -> str:
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
