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
        found = tuple(of.convert(part, parameter, context) for part in parts)
        for number, value in enumerate(found):
            if value in found[:number]:
                raise click.BadParameter(f"{value} is given twice", context, parameter)
        return found

    return click.option(
        *names, multiple=True, callback=values, default=(default,), metavar=metavar, help=help, type=click.STRING
    )
