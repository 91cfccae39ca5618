"""All forgeries of every kind at one level: ``python -m tests.sandbox.forgery_table [LEVEL] [KIND]...``."""

from __future__ import annotations

import sys
import time

import click

from sandbox.jail.backend import JailSandbox
from sandbox.jail.probe import Level
from tests.sandbox.forged import complaint
from tests.sandbox.forgery_kinds import KINDS, variants


@click.command()
@click.argument("level", default="jail", type=click.Choice([str(level) for level in Level]))
@click.argument("kinds", nargs=-1, type=click.Choice(list(KINDS)))
def main(level: str, kinds: tuple[str, ...]) -> None:
    """Try all forgeries of the KINDS [default: every kind]; print a line for each, and what passed."""
    passed = 0
    with JailSandbox(1, levels=[Level(level)]) as sandbox:
        for kind in kinds or KINDS:
            began = time.monotonic()
            tried = variants(kind, None)
            complaints = [text for text in (complaint(sandbox, forged) for forged in tried) if text]
            passed += len(complaints)
            took = time.monotonic() - began
            click.echo(f"{level}, {kind}: {len(tried)} tried, {len(complaints)} wrong, {took:.0f} s")
            for text in complaints:
                click.echo(f"  {text}")
    sys.exit(passed > 0)


if __name__ == "__main__":
    main()
