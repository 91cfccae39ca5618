"""``couplet bench flood``: many clients of the reward service at once, half of them hostile."""

from __future__ import annotations

import json
import os
import secrets
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from urllib.parse import urlsplit

import click
from rich.console import Console
from rich.table import Table

from benchmarks.flood import FloodResult, Target, flood
from common.errors import UserError
from common.processes import die_with_parent
from orchestrator.commands.numbers import SEED, FiniteRange

_START_S = 60.0
_ANNOUNCED = "reward service: "


@click.command("flood")
@click.option("--clients", default=200, show_default=True, type=click.IntRange(min=2), help="Half are hostile.")
@click.option("--seconds", default=60.0, show_default=True, type=FiniteRange(min=1), help="How long they send.")
@click.option("--seed", default=0, show_default=True, type=SEED, help="Keys what they send.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
@click.argument("overrides", nargs=-1)
def flood_command(clients: int, seconds: float, seed: int, as_json: bool, overrides: tuple[str, ...]) -> None:
    """Flood a reward service with clients, half of them hostile.

    Hostile ones send programs that hang, flood and forge, half of a header, malformed requests, large bodies, or
    hang up.
    Counts the honest completions that were scored, and wrong verdicts; times /healthz meanwhile, and watches the
    memory of the service. OVERRIDES are reward.field=value.
    """
    with _service(["reward.cpu_seconds=0.2", "reward.wall_seconds=1", *overrides]) as target:
        found = flood(target, clients, seconds, seed)
    Console().print(_view(found))
    for wrong in found.wrong[:10]:
        click.echo(f"wrong: {wrong}")
    if as_json:
        click.echo(json.dumps(asdict(found)))


def _view(found: FloodResult) -> Table:
    table = Table(
        title=f"{found.clients} clients for {found.seconds:g} s, half of them hostile", show_header=False
    )
    table.add_row("honest completions scored", f"{found.scored:,}")
    table.add_row("of them excluded", f"{found.late:,}")
    table.add_row("batches asked to come again", f"{found.refused:,}")
    table.add_row("hostile acts", ", ".join(f"{count:,} {name}" for name, count in sorted(found.hostile.items())))
    table.add_row("wrong verdicts", f"{len(found.wrong):,}")
    table.add_row(
        "/healthz, median, 99th percentile, slowest",
        f"{_median(found.alive_s):.3f} s, {found.late_alive_s:.3f} s, {max(found.alive_s, default=0.0):.3f} s",
    )
    table.add_row("memory, median", f"{_median(found.memory_mb):,.0f} MiB")
    table.add_row("grown from the second quarter to the last", f"{found.growth_mb:+,.1f} MiB")
    return table


def _median(numbers: Sequence[float]) -> float:
    return statistics.median(numbers) if numbers else 0.0


@contextmanager
def _service(overrides: Sequence[str]) -> Iterator[Target]:
    """Start a service of its own on a free port. Raises UserError with what it printed where it does not start."""
    token = secrets.token_hex(16)
    process = subprocess.Popen(
        [sys.executable, "-m", "couplet_rl", "serve-rewards", "--port", "0", *overrides],
        env={**os.environ, "COUPLET_REWARD_TOKEN": token},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=die_with_parent,
    )
    printed: list[str] = []
    announced = threading.Event()

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            printed.append(line)
            if line.startswith(_ANNOUNCED):
                announced.set()
        announced.set()

    reader = threading.Thread(target=listen)
    reader.start()
    try:
        announced.wait(_START_S)
        address = next((line.split()[2] for line in printed if line.startswith(_ANNOUNCED)), None)
        if address is None:
            raise UserError(f"the reward service did not start: {''.join(printed).strip()}")
        place = urlsplit(address)
        yield Target(place.hostname or "", place.port or 0, token, process.pid)
    finally:
        process.kill()
        process.wait(_START_S)
        reader.join(_START_S)
