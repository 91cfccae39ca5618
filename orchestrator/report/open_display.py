"""Which display a console gets."""

from __future__ import annotations

import time

from rich.console import Console

from orchestrator.report.display import Clock, Display
from orchestrator.report.display_content import REINFORCEMENT, DisplayContent
from orchestrator.report.display_live import LiveDisplay
from orchestrator.report.display_plain import PlainDisplay


def open_display(
    console: Console, plain: bool, clock: Clock = time.monotonic, content: DisplayContent = REINFORCEMENT
) -> Display:
    """Return the live screen on a terminal that can show it, else plain lines."""
    can_draw = console.is_terminal and not console.is_dumb_terminal and console.encoding.startswith("utf")
    kind = PlainDisplay if plain or not can_draw else LiveDisplay
    return kind(console, clock, content)
