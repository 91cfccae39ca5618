"""Groups per second through a run's streams with many producers, and what a long backlog costs."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from common.config import StreamsConfig
from common.records import PromptGroup, Rollout, RolloutGroup, Sampler, Task
from common.streams import PROMPTS, ROLLOUTS, Consumer, Patience, Streams, open_client
from orchestrator.fleet.embedded_redis import EmbeddedRedis

_PATIENCE_SECONDS = 60.0
_READ_AT_ONCE = 64


@dataclass(frozen=True)
class StreamsBenchSettings:
    """``producers`` simulated rollout workers share ``groups`` groups; backlogs grow to each of ``backlogs``.

    A group has ``completions`` completions of ``tokens`` tokens.
    """

    producers: int
    groups: int
    backlogs: tuple[int, ...]
    completions: int
    tokens: int


@dataclass(frozen=True)
class Throughput:
    """``rate``: groups per second from the prompt to the reward worker; ``p50_ms``: of a producer's turn.

    A turn is to read a prompt and to publish its group; ``bytes`` is the size of a group.
    """

    producers: int
    rate: float
    p50_ms: float
    p99_ms: float
    bytes: int


@dataclass(frozen=True)
class BacklogCost:
    """What a producer and a consumer take, in milliseconds, and the server's memory, with ``messages`` waiting."""

    messages: int
    publish_ms: float
    read_ms: float
    memory_mb: float


def run(settings: StreamsBenchSettings, said: Callable[[str], None]) -> tuple[Throughput, list[BacklogCost]]:
    """Measure on a server of its own; ``said`` is told of each part."""
    with tempfile.TemporaryDirectory(prefix="couplet-bench-") as folder, EmbeddedRedis(Path(folder)) as server:
        said(f"{settings.producers:,} producers")
        throughput = _throughput(server.url, settings)
        costs = []
        with _opened(server.url, "backlog") as streams:
            for count in settings.backlogs:
                said(f"a backlog of {count:,}")
                costs.append(_backlog_cost(streams, count, settings))
    return throughput, costs


def stages(settings: StreamsBenchSettings) -> int:
    """Return how many parts :func:`run` has."""
    return 1 + len(settings.backlogs)


