"""Options that take several values, separated by commas or by giving the option again."""

from __future__ import annotations

from typing import Any

import click


class Several(click.ParamType):
    """A list of values of another type, such as ``0.2,0.3``."""

    name = "list"

    def __init__(self, one: click.ParamType) -> None:
        self._one = one

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        if not isinstance(value, str):
            return tuple(value)
        return tuple(self._one.convert(part.strip(), param, ctx) for part in value.split(","))


def flat(ctx: click.Context, param: click.Parameter, value: tuple[tuple[Any, ...], ...]) -> tuple[Any, ...]:
    """Join what was given in several places; a callback of options. Raises BadParameter for one given twice."""
    joined = tuple(one for some in value for one in some)
    for number, one in enumerate(joined):
        if one in joined[:number]:
            raise click.BadParameter(f"{one} is given twice", ctx, param)
    return joined
