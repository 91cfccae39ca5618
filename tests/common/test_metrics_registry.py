"""What the declarations promise to everything that is made from them."""

from __future__ import annotations

import re

import pytest

from common.config.reward import RESERVED_COMPONENTS
from common.metrics.metric import PROCESS_LABELS, Kind
from common.metrics.registry import BY_ROLE, METRICS, find
from common.metrics.stages import STAGE_METRICS
from common.metrics.step import STEP_METRICS


def test_every_metric_is_declared_once() -> None:
    assert len({metric.key for metric in METRICS}) == len(METRICS)
    names = [name for metric in METRICS for name in metric.series_names]
    assert len(set(names)) == len(names)


def test_names_follow_the_conventions_of_prometheus() -> None:
    for metric in METRICS:
        for name in metric.series_names:
            assert re.fullmatch(r"couplet_[a-z][a-z0-9_]*[a-z0-9]", name)
            assert "seconds_seconds" not in name
        assert metric.prometheus_name.endswith("_total") is False, "prometheus-client adds it"
        assert (metric.unit in metric.prometheus_name) if metric.unit else True
        assert not set(metric.labels) & set(PROCESS_LABELS)
        assert metric.help[0].isupper() or metric.help[0].isdigit() or "." in metric.help.split()[0]
        assert not metric.help.endswith(".")


def test_a_counter_has_the_suffix_that_prometheus_gives_it_and_a_histogram_three() -> None:
    for metric in METRICS:
        endings = {Kind.GAUGE: [""], Kind.COUNTER: ["_total"], Kind.HISTOGRAM: ["_bucket", "_sum", "_count"]}
        assert metric.series_names == tuple(metric.prometheus_name + end for end in endings[metric.kind])


def test_a_key_of_a_step_finds_its_metric_and_labels() -> None:
    assert find("reward/mean")[0].prometheus_name == "couplet_reward_mean"
    for key, name, labels in (
        ("reward/tests", "couplet_reward_component", {"component": "tests"}),
        ("reward/total/p90", "couplet_reward_quantile", {"component": "total", "quantile": "p90"}),
        ("diffusion/order/7", "couplet_decode_order", {"tenth": "7"}),
        ("denoising/loss_at_t/9", "couplet_denoising_loss_at_t_nats", {"tenth": "9"}),
        ("denoising/loss_at_position/0", "couplet_denoising_loss_at_position_nats", {"eighth": "0"}),
        ("held_out/loss_at_t/0.15", "couplet_held_out_loss_at_t_nats", {"ratio": "0.15"}),
    ):
        metric, found = find(key)
        assert (metric.prometheus_name, found) == (name, labels)


@pytest.mark.parametrize(
    "key", ["nonsense", "reward", "reward/", "reward/a/b/c", "policy/nonsense", "worker/busy"]
)
def test_a_key_that_is_not_declared_is_refused(key: str) -> None:
    with pytest.raises(KeyError):
        find(key)


def test_a_reward_function_cannot_take_the_name_of_a_metric() -> None:
    taken = {m.key.removeprefix("reward/") for m in STEP_METRICS if m.key.startswith("reward/") and not m.labels}
    assert set(RESERVED_COMPONENTS) == taken | {"tests", "format", "total"}


def test_every_role_has_metrics_of_its_own() -> None:
    assert all(BY_ROLE.values())
    assert {*STEP_METRICS, *STAGE_METRICS} <= set(BY_ROLE["orchestrator"])
