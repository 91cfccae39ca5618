"""Options that take several values, separated by commas or by giving the option again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

_Function = TypeVar("_Function", bound=Callable[..., Any])


def several(
    *names: str, of: click.ParamType[Any], metavar: str, help: str, default: str = ""
) -> Callable[[_Function], _Function]:
    """Make an option whose value is a tuple; each of its values is of the type ``of``, and given once."""

    def values(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> tuple[Any, ...]:
        parts = [part.strip() for text in given if text for part in text.split(",")]
        # A range calls itself a "float range"; what is no number at all is refused as such first.
        number: click.ParamType[Any] = of
        if isinstance(of, click.IntRange | click.FloatRange):
            number = click.INT if isinstance(of, click.IntRange) else click.FLOAT
        found = tuple(of.convert(number.convert(part, parameter, context), parameter, context) for part in parts)
        for place, value in enumerate(found):
            if value in found[:place]:
                raise click.BadParameter(f"{value} is given twice", context, parameter)
        return found

    return click.option(
        *names, multiple=True, callback=values, default=(default,), metavar=metavar, help=help, type=click.STRING
    )
