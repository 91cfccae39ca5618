"""Charts in the terminal, drawn in braille dots."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from orchestrator.report.charts import Point, thin

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


def chart(
    title: str,
    line: Sequence[Point],
    marks: Sequence[Point],
    x_range: Point,
    y_range: Point,
    y_labels: tuple[str, str],
    width: int,
    height: int,
) -> Text:
    """Draw a line with ``marks`` on it, a title and axes; ``width`` x ``height`` are characters of the drawing."""
    gutter = max(map(len, y_labels)) + 2
    rows = braille(line, x_range, y_range, width - gutter, height)
    text = Text(" " * gutter + title + "\n", no_wrap=True)
    text.stylize("bold", 0)
    for number, row in enumerate(rows):
        label = y_labels[1] if number == 0 else y_labels[0] if number == height - 1 else ""
        text.append(f"{label:>{gutter - 2}} ", "dim").append("│", "dim")
        for column, dots in enumerate(row):
            marked = any(_cell(mark, x_range, y_range, len(row), height) == (number, column) for mark in marks)
            text.append("◆" if marked else dots, "green" if marked else "cyan")
        text.append("\n")
    right = f"{x_range[1]:g}"
    text.append(" " * (gutter - 1) + "└" + "─" * (width - gutter) + "\n", "dim")
    text.append(" " * gutter + "step 0" + right.rjust(width - gutter - 6), "dim")
    return text


def _cell(point: Point, x_range: Point, y_range: Point, width: int, height: int) -> tuple[int, int]:
    """Return row and column of a point in a chart."""
    across = (point[0] - x_range[0]) / (x_range[1] - x_range[0])
    up = (point[1] - y_range[0]) / (y_range[1] - y_range[0])
    return round((1 - up) * (height - 1)), min(round(across * (width - 1)), width - 1)


def braille(points: Sequence[Point], x_range: Point, y_range: Point, width: int, height: int) -> list[str]:
    """Draw a line as ``height`` rows of ``width`` characters."""
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
