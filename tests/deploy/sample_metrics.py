"""Ten minutes of every metric of the registry, and of those from outside, put into the storage of a Prometheus."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from common.metrics.metric import Kind, Metric
from common.metrics.processes import PROCESS
from common.metrics.registry import BY_ROLE, METRICS
from common.metrics.stages import EIGHTHS
from common.metrics.step import QUANTILES, TENTHS, TOTAL
from tests.deploy.outside_metrics import OUTSIDE
from tests.deploy.tools import tool

RUN = "mbpp-1a2b3c4d"
#: A run of the same name in a namespace of Kubernetes; the other is in none.
NAMESPACE = "team-b"
SECONDS = 600
_EVERY = 10
_BUCKETS = ("0.1", "1.0", "+Inf")
_VALUES = {
    "component": ("tests", "format", TOTAL),
    "quantile": tuple(QUANTILES),
    "tenth": tuple(map(str, range(TENTHS))),
    "eighth": tuple(map(str, range(EIGHTHS))),
    "ratio": ("0.15", "0.5", "0.85"),
    "pool": ("rollout", "reward", "learner"),
    "state": ("healthy", "dead"),
    "stream": ("prompts", "rollouts"),
    "verdict": ("passed", "failed", "infra"),
    "reason": ("function_raised", "sandbox"),
    "metric": ("spread",),
    "path": ("/v1/score",),
    "status": ("200", "429"),
    "name": ("mbpp",),
    "model": ("Dream-7B",),
    "version": ("0.1.0",),
}


def write_sample(folder: Path) -> None:
    """Make the storage ``folder``, which must not exist yet; the samples end now."""
    text = folder.with_suffix(".txt")
    end = time.time()
    times = [end - SECONDS + second for second in range(0, SECONDS + 1, _EVERY)]
    lines = [line for metric in METRICS for line in _family(metric, times)]
    lines += [line for name, labels in OUTSIDE.items() for line in _outside(name, labels, times)]
    text.write_text("\n".join([*lines, "# EOF", ""]))
    command = [str(tool("promtool")), "tsdb", "create-blocks-from", "openmetrics", str(text), str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def _family(metric: Metric, times: list[float]) -> Iterator[str]:
    yield f"# TYPE {metric.prometheus_name} {metric.kind.value}"
    for process in _processes(metric):
        for labels in itertools.product(*(_VALUES[name] for name in metric.labels)):
            chosen = process | dict(zip(metric.labels, labels, strict=True))
            yield from _series(metric.prometheus_name, metric.kind, chosen, times)


def _outside(name: str, samples: tuple[dict[str, str], ...], times: list[float]) -> Iterator[str]:
    """Of a cluster in no namespace, and of one in :data:`NAMESPACE`, whose nodes have addresses of their own."""
    kind = Kind.COUNTER if name.endswith("_total") else Kind.GAUGE
    family = name.removesuffix("_total")
    yield f"# TYPE {family} {kind.value}"
    for labels in samples:
        yield from _series(family, kind, labels, times)
        there = {key: value.replace("10.0.0.", "10.0.1.") for key, value in labels.items()}
        yield from _series(family, kind, {**there, "namespace": NAMESPACE}, times)


def _series(name: str, kind: Kind, labels: dict[str, str], times: list[float]) -> Iterator[str]:
    for age, moment in enumerate(times):
        for suffix, more, value in _samples(kind, age):
            text = ",".join(f'{key}="{one}"' for key, one in (labels | more).items())
            yield f"{name}{suffix}{{{text}}} {value} {moment:.3f}"


def _processes(metric: Metric) -> Iterator[dict[str, str]]:
    """Labels of the processes that export it: of two runs, and of a reward service of no run."""
    for role, metrics in BY_ROLE.items():
        if metric in (*PROCESS, *metrics):
            yield {"run": RUN, "role": role, "worker": f"{role}-0"}
            yield {"namespace": NAMESPACE, "run": RUN, "role": role, "worker": f"{role}-0"}
            if role == "reward-service":
                yield {"role": role, "worker": f"{role}-1"}


def _samples(kind: Kind, age: int) -> Iterator[tuple[str, dict[str, str], float]]:
    if kind is Kind.GAUGE:
        yield "", {}, 0.5 + age / 200
    elif kind is Kind.COUNTER:
        yield "_total", {}, 3.0 * age
    else:
        for place, bound in enumerate(_BUCKETS, 1):
            yield "_bucket", {"le": bound}, 2.0 * age * place
        yield "_count", {}, 2.0 * age * len(_BUCKETS)
        yield "_sum", {}, 1.5 * age
