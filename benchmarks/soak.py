"""Soak test: a sandbox under mixed work for a while, with its speed and its memory over time."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.sandbox import PROGRAMS
from sandbox.types import Case, Limits, Outcome, Program, Sandbox

_LIMITS = Limits(cpu_s=0.2, wall_s=2.0, memory_mb=128)
_BAD_SHARE = 0.1
_BAD = (
    ("while True: pass", Outcome.TIMEOUT),
    ("kept = []\nwhile True: kept.append(bytearray(1 << 20))", Outcome.MEMORY),
    ("while True: print('x' * 10000)", Outcome.OUTPUT),
    ("import os\nos.abort()", Outcome.CRASH),
    ("open('f', 'w').write('x' * 1000000)\nimport os\nos._exit(3)", Outcome.ERROR),
)
_WINDOWS = 6


@dataclass
class SoakWindow:
    """One stretch of the soak. Memory is resident and in KiB, of this process and of all that it started."""

    programs: int = 0
    latencies: list[float] = field(default_factory=list)
    host_kb: int = 0
    slots_kb: int = 0
    descriptors: int = 0


@dataclass
class Soak:
    seconds: float
    samples: list[SoakWindow]
    wrong: list[str]
    restarts: int


def run(sandbox: Sandbox, seconds: float, said: Callable[[str], None]) -> Soak:
    """``wrong``: programs that did not end as they must."""
    wrong: list[str] = []
    samples = []
    with ThreadPoolExecutor(sandbox.slots) as pool:
        for window in range(_WINDOWS):
            said(f"stretch {window + 1} of {_WINDOWS}")
            until = time.perf_counter() + seconds / _WINDOWS
            seeds = [window * sandbox.slots + slot for slot in range(sandbox.slots)]
            done = list(pool.map(lambda seed, until=until: _work(sandbox, seed, until, wrong), seeds))
            latencies = [each for part in done for each in part]
            samples.append(SoakWindow(len(latencies), latencies, *_footprint()))
    return Soak(seconds, samples, wrong, int(sandbox.describe()["slot_restarts"]))


def _work(sandbox: Sandbox, seed: int, until: float, wrong: list[str]) -> list[float]:
    dice = random.Random(seed)
    good = list(PROGRAMS.values())
    latencies = []
    while (started := time.perf_counter()) < until:
        if dice.random() < _BAD_SHARE:
            source, expected = dice.choice(_BAD)
            program = Program(source, (Case("0", "stdin"),))
        else:
            program, expected = dice.choice(good), Outcome.OK
        runs = sandbox.run(program, _LIMITS)
        latencies.append(1000 * (time.perf_counter() - started))
        wrong += [f"{program.source!r}: {run.outcome} ({run.note})" for run in runs if run.outcome is not expected]
    return latencies


def _footprint() -> tuple[int, int, int]:
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
    family = {os.getpid()}
    while grown := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= grown
    others = sum(map(_resident_kb, family - {os.getpid()}))
    return _resident_kb(os.getpid()), others, len(os.listdir("/proc/self/fd"))


def _resident_kb(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    except OSError:
        return 0


def view(soak: Soak) -> Table:
    table = Table(
        title=f"{soak.seconds:.0f} s of mixed work, one program in ten hostile",
        caption=f"{len(soak.wrong)} wrong outcomes, {soak.restarts} slots replaced",
    )
    for name in ("programs/s", "p50 ms", "p99 ms", "this process, MiB", "slots, MiB", "open files"):
        table.add_column(name, justify="right")
    for sample in soak.samples:
        cuts = statistics.quantiles(sample.latencies, n=100)
        table.add_row(
            f"{sample.programs * len(soak.samples) / soak.seconds:,.0f}",
            f"{cuts[49]:.1f}",
            f"{cuts[98]:.1f}",
            f"{sample.host_kb / 1024:.1f}",
            f"{sample.slots_kb / 1024:.1f}",
            f"{sample.descriptors}",
        )
    return table


def as_json(soak: Soak) -> dict[str, Any]:
    rows = [
        {key: value for key, value in vars(sample).items() if key != "latencies"}
        | {"p99_ms": statistics.quantiles(sample.latencies, n=100)[98]}
        for sample in soak.samples
    ]
    return {"seconds": soak.seconds, "wrong": soak.wrong, "restarts": soak.restarts, "stretches": rows}
