"""How a command ends: the one place where errors become messages and exit codes."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import click

from common.errors import RunFailedError, UserError
from orchestrator.commands.lazy import LazyGroup
from orchestrator.interrupt import Interrupted, interrupted_at_once
from orchestrator.report.text import clean

_FAILED, _UNUSABLE_INPUT = 1, 2
_LONGEST = 20_000


class CommandFailedError(Exception):
    """What a command began could not be ended, though its input was good; the message says why."""


class CommandLine(LazyGroup):
    """The outermost group: it turns the errors that are for the user into a message and an exit code.

    2 is for what the user can mend, 1 for what failed on its way, 128 + its number for a signal.
    """

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            with interrupted_at_once():
                return super().main(*args, **kwargs)
        except Interrupted as error:
            click.echo(f"stopped by {error}; everything it started is stopped too", err=True)
            sys.exit(error.exit_code)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            _end(ctx, f"error: {error}", _UNUSABLE_INPUT)
        except CommandFailedError as error:
            _end(ctx, f"error: {error}", _FAILED)
        except RunFailedError as error:
            _end(ctx, f"error: the run gave up: {error}", _FAILED)


def _end(ctx: click.Context, message: str, exit_code: int) -> NoReturn:
    click.echo(clean(message, _LONGEST), err=True)  # it may name what a file says, or a model wrote
    ctx.exit(exit_code)
