"""The options of commands that run tests in the sandbox, and the configuration that they make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click
from pydantic import ValidationError

from common.config import RewardConfig
from common.errors import UserError
from orchestrator.commands.numbers import FiniteRange

_GROUP_S = 3600.0
_FIELDS = RewardConfig.model_fields
_Function = Callable[..., Any]
_OPTIONS: tuple[Callable[[_Function], _Function], ...] = (
    click.option(
        "--backend",
        type=click.Choice(("jail", "docker")),
        default="jail",
        show_default=True,
        help="What isolates the programs: a jail of this machine's kernel, or containers.",
    ),
    click.option(
        "--level",
        type=click.Choice(("jail", "namespaces", "uid")),
        default="namespaces",
        show_default=True,
        help="The weakest isolation of the jail that is accepted.",
    ),
    click.option(
        "--slots", type=click.IntRange(min=1), help="Programs that run at the same time [default: one per core]."
    ),
    click.option(
        "--cpu-seconds",
        type=FiniteRange(min=0, min_open=True),
        default=10.0,
        show_default=True,
        help="CPU time of a test.",
    ),
    click.option(
        "--timeouts",
        type=click.IntRange(min=1),
        default=_FIELDS["timeouts"].default,
        show_default=True,
        help="Tests of a program that may run out of time; after them, the rest is timeout.",
    ),
    click.option(
        "--program-seconds",
        type=FiniteRange(min=0, min_open=True),
        default=_FIELDS["program_seconds"].default,
        show_default=True,
        help="CPU time of all tests of a program, beside ten times that of the task's reference.",
    ),
    click.option(
        "--memory-mb", type=click.IntRange(min=1), default=1024, show_default=True, help="Memory of a test, MiB."
    ),
    click.option(
        "--output-mb",
        type=click.IntRange(min=1),
        default=32,
        show_default=True,
        help="What a test may print or return, MiB.",
    ),
    click.option(
        "--packages",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        help="A site-packages folder that programs in the jail may import from [default: none].",
    ),
    click.option(
        "--preload",
        multiple=True,
        metavar="MODULE",
        help="Import a module of --packages once, before any program; may be given several times.",
    ),
    click.option(
        "--allow-forgeable",
        is_flag=True,
        help="Run tests that need it in the solution's own process, where a solution could forge their verdict.",
    ),
)


#: The parameters that these options become.
SANDBOX_PARAMETERS = (
    "backend",
    "level",
    "slots",
    "cpu_seconds",
    "timeouts",
    "program_seconds",
    "memory_mb",
    "output_mb",
    "packages",
    "preload",
    "allow_forgeable",
)


def sandbox_options(function: _Function) -> _Function:
    """Give a command the options that :func:`reward_config` takes, but ``tests``."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def reward_config(
    *,
    tests: Literal["pass_rate", "all_or_nothing"],
    backend: str,
    level: str,
    slots: int | None,
    cpu_seconds: float,
    timeouts: int,
    program_seconds: float,
    memory_mb: int,
    output_mb: int,
    packages: Path | None,
    preload: tuple[str, ...],
    allow_forgeable: bool,
) -> RewardConfig:
    """Return the configuration of scoring that these options ask for. Raises UserError where two do not agree."""
    fields = {
        "tests": tests,
        "backend": backend,
        "sandbox_level": level,
        "sandbox_slots": slots or 0,
        "cpu_seconds": cpu_seconds,
        "wall_seconds": max(3 * cpu_seconds, cpu_seconds + 2),
        "timeouts": timeouts,
        "program_seconds": program_seconds,
        "memory_mb": memory_mb,
        "output_mb": output_mb,
        "packages": packages,
        "preload": preload,
        "allow_forgeable": allow_forgeable,
        "hacking_probe": 0.0,
        "group_seconds": _GROUP_S,
    }
    try:
        return RewardConfig.model_validate(fields)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise UserError(f"--{problem}") from error
