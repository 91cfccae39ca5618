"""The endpoint of a process, asked as Prometheus asks."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from common.metrics.processes import ROLLOUT, WORKER
from common.telemetry import Telemetry, endpoint_host


def get(address: str, path: str) -> str:
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def samples(address: str) -> dict[tuple[str, ...], float]:
    """(series, values of the labels that not every series has) -> value."""
    found = {}
    for family in text_string_to_metric_families(get(address, "/metrics")):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert (labels.pop("run"), labels.pop("role"), labels.pop("worker")) == (
                "run-1",
                "orchestrator",
                "one",
            )
            found[(sample.name, *labels.values())] = sample.value
    return found


@pytest.fixture
def driver() -> Iterator[Telemetry]:
    telemetry = Telemetry("orchestrator", "one", "run-1", targets=lambda: ["10.0.0.1:1", "10.0.0.2:2"])
    yield telemetry
    telemetry.close()


def test_a_step_becomes_gauges_with_the_labels_of_run_and_process(driver: Telemetry) -> None:
    driver.record({"reward/mean": 0.5, "reward/brevity": 0.25, "reward/total/p10": 0.125, "seconds/step": 3.0}, 7)
    found = samples(driver.address)
    assert found["couplet_training_step",] == 7
    assert found["couplet_reward_mean",] == 0.5
    assert found["couplet_reward_component", "brevity"] == 0.25
    assert found["couplet_reward_quantile", "total", "p10"] == 0.125
    assert found["couplet_step_seconds",] == 3.0
    assert found["couplet_process_resident_memory_bytes",] > 1e6
    assert found["couplet_process_cpu_seconds_total",] > 0
    assert ("couplet_policy_kl",) not in found, "nobody has set it"


def test_a_key_that_is_not_declared_is_refused(driver: Telemetry) -> None:
    for wrong in (
        lambda: driver.record({"nonsense": 1.0}, 1),
        lambda: driver.set("nonsense", 1.0),
        lambda: driver.count("worker/tokens"),
    ):
        with pytest.raises(KeyError):
            wrong()


def test_the_counters_of_a_role_are_there_from_the_start() -> None:
    telemetry = Telemetry("rollout", "rollout-0", "run-1")
    try:
        telemetry.count("worker/tokens", 5)
        telemetry.set("worker/weights_version", 3)
        telemetry.set("worker/weights_delay", 0.2)
        text = get(telemetry.address, "/metrics")
        labels = 'role="rollout",run="run-1",worker="rollout-0"'
        assert f"couplet_worker_tokens_total{{{labels}}} 5.0" in text
        for metric in (*WORKER, *ROLLOUT):
            assert f"{metric.series_names[0]}{{{labels}}}" in text
        assert "couplet_reward_mean" not in text
    finally:
        telemetry.close()


def test_targets_are_what_prometheus_discovers_over_http(driver: Telemetry) -> None:
    assert json.loads(get(driver.address, "/targets")) == [{"targets": ["10.0.0.1:1", "10.0.0.2:2"]}]
    worker = Telemetry("learner", "learner-0", "run-1")
    try:
        for telemetry, path in ((worker, "/targets"), (driver, "/"), (driver, "/metrics/x")):
            with pytest.raises(urllib.error.HTTPError) as refused:
                get(telemetry.address, path)
            assert refused.value.code == 404
            refused.value.close()
    finally:
        worker.close()


def test_a_closed_endpoint_gives_its_port_back() -> None:
    first = Telemetry("learner", "learner-0", "run-1")
    port = int(first.address.rpartition(":")[2])
    first.close()
    second = Telemetry("learner", "learner-0", "run-1", port=port)
    assert second.address == first.address
    second.close()


def test_a_local_ray_is_served_on_loopback_and_an_address_of_ones_own_is_kept() -> None:
    assert endpoint_host("auto", "local") == "127.0.0.1"
    assert endpoint_host("192.0.2.1", "10.0.0.1:6379") == "192.0.2.1"
