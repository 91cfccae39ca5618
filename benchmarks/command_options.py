"""Options that several commands of ``couplet bench`` share."""

from __future__ import annotations

import click
import torch

DTYPES = ("float32", "bfloat16")
#: Room for two end tokens, the mask token and some to choose from.
_SMALLEST_VOCABULARY = 16


def parse_vocabularies(_: click.Context, __: click.Parameter, value: str) -> tuple[int, ...]:
    """Read sizes with commas between them, as a callback of Click's."""
    parts = value.split(",")
    if not all(part.isdecimal() and int(part) >= _SMALLEST_VOCABULARY for part in parts):
        raise click.BadParameter(
            f"{value!r} is not a list of numbers from {_SMALLEST_VOCABULARY} up, with commas between them."
        )
    return tuple(map(int, parts))


def parse_dtypes(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Read names of dtypes with commas between them, as a callback of Click's; None where none are given."""
    if value is None:
        return None
    parts = tuple(value.split(","))
    if not set(parts) <= set(DTYPES):
        raise click.BadParameter(f"{value!r} is not a list of {' and '.join(DTYPES)}, with commas between them.")
    return parts


def choose_device(name: str) -> torch.device:
    """Return the device that ``--device`` means. Raises click.BadParameter where there is no GPU."""
    if name == "cuda" and not torch.cuda.is_available():
        raise click.BadParameter("torch sees no GPU.", param_hint="'--device'")
    on_gpu = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if on_gpu else "cpu")
