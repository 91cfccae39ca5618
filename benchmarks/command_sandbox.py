"""``couplet bench sandbox``: isolated programs per second, beside cheaper ways to run programs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from benchmarks import sandbox as comparison
from benchmarks import soak as soaking
from benchmarks import versions
from common.config import RewardConfig
from orchestrator.commands.numbers import FiniteRange
from reward_service.configured import make_sandbox
from sandbox.types import Sandbox

_BACKENDS = ("jail", "docker")


def _backends(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    names = tuple(value.split(","))
    if not set(names) <= set(_BACKENDS):
        raise click.BadParameter(f"{value!r} is not a list of {' and '.join(_BACKENDS)} with commas.")
    return names


@click.command()
@click.option(
    "--backend",
    "backends",
    metavar="NAME,...",
    callback=_backends,
    default="jail",
    show_default=True,
    help="jail, docker.",
)
@click.option("--slots", type=click.IntRange(min=1), help="Programs at once [default: one per usable core].")
@click.option("--seconds", default=2.0, show_default=True, type=FiniteRange(min=0.1), help="Of a round.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=1), help="Of each, in turns.")
@click.option(
    "--against",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A checkout of another version: compare the two, a round of each in turns.",
)
@click.option("--soak", type=FiniteRange(min=1), help="Then run mixed work for so many seconds.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def sandbox(
    backends: Sequence[str],
    slots: int | None,
    seconds: float,
    rounds: int,
    against: Path | None,
    soak: float | None,
    as_json: bool,
) -> None:
    """Count isolated programs per second.

    Beside them, those of a fresh interpreter per test, and of forks without isolation.
    """
    settings = comparison.SandboxBenchSettings(slots or len(os.sched_getaffinity(0)), seconds, rounds)
    if against is not None:
        if soak is not None:
            raise click.UsageError("--soak and --against are two measurements; name one of them.")
        _compare(against.resolve(), backends, settings, as_json)
        return
    machine = comparison.machine()
    starts = {name: _starter(name, settings.slots) for name in backends}
    console = Console()
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=comparison.stages(len(starts), rounds))
        cases = comparison.run(starts, settings, lambda stage: bar.update(task, advance=1, description=stage))
    console.print(comparison.view(machine, settings, cases))
    result = comparison.as_json(machine, settings, cases)
    if soak is not None:
        with Progress(console=Console(stderr=True)) as bar, closing(starts[backends[0]]()) as box:
            task = bar.add_task("", total=None)
            found = soaking.run(box, soak, lambda stage: bar.update(task, description=stage))
        console.print(soaking.view(found))
        result["soak"] = soaking.as_json(found)
    if as_json:
        click.echo(json.dumps(result))


def _compare(
    against: Path, backends: Sequence[str], settings: comparison.SandboxBenchSettings, as_json: bool
) -> None:
    console = Console()
    try:
        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=2 * settings.rounds)
            say = lambda stage: bar.update(task, advance=1, description=stage)  # noqa: E731
            cases = versions.compare(against, backends, settings, say)
    except versions.VersionFailedError as error:
        raise click.ClickException(str(error)) from error
    console.print(versions.view(cases, settings, against))
    if as_json:
        click.echo(json.dumps(versions.as_json(cases)))


def _starter(backend: str, slots: int) -> Callable[[], Sandbox]:
    config = RewardConfig.model_validate({"backend": backend, "sandbox_slots": slots})
    return lambda: make_sandbox(config)
