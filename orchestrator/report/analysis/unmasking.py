"""The unmasking order of one program as an animated SVG, which needs no script and no network.

Every token is covered until its step. Below the program is a square for each position of the completion, those
behind the end of the text too. A reader that does not animate shows the finished text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import escape

from evaluation.analysis.program import Program
from orchestrator.report.page import chart_style
from orchestrator.report.text import clean

#: Columns of text, and the pixels of a column, of a line and of a square.
_COLUMNS, _COLUMN, _LINE, _SQUARE = 88, 7.9, 19, 11
_MARGIN, _TOP = 18, 56
#: The share of a round in which something is committed; then the finished text stands still.
_BUSY = 0.85
_SHORTEST_S, _LONGEST_S, _STEP_S = 4.0, 40.0, 0.15
_NEWLINE = "↵"


@dataclass(frozen=True)
class _Fragment:
    """A part of a token that lies on one line."""

    text: str
    step: int
    line: int
    column: int


def animated_svg(program: Program) -> str:
    """Return the drawing as an SVG document."""
    fragments = list(_lay_out(program))
    lines = max((one.line for one in fragments), default=-1) + 1
    across = int(_COLUMNS * _COLUMN) // _SQUARE
    rows = -(-len(program.positions) // across)
    width, foot = _COLUMNS * _COLUMN + 2 * _MARGIN, _TOP + lines * _LINE + 14
    height = foot + 24 + rows * _SQUARE + _MARGIN
    clock = _Clock(program.steps)
    title = f"{program.task_id}, {program.label}: {program.verdict}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img" '
        f'aria-label="Unmasking order of {escape(clean(title))}">',
        f"<style>{chart_style()}{_STYLE}</style>",
        '<rect width="100%" height="100%" style="fill: var(--card)"/>',
        f'<text class="head" x="{_MARGIN}" y="24">{escape(clean(title))}</text>',
        f'<text class="head" x="{_MARGIN}" y="42">{escape(clean(program.cell))}; {program.steps} steps that '
        "commit something</text>",
        *(_token(one, clock) for one in fragments),
        f'<text class="head" x="{_MARGIN}" y="{foot + 10}">every position, by its step: early is dark, late is '
        "light; an outline was never committed</text>",
    ]
    for place, step in enumerate(program.positions):
        x, y = _MARGIN + place % across * _SQUARE, foot + 18 + place // across * _SQUARE
        parts.append(_square(x, y, step, clock))
    parts.append(clock.progress(width, height))
    return "".join([*parts, "</svg>\n"])


class _Clock:
    """When steps are made, as a share of one round of the animation."""

    def __init__(self, steps: int) -> None:
        self._steps = max(1, steps)
        self._seconds = min(_LONGEST_S, max(_SHORTEST_S, steps * _STEP_S / _BUSY))

    def tone(self, step: int) -> int:
        """The colour of a step, 0 to 9."""
        return min(9, (step - 1) * 10 // self._steps)

    def turn(self, step: int, before: int, after: int) -> str:
        """Switch the opacity at a step."""
        at = step / self._steps * _BUSY
        return (
            f'<animate attributeName="opacity" values="{before};{after}" keyTimes="0;{at:.4f}" '
            f'calcMode="discrete" dur="{self._seconds:.1f}s" repeatCount="indefinite"/>'
        )

    def progress(self, width: float, height: float) -> str:
        """A line at the foot that grows while something is committed."""
        return (
            f'<rect class="bar c1" y="{height - 3}" width="{width:.0f}" height="3"><animate attributeName="width" '
            f'values="0;{width:.0f};{width:.0f}" keyTimes="0;{_BUSY};1" dur="{self._seconds:.1f}s" '
            'repeatCount="indefinite"/></rect>'
        )


def _lay_out(program: Program) -> Iterator[_Fragment]:
    """Place tokens on lines of a fixed width."""
    line = column = 0
    for token, step in program.tokens:
        for number, text in enumerate(clean(token).expandtabs(4).split("\n")):
            if number:
                yield _Fragment(_NEWLINE, step, line, column)
                line, column = line + 1, 0
            while text:
                if column >= _COLUMNS:
                    line, column = line + 1, 0
                piece, text = text[: _COLUMNS - column], text[_COLUMNS - column :]
                yield _Fragment(piece, step, line, column)
                column += len(piece)


def _token(one: _Fragment, clock: _Clock) -> str:
    x, y = _MARGIN + one.column * _COLUMN, _TOP + one.line * _LINE
    width = len(one.text) * _COLUMN
    cover = (
        f'<rect class="cover" x="{x + 0.5:.1f}" y="{y}" width="{width - 1:.1f}" height="{_LINE - 3}" opacity="0">'
        f"{clock.turn(one.step, 1, 0)}</rect>"
    )
    style = "token newline" if one.text == _NEWLINE else "token"
    return (
        f'{cover}<text class="{style}" x="{x:.1f}" y="{y + 13}" textLength="{width:.1f}" '
        f'lengthAdjust="spacingAndGlyphs" xml:space="preserve">{escape(one.text)}'
        f"{clock.turn(one.step, 0, 1)}</text>"
    )


def _square(x: int, y: int, step: int, clock: _Clock) -> str:
    size = _SQUARE - 2
    outline = f'<rect class="open" x="{x + 0.5}" y="{y + 0.5}" width="{size - 1}" height="{size - 1}"/>'
    if not step:
        return outline
    return (
        f'{outline}<rect class="heat h{clock.tone(step)}" x="{x}" y="{y}" width="{size}" height="{size}">'
        f"{clock.turn(step, 0, 1)}</rect>"
    )


_STYLE = (
    ".token "
    "{ font: 13px ui-monospace, Menlo, 'DejaVu Sans Mono', monospace; fill: var(--ink); white-space: pre; } "
    ".newline { fill: var(--quiet); opacity: .5; } .head { font: 12.5px system-ui, 'DejaVu Sans', sans-serif; } "
    ".cover { fill: var(--grid); } .open { fill: none; stroke: var(--line); }"
)
