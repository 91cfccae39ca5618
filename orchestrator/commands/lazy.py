"""Groups of commands that are imported when they are used, so that listing them costs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class LazyCommand(click.Command):
    """A command's line in the list of its group; :meth:`load` imports the command itself."""

    def __init__(self, name: str, path: str, summary: str) -> None:
        super().__init__(name, short_help=summary)
        self._path = path

    def load(self) -> click.Command:
        """Import the command."""
        module, _, attribute = self._path.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


class LazyGroup(click.Group):
    """A group of commands by name: where each is, as ``module:attribute``, and its summary.

    A command is imported when it is invoked or its own help is asked for. The group's help and the shell's
    completion of names do with the summaries. Arguments that begin with the name of none are those of the
    ``default``, where there is one.
    """

    def __init__(
        self, *, lazy: Mapping[str, tuple[str, str]], default: str | None = None, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self._default = default
        for name, (path, summary) in lazy.items():
            self.add_command(LazyCommand(name, path, summary))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if self._default and args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = [self._default, *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, LazyCommand) else command, rest
