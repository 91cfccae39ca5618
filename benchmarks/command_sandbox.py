"""``couplet bench sandbox``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing

import click
from rich.console import Console
from rich.progress import Progress

from sandbox.types import Sandbox, SandboxUnavailable

_BACKENDS = ("jail", "docker")


def _backends(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    names = tuple(value.split(","))
    if not set(names) <= set(_BACKENDS):
        raise click.BadParameter(f"{value!r} is not a list of {' and '.join(_BACKENDS)} with commas.")
    return names


@click.command("sandbox")
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
@click.option("--seconds", default=2.0, show_default=True, type=click.FloatRange(min=0.1), help="Of a round.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=1), help="Of each, in turns.")
@click.option("--soak", type=click.FloatRange(min=1), help="Then run mixed work for so many seconds.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def sandbox_bench(
    backends: Sequence[str], slots: int | None, seconds: float, rounds: int, soak: float | None, as_json: bool
) -> None:
    """Isolated programs per second, beside a fresh interpreter per test and beside forks without isolation."""
    from benchmarks import sandbox as comparison
    from benchmarks import soak as soaking

    settings = comparison.SandboxBenchSettings(slots or len(os.sched_getaffinity(0)), seconds, rounds)
    machine = comparison.machine()
    starts = {name: _starter(name, settings.slots) for name in backends}
    console = Console()
    try:
        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=comparison.stages(len(starts), rounds))
            cases = comparison.run(starts, settings, lambda stage: bar.update(task, advance=1, description=stage))
        console.print(comparison.view(machine, settings, cases))
        result = comparison.as_json(machine, settings, cases)
        if soak is not None:
            with Progress(console=Console(stderr=True)) as bar, closing(starts[backends[0]]()) as sandbox:
                task = bar.add_task("", total=None)
                found = soaking.run(sandbox, soak, lambda stage: bar.update(task, description=stage))
            console.print(soaking.view(found))
            result["soak"] = soaking.as_json(found)
    except SandboxUnavailable as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    if as_json:
        click.echo(json.dumps(result))


def _starter(backend: str, slots: int) -> Callable[[], Sandbox]:
    from common.config import RewardConfig
    from reward_service.reward_actor import make_sandbox

    config = RewardConfig.model_validate({"backend": backend, "sandbox_slots": slots})
    return lambda: make_sandbox(config)