def _throughput(url: str, settings: StreamsBenchSettings) -> Throughput:
    """Have every producer take prompts and publish completed groups, while one reward worker takes those."""
    share = max(1, settings.groups // settings.producers)
    total = share * settings.producers
    result = _group(settings)
    turns: list[float] = []
    ready = threading.Barrier(settings.producers + 1)

    def produce(number: int) -> None:
        with _opened(url, "throughput") as streams:
            consumer = Consumer(streams, PROMPTS, f"rollout-{number}")
            streams.depth(PROMPTS)  # the connection is made before time is taken
            ready.wait()
            for _ in range(share):
                began = time.perf_counter()
                (delivery,) = consumer.read(1, _PATIENCE_SECONDS)
                consumer.publish_and_acknowledge(delivery, result, _PATIENCE_SECONDS)
                turns.append(time.perf_counter() - began)

    with _opened(url, "throughput") as streams:
        streams.create()
        streams.publish(PROMPTS, [result.prompt.encode()] * total, deadline=_PATIENCE_SECONDS)
        threads = [
            threading.Thread(target=produce, args=(number,), daemon=True) for number in range(settings.producers)
        ]
        for thread in threads:
            thread.start()
        ready.wait()
        began, left = time.perf_counter(), total
        consumer = Consumer(streams, ROLLOUTS, "reward-0")
        while left:
            deliveries = consumer.read(_READ_AT_ONCE, _PATIENCE_SECONDS)
            consumer.acknowledge([delivery.id for delivery in deliveries])
            left -= len(deliveries)
        seconds = time.perf_counter() - began
        for thread in threads:
            thread.join()
    cuts = statistics.quantiles(turns, n=100)
    return Throughput(settings.producers, total / seconds, 1000 * cuts[49], 1000 * cuts[98], len(result.encode()))


def _backlog_cost(streams: Streams, count: int, settings: StreamsBenchSettings) -> BacklogCost:
    """Let the backlog of rollouts grow to ``count``, and time what comes on top of it."""
    data = _group(settings).encode()
    streams.create()
    while (missing := count - streams.depth(ROLLOUTS)) > 0:
        streams.publish(ROLLOUTS, [data] * min(missing, _READ_AT_ONCE), deadline=_PATIENCE_SECONDS)
    consumer = Consumer(streams, ROLLOUTS, "reward-0")
    publish, read = [], []
    for _ in range(50):
        publish.append(_seconds(lambda: streams.publish(ROLLOUTS, [data], deadline=_PATIENCE_SECONDS)))
        read.append(_seconds(lambda: consumer.acknowledge([one.id for one in consumer.read(1, 0.0)])))
    memory: Any = streams.client.info("memory")
    return BacklogCost(
        count, 1000 * statistics.median(publish), 1000 * statistics.median(read), memory["used_memory"] / 2**20
    )


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@contextmanager
def _opened(url: str, run_id: str) -> Iterator[Streams]:
    client = open_client(url, _PATIENCE_SECONDS)
    try:
        yield Streams(client, run_id, StreamsConfig(capacity=10**9), Patience(_PATIENCE_SECONDS))
    finally:
        client.close()


def _group(settings: StreamsBenchSettings) -> RolloutGroup:
    tokens = settings.tokens
    prompt = PromptGroup(
        run_id="bench",
        index=0,
        seed=0,
        task=Task(id="bench", prompt="Write a function that adds two numbers.", tests=()),
        group_size=settings.completions,
        min_version=0,
        sampler=Sampler(temperature=1.0, top_p=1.0, denoising_steps=tokens, completion_length=tokens),
    )
    rollouts = tuple(
        Rollout(
            sample=sample,
            completion_ids=tuple(range(100, 100 + tokens)),
            text="x = 1  # and so on\n" * (tokens // 8),
            end=tokens,
            step_map=tuple(range(tokens)),
            logprobs=(-0.5,) * tokens,
            model_logprobs=(-0.5,) * tokens,
            forwards=tokens,
            versions=(0, 0),
        )
        for sample in range(settings.completions)
    )
    return RolloutGroup(
        prompt=prompt,
        prompt_ids=tuple(range(64)),
        tokenizer_hash="bench",
        version=0,
        worker="rollout-0",
        seconds=1.0,
        rollouts=rollouts,
    )


def view(settings: StreamsBenchSettings, throughput: Throughput, costs: list[BacklogCost]) -> list[Table]:
    """Return the tables that the command prints."""
    rates = Table(title=f"{throughput.producers:,} producers, groups of {throughput.bytes / 1024:,.0f} KiB")
    for name in ("groups/s", "p50 ms", "p99 ms"):
        rates.add_column(name, justify="right")
    rates.add_row(f"{throughput.rate:,.0f}", f"{throughput.p50_ms:.1f}", f"{throughput.p99_ms:.1f}")
    backlog = Table(title="with a backlog", caption="medians of 50; all times are of one operation")
    for name in ("messages", "publish ms", "read and acknowledge ms", "server MiB"):
        backlog.add_column(name, justify="right")
    for cost in costs:
        backlog.add_row(
            f"{cost.messages:,}", f"{cost.publish_ms:.2f}", f"{cost.read_ms:.2f}", f"{cost.memory_mb:,.0f}"
        )
    return [rates, backlog]


def as_json(settings: StreamsBenchSettings, throughput: Throughput, costs: list[BacklogCost]) -> dict[str, Any]:
    """Return the result for ``--json``."""
    return {
        "settings": asdict(settings),
        "throughput": asdict(throughput),
        "backlogs": [asdict(cost) for cost in costs],
    }
