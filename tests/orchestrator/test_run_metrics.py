"""The metrics of a run as a whole, with a real Redis behind them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from common.config import Config
from common.metrics.processes import RUN
from common.streams import PROMPTS, Consumer, Streams, connect
from orchestrator.fleet.embedded_redis import EmbeddedRedis
from orchestrator.run_metrics import RunCollector, StreamCollector, TargetsFile


@dataclass
class FakePool:
    states: dict[str, str] = field(default_factory=dict)
    restarts: int = 0
    addresses: list[str] = field(default_factory=list)


CONFIG = Config.model_validate(
    {"run": {"steps": 100}, "model": {"path": "builtin:quickstart"}, "data": {"source": "synthetic"}}
)


def collected(streams: Streams, folder: Path, pools: dict[str, FakePool]) -> dict[tuple[str, ...], float]:
    labels = {"run": "r"}
    collectors = (RunCollector(CONFIG, folder, pools, labels, "1.2.3"), StreamCollector(CONFIG, streams, labels))
    return {
        (sample.name, *list(sample.labels.values())[1:]): sample.value
        for collector in collectors
        for family in collector.collect()
        for sample in family.samples
    }


def test_streams_pools_and_disk_are_told(redis_url: str, run_id: str, tmp_path: Path) -> None:
    streams = Streams(connect(redis_url), run_id, CONFIG.streams)
    streams.create()
    streams.publish(PROMPTS, [b"1", b"2", b"3"], deadline=1)
    (delivery,) = Consumer(streams, PROMPTS, "one").read(1, wait=0.1)
    pools = {"rollout": FakePool({"rollout-0": "healthy", "rollout-1": "dead"}, restarts=3)}
    found = collected(streams, tmp_path, pools)
    assert delivery.data == b"1"
    assert found["couplet_stream_messages", "prompts"] == 3
    assert found["couplet_stream_pending", "prompts"] == 1
    assert found["couplet_stream_delivered_total", "prompts"] == 1
    assert found["couplet_stream_messages", "dead-letters"] == 0
    assert ("couplet_stream_pending", "dead-letters") not in found
    assert found["couplet_stream_capacity", "trajectories"] == CONFIG.streams.capacity
    states = {state: found["couplet_fleet_workers", "rollout", state] for state in ("healthy", "dead", "stale")}
    assert states == {"healthy": 1, "dead": 1, "stale": 0}
    assert found["couplet_fleet_restarts_total", "rollout"] == 3
    assert 0 < found["couplet_run_disk_free_bytes",] < found["couplet_run_disk_size_bytes",]
    assert found["couplet_run_info", "couplet", "builtin:quickstart", "1.2.3"] == 1
    of_the_run = {metric.series_names[0] for metric in RUN} - {
        "couplet_training_step",
        "couplet_run_step_end_timestamp_seconds",
    }
    assert {name for name, *_ in found} == of_the_run, "the other two are set by the step"


def test_without_redis_the_rest_is_told(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server:
        streams = Streams(connect(server.url, 0.5), "r", CONFIG.streams)
    found = collected(streams, tmp_path, {})
    assert ("couplet_run_disk_free_bytes",) in found
    assert not any(name.startswith("couplet_stream") for name, *_ in found)


def test_a_redis_that_answers_with_errors_is_left_out(redis_url: str, run_id: str, tmp_path: Path) -> None:
    streams = Streams(connect(redis_url), run_id, CONFIG.streams)
    streams.client.set(streams.key(PROMPTS), "no stream")
    found = collected(streams, tmp_path, {})
    assert ("couplet_run_disk_free_bytes",) in found
    assert not any(name.startswith("couplet_stream") for name, *_ in found)


def test_the_targets_file_follows_the_processes(tmp_path: Path) -> None:
    addresses = ["10.0.0.1:1"]
    file = TargetsFile(tmp_path, lambda: list(addresses))
    file.refresh()
    path = tmp_path / "prometheus-targets.json"
    assert json.loads(path.read_text()) == [{"targets": ["10.0.0.1:1"]}]
    written = path.stat().st_ino
    file.refresh()
    assert path.stat().st_ino == written, "nothing has changed"
    addresses.append("10.0.0.2:2")
    file.refresh()
    assert json.loads(path.read_text()) == [{"targets": ["10.0.0.1:1", "10.0.0.2:2"]}]


@pytest.mark.parametrize("stream", ["prompts", "rollouts"])
def test_a_stream_that_does_not_exist_yet_is_empty(
    redis_url: str, run_id: str, stream: str, tmp_path: Path
) -> None:
    streams = Streams(connect(redis_url), run_id, CONFIG.streams)
    assert collected(streams, tmp_path, {})["couplet_stream_messages", stream] == 0
