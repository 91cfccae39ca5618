"""The faults that a chaos run strikes with, by name. Each does to a live run what machines and people do."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from common.errors import UserError
from common.streams import connect
from learner.checkpoints import latest_checkpoint
from orchestrator.chaos.run_process import RunProcess
from orchestrator.fleet.embedded_redis import PROGRAM as REDIS_PROGRAM

#: A pause that no deadline takes for a hang.
_PAUSE_SECONDS = 5.0
#: The outages that a run is to survive.
_REDIS_AWAY_SECONDS = 20.0
_REDIS_FULL_SECONDS = 10.0


class NoVictimError(Exception):
    """There is no process to strike now; there will be one soon."""


@dataclass(frozen=True)
class Fault:
    """A fault that :attr:`strike` inflicts on a run; it returns who was struck.

    ``strike`` is told which role an actor is to have that it strikes, and draws which of its processes.
    ``exit_codes``: those with which the run may end by it, to be resumed then; empty where it must go on by
    itself.
    """

    summary: str
    strike: Callable[[RunProcess, str, np.random.Generator], str]
    exit_codes: tuple[int, ...] = ()


def chosen_faults(names: str) -> tuple[str, ...]:
    """Return the faults of a list with commas; ``all`` stands for all. Raises UserError for an unknown one."""
    chosen = tuple(FAULTS) if names == "all" else tuple(name.strip() for name in names.split(","))
    unknown = [name for name in chosen if name not in FAULTS]
    if unknown:
        raise UserError(f"--faults: {', '.join(unknown)}: no such fault; those are {', '.join(FAULTS)}, or all")
    return chosen


def _signal_one(
    victims: Sequence[psutil.Process], draw: np.random.Generator, number: signal.Signals
) -> psutil.Process:
    if not victims:
        raise NoVictimError
    victim = victims[int(draw.integers(len(victims)))]
    try:
        victim.send_signal(number)
    except psutil.NoSuchProcess as error:
        raise NoVictimError from error
    return victim


def _kill(run: RunProcess, role: str, draw: np.random.Generator) -> str:
    _signal_one(run.processes.actors(role), draw, signal.SIGKILL)
    return role


def _stop(run: RunProcess, role: str, draw: np.random.Generator) -> str:
    _signal_one(run.processes.actors(role), draw, signal.SIGSTOP)
    return role


def _pause(run: RunProcess, role: str, draw: np.random.Generator) -> str:
    _wake_after(_signal_one(run.processes.actors(role), draw, signal.SIGSTOP), _PAUSE_SECONDS)
    return role


def _kill_redis(run: RunProcess, role: str, draw: np.random.Generator) -> str:
    _signal_one(run.processes.server(REDIS_PROGRAM), draw, signal.SIGKILL)
    return "redis"


def _pause_redis(run: RunProcess, role: str, draw: np.random.Generator) -> str:
    victim = _signal_one(run.processes.server(REDIS_PROGRAM), draw, signal.SIGSTOP)
    _wake_after(victim, _REDIS_AWAY_SECONDS)
    return "redis"


def _empty_redis(run: RunProcess, role: str, draw: np.random.Generator) -> str:
    with connect(redis_url(run.folder)) as client:
        client.flushall()
    return "redis"


def _fill_redis(run: RunProcess, role: str, draw: np.random.Generator) -> str:
    with connect(redis_url(run.folder)) as client:
        client.config_set("maxmemory", "1")
        try:
            time.sleep(_REDIS_FULL_SECONDS)
        finally:
            client.config_set("maxmemory", "0")
    return "redis"


def _damage_checkpoint(run: RunProcess, role: str, draw: np.random.Generator) -> str:
    """Flip a bit of the newest checkpoint's largest file, and kill the learner, which has to load it."""
    checkpoint = latest_checkpoint(run.folder / "checkpoints")
    if checkpoint is None:
        raise NoVictimError
    victims = run.processes.actors("learner")
    if victims:
        largest = max(
            (file for file in checkpoint.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size
        )
        flip_bit(largest, draw)
    _signal_one(victims, draw, signal.SIGKILL)
    return f"learner, {checkpoint.name}"


def flip_bit(file: Path, draw: np.random.Generator) -> None:
    """Flip one bit of a file, as a disk may."""
    with file.open("r+b") as opened:
        position = int(draw.integers(file.stat().st_size))
        opened.seek(position)
        (byte,) = opened.read(1)
        opened.seek(position)
        opened.write(bytes([byte ^ (1 << int(draw.integers(8)))]))


def _kill_main(run: RunProcess, role: str, draw: np.random.Generator) -> str:
    _signal_one([psutil.Process(run.pid)], draw, signal.SIGKILL)
    return "main process"


def _interrupt(run: RunProcess, role: str, draw: np.random.Generator) -> str:
    _signal_one([psutil.Process(run.pid)], draw, signal.SIGTERM)
    return "main process"


def _kill_raylet(run: RunProcess, role: str, draw: np.random.Generator) -> str:
    _signal_one(run.processes.server("raylet"), draw, signal.SIGKILL)
    return "raylet"


def _kill_gcs(run: RunProcess, role: str, draw: np.random.Generator) -> str:
    _signal_one(run.processes.server("gcs_server"), draw, signal.SIGKILL)
    return "GCS"


def _wake_after(victim: psutil.Process, seconds: float) -> None:
    time.sleep(seconds)
    try:
        victim.send_signal(signal.SIGCONT)
    except psutil.NoSuchProcess:
        return


def redis_url(folder: Path) -> str:
    """Return the address of a run's Redis, which its folder holds. Raises NoVictimError before it does."""
    file = folder / "redis-url"
    if not file.exists():
        raise NoVictimError
    return file.read_text().strip()


FAULTS = {
    "kill": Fault("SIGKILL to an actor", _kill),
    "stop": Fault("SIGSTOP to an actor, which hangs from then on", _stop),
    "pause": Fault(f"SIGSTOP to an actor, and SIGCONT {_PAUSE_SECONDS:.0f} s later: a slow one", _pause),
    "redis-kill": Fault("SIGKILL to the embedded Redis", _kill_redis),
    "redis-pause": Fault(f"Redis does not answer for {_REDIS_AWAY_SECONDS:.0f} s", _pause_redis),
    "redis-empty": Fault("FLUSHALL: all that Redis holds is lost", _empty_redis),
    "redis-full": Fault(f"Redis refuses writes for {_REDIS_FULL_SECONDS:.0f} s: its memory is full", _fill_redis),
    "checkpoint": Fault(
        "one bit of the newest checkpoint flips, and the learner has to load it", _damage_checkpoint
    ),
    "main-kill": Fault("SIGKILL to the main process; the run is resumed", _kill_main, (-signal.SIGKILL,)),
    "interrupt": Fault("SIGTERM to the main process; the run is resumed", _interrupt, (128 + signal.SIGTERM,)),
    "raylet-kill": Fault("SIGKILL to Ray's node manager; the run is resumed", _kill_raylet, (2,)),
    "gcs-kill": Fault("SIGKILL to Ray's control store; the run is resumed", _kill_gcs, (2,)),
}
