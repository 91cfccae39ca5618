"""Programs per second of the default sandbox: ``python -m benchmarks.sandbox [SECONDS]``.

One program is one fork with 8 calls, or one script on stdin. Latencies are milliseconds per program.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from sandbox.jail import JailSandbox
from sandbox.types import Case, Limits, Outcome, Program

_CALLS = Program(
    "def add(a, b):\n    return a + b\n",
    tuple(Case(str(i), "call", call=f"add({i}, 1)") for i in range(8)),
)
_SCRIPT = Program("print(int(input()) + int(input()))", (Case("0", "stdin", stdin="1\n2\n"),))


def measure(program: Program, slots: int, seconds: float) -> tuple[str, int, float, list[float]]:
    """Level, programs run, seconds taken and the latency of each in seconds."""
    limits = Limits()
    with JailSandbox(slots) as sandbox, ThreadPoolExecutor(slots) as pool:

        def keep_running(until: float) -> list[float]:
            latencies = []
            while (started := time.perf_counter()) < until:
                runs = sandbox.run(program, limits)
                latencies.append(time.perf_counter() - started)
                assert all(run.outcome is Outcome.OK for run in runs)
            return latencies

        list(pool.map(lambda _: sandbox.run(program, limits), range(4 * slots)))
        started = time.perf_counter()
        done = list(pool.map(keep_running, [started + seconds] * slots))
        taken = time.perf_counter() - started
        latencies = [latency for part in done for latency in part]
        return sandbox.describe()["level"], len(latencies), taken, latencies


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    titles = ("slots", "level", "programs/s", "tests/s", "min ms", "p50 ms", "p99 ms")
    print(f"{'program':<10}" + "".join(f"{title:>12}" for title in titles))
    for name, program in (("8 calls", _CALLS), ("script", _SCRIPT)):
        for slots in (1, 2):
            level, count, taken, latencies = measure(program, slots, seconds)
            rate = count / taken
            shown = [1000 * value for value in (min(latencies), *_percentiles(latencies))]
            row = (
                slots,
                level,
                f"{rate:.0f}",
                f"{rate * len(program.cases):.0f}",
                *(f"{v:.2f}" for v in shown),
            )
            print(f"{name:<10}" + "".join(f"{cell:>12}" for cell in row))


def _percentiles(latencies: list[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(latencies, n=100)
    return cuts[49], cuts[98]


if __name__ == "__main__":
    main()
