"""Faults for runs under test: what machines and people do to them, and the wait for what must follow."""

from __future__ import annotations

import re
import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from orchestrator.chaos.faults import flip_bit
from orchestrator.chaos.processes import RunProcesses
from orchestrator.fleet.embedded_redis import PROGRAM
from tests.system.conftest import Run

#: From a fault until the process that hangs is killed, or until the run has ended by it.
BOUND = 60.0


def redis_client(run: Run) -> redis.Redis:
    """Connect to the Redis of a run, as an administrator would, who tries again while it is being started."""
    url = (run.folder / "redis-url").read_text().strip()
    again = [redis.ConnectionError, redis.BusyLoadingError]
    return redis.Redis.from_url(url, retry=Retry(ConstantBackoff(0.2), retries=150), retry_on_error=again)


def redis_server(run: Run) -> psutil.Process:
    """Return the process of the embedded Redis, which writes its title over its environment."""
    processes = RunProcesses(run.process.pid, run.mark)
    run.wait_for(lambda: bool(processes.server(PROGRAM)), "Redis", BOUND)  # one that was killed comes back
    (server,) = processes.server(PROGRAM)
    return server


def hang(run: Run, victim: psutil.Process, name: str) -> None:
    """Stop an actor, which hangs from then on; it is killed within the bound, and named."""
    named = re.compile(rf"{name}(-restart-\d+)? (hung|died)")
    before = len(named.findall(run.output))
    victim.suspend()
    victim.wait(BOUND)
    run.wait_for(lambda: len(named.findall(run.output)) > before, f"a note that names {name}", BOUND)


def pause(run: Run, title: str, seconds: float) -> None:
    """Make an actor slow, for less than any deadline: it is not replaced."""
    victim = run.actors(title)[0]
    victim.suspend()
    time.sleep(seconds)
    victim.resume()
    time.sleep(0.2)
    assert victim.is_running()


def take_redis_away(run: Run, seconds: float) -> None:
    """Let Redis not answer for a while; a run may start its own again meanwhile."""
    server = redis_server(run)
    server.suspend()
    time.sleep(seconds)
    with suppress(psutil.NoSuchProcess):
        server.resume()


def fill_redis(run: Run, seconds: float) -> None:
    """Let Redis refuse what takes memory for a while."""
    with redis_client(run) as client:
        client.config_set("maxmemory", "1")
        time.sleep(seconds)
        client.config_set("maxmemory", "0")


def newest_checkpoint(run: Run) -> Path:
    """Return the checkpoint that the run would go on from."""
    checkpoints = run.folder / "checkpoints"
    return checkpoints / (checkpoints / "latest").read_text().strip()


def checkpoints(run: Run) -> list[Path]:
    """Return the checkpoints up to the one that the run would go on from, the oldest first."""
    newest = newest_checkpoint(run)
    return [one for one in sorted(newest.parent.glob("step-??????")) if one.name <= newest.name]


def damage_checkpoint(checkpoint: Path, draw: np.random.Generator) -> Path:
    """Flip a bit of its largest file, and return that file."""
    files = [one for one in checkpoint.rglob("*") if one.is_file()]
    file = max(files, key=lambda one: one.stat().st_size)
    flip_bit(file, draw)
    return file


def kill_ray(run: Run, program: str) -> None:
    """SIGKILL a part of the run's own Ray; the run cannot go on, and ends by itself with one error."""
    (victim,) = RunProcesses(run.process.pid, run.mark).server(program)
    victim.send_signal(signal.SIGKILL)
    assert run.wait(BOUND) == 2, run.output[-4000:]
    errors = [line for line in run.output.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, errors
    assert "Ray" in errors[0]
    assert "Traceback" not in run.output
    run.assert_nothing_left(agents=False)
