"""The arguments and options that all commands of a run take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from orchestrator.commands.numbers import FiniteRange

_Function = Callable[..., Any]
_OPTIONS: tuple[Callable[[_Function], _Function], ...] = (
    click.argument("recipe", type=click.Path(path_type=Path)),
    click.argument("overrides", nargs=-1),
    click.option(
        "--dry-run",
        is_flag=True,
        help="Print configuration, actors, resources and memory; check data, model, reward functions and loggers; "
        "start nothing.",
    ),
    click.option(
        "--gpu-gb",
        type=FiniteRange(min=0, min_open=True),
        metavar="GB",
        help="GB of a GPU that --dry-run reckons with; by default those of this machine's, or 80.",
    ),
    click.option(
        "--resume", default="never", show_default=True, metavar="auto|never|PATH", help="Go on from a checkpoint."
    ),
    click.option("--plain", is_flag=True, help="Print lines instead of a live display."),
    click.option("--json", "as_json", is_flag=True, help="End with one line of JSON."),
)


def run_options(function: _Function) -> _Function:
    """Give a command ``recipe``, ``overrides``, ``dry_run``, ``gpu_gb``, ``resume``, ``plain`` and ``as_json``."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
