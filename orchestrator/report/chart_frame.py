"""The frame of a chart in SVG: axes, scales from data to pixels, and the areas that show tooltips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup, escape

from orchestrator.report.chart_numbers import labels, ticks

#: Names of x axes that count something, of which there is no half.
COUNTED = frozenset({"step", "k", "denoising step", "denoising steps", "position in the completion"})
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 14.0, 10.0, 34.0


class Frame:
    """Axes of ``width`` x ``height`` pixels over ``x_extent`` and the range of ``y_ticks``."""

    def __init__(
        self, width: int, height: int, y_ticks: list[float], x_extent: tuple[float, float], x_name: str
    ) -> None:
        self._right, self._bottom = width - _RIGHT, height - _BOTTOM
        self._y_ticks, self._x_extent, self._x_name = y_ticks, x_extent, x_name
        self.width = self._right - _LEFT - 12
        self.x = _scale(x_extent, (_LEFT + 6, self._right - 6))
        self.y = _scale((y_ticks[0], y_ticks[-1]), (self._bottom, _TOP))

    def axes(self, y_labels: Sequence[str] | None = None) -> str:
        """Draw grid, tick labels and the name of the x axis; ``y_labels`` replace the ticks' numbers."""
        parts = []
        for value, label in zip(self._y_ticks, y_labels or labels(self._y_ticks), strict=True):
            y = self.y(value)
            parts.append(line("grid", _LEFT, y, self._right, y))
            parts.append(f'<text class="tick end" x="{_LEFT - 7}" y="{y + 4:.1f}">{escape(label)}</text>')
        low, high = self._x_extent
        values = ticks(low, high, 7)
        for value, label in zip(values, labels(values), strict=True):
            if low <= value <= high and (value == int(value) or self._x_name not in COUNTED):
                x, y = self.x(value), self._bottom + 16
                text = f"{value:.0f}" if value == int(value) else label
                parts.append(f'<text class="tick mid" x="{x:.1f}" y="{y:.1f}">{text}</text>')
        middle, foot = (_LEFT + self._right) / 2, self._bottom + 30
        parts.append(f'<text class="tick mid axis" x="{middle:.1f}" y="{foot:.1f}">{escape(self._x_name)}</text>')
        return "".join(parts)

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        """Return the ``points`` attribute of a polyline or polygon."""
        return " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)

    def tooltips(self, tips: Mapping[float, Sequence[str]]) -> str:
        """Draw invisible columns, one per x, that carry the tooltips and show a cross-hair."""
        xs, parts = sorted(tips), []
        for i, x in enumerate(xs):
            left = (self.x(xs[i - 1]) + self.x(x)) / 2 if i else _LEFT
            right = (self.x(xs[i + 1]) + self.x(x)) / 2 if i + 1 < len(xs) else self._right
            tip, at = escape("\n".join(tips[x])), self.x(x)
            parts.append(
                f'<g class="hit" data-tip="{tip}"><rect x="{left:.1f}" y="{_TOP}" width="{right - left:.1f}" '
                f'height="{self._bottom - _TOP}"/>{line("cross", at, _TOP, at, self._bottom)}</g>'
            )
        return "".join(parts)


def line(style: str, x1: float, y1: float, x2: float, y2: float) -> str:
    """Draw a line between two points, in pixels; ``style`` is its CSS class."""
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def svg(width: int, height: int, title: str, body: Sequence[str]) -> Markup:
    """Wrap a drawing into a picture. Every text in ``body`` is a number or escaped already."""
    head = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
    return Markup(head + "".join(body) + "</svg>")


def _scale(source: tuple[float, float], target: tuple[float, float]) -> Callable[[float], float]:
    span = (target[1] - target[0]) / (source[1] - source[0])
    return lambda value: target[0] + (value - source[0]) * span
