"""Lines in the terminal, drawn in braille dots."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.report.charts import Point, thin

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


def braille(points: Sequence[Point], x_range: Point, y_range: Point, width: int, height: int) -> list[str]:
    """A line as ``height`` rows of ``width`` characters."""
    grid = [[0] * width for _ in range(height)]
    across, down = width * 2 - 1, height * 4 - 1
    last: tuple[int, int] | None = None
    for x, y in thin(points, most=width * 2):
        column = _place(x, x_range, across)
        row = down - _place(y, y_range, down)
        start = last or (column, row)
        steps = max(abs(column - start[0]), abs(row - start[1]), 1)
        for i in range(steps + 1):
            c = round(start[0] + (column - start[0]) * i / steps)
            r = round(start[1] + (row - start[1]) * i / steps)
            grid[r // 4][c // 2] |= _DOTS[r % 4][c % 2]
        last = (column, row)
    return ["".join(chr(0x2800 + cell) if cell else " " for cell in row) for row in grid]


def _place(value: float, span: Point, most: int) -> int:
    share = (value - span[0]) / ((span[1] - span[0]) or 1.0)
    return round(min(max(share, 0.0), 1.0) * most)
