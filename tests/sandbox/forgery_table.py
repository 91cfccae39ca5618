"""All forgeries, at the levels that are asked for: ``python -m tests.sandbox.forgery_table LEVEL...``."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from sandbox.docker.backend import DockerSandbox
from sandbox.jail.backend import JailSandbox
from sandbox.jail.probe import Level
from sandbox.types import Sandbox
from tests.sandbox import levels
from tests.sandbox.engine import PrivateEngine
from tests.sandbox.forged import complaint
from tests.sandbox.forgery_kinds import KINDS, variants
from tests.sandbox.other_user import OrdinaryUsersSandbox


@click.command()
@click.argument("names", metavar="LEVEL...", nargs=-1, required=True, type=click.Choice(levels.NAMES))
@click.option("--kind", "kinds", multiple=True, type=click.Choice(list(KINDS)), help="[default: every kind]")
def main(names: Sequence[str], kinds: Sequence[str]) -> None:
    """Try all forgeries; print what passed, and then how many passed of each kind at each LEVEL."""
    table: dict[str, list[str]] = {kind: [] for kind in kinds or KINDS}
    passed = 0
    for name in names:
        with _opened(name) as sandbox:
            for kind, row in table.items():
                tried = variants(kind, None)
                complaints = [text for text in (complaint(sandbox, forged) for forged in tried) if text]
                passed += len(complaints)
                row.append(f"{len(complaints)} of {len(tried)}")
                click.echo(f"{name}, {kind}: {row[-1]}", err=True)
                for text in complaints:
                    click.echo(f"{name}, {text}")
    click.echo(f"| kind | {' | '.join(f'`{name}`' for name in names)} |\n| --- |{' --- |' * len(names)}")
    for kind, row in table.items():
        click.echo(f"| {kind} | {' | '.join(row)} |")
    sys.exit(passed > 0)


@contextlib.contextmanager
def _opened(name: str) -> Iterator[Sandbox]:
    """Open one slot at a level. Raises SandboxUnavailable, and EngineError without Docker."""
    if name == "docker":
        with tempfile.TemporaryDirectory() as folder:
            engine = PrivateEngine(Path(folder))
            try:
                engine.start()
                with DockerSandbox(1, base_url=engine.url) as sandbox:
                    yield sandbox
            finally:
                engine.stop()
        return
    root = os.geteuid() == 0
    public = (root and name != "jail" and levels.public_python()) or sys.executable
    if name == "namespaces" and root:
        with contextlib.closing(OrdinaryUsersSandbox(name, public)) as users:
            yield users
        return
    with JailSandbox(1, levels=[Level(name)], python=public) as jail:
        yield jail


if __name__ == "__main__":
    main()
