from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from common.config import RewardFunctionConfig
from common.metrics.processes import SCORING_COUNTERS, SCORING_GAUGES, SCORING_SPANS
from common.records import Verdict
from reward_service.metrics import BOUNDS, ScoringCollector, ScoringMetrics
from reward_service.rewards import RewardRule
from reward_service.scoring import Scorer
from reward_service.user_rewards import load_reward_functions
from sandbox.types import Outcome
from tests.reward_service import composed_rewards
from tests.reward_service.scoring_tools import BAD, GOOD, TASK, FakeSandbox, outcome, value

Samples = dict[tuple[str, str], float]


def exported(metrics: ScoringMetrics) -> Samples:
    """(series, value of its last label) -> value."""
    registry = CollectorRegistry()
    registry.register(ScoringCollector(metrics, {"worker": "w-0"}))
    samples: Samples = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("worker") == "w-0"
            samples[sample.name, "".join(labels.values())] = sample.value
    return samples


def test_what_scoring_counts_is_exported() -> None:
    scorer = Scorer(FakeSandbox(value(3), slots_live=2, slot_restarts=5, slots=2))
    scorer.score_group(TASK, [GOOD, GOOD, BAD])
    found = exported(scorer.metrics)
    assert found["couplet_scoring_executions_total", ""] == 2
    assert found["couplet_scoring_completions_total", ""] == 3
    assert found["couplet_scoring_groups_total", ""] == 1
    assert found["couplet_scoring_tests_total", "passed"] == 3
    assert found["couplet_scoring_tests_total", "failed"] == 3
    assert {verdict for name, verdict in found if name == "couplet_scoring_tests_total"} == set(Verdict)
    assert (found["couplet_scoring_slots_live", ""], found["couplet_scoring_slot_restarts", ""]) == (2, 5)
    assert found["couplet_scoring_group_seconds_count", ""] == 1
    assert found["couplet_scoring_queue_wait_seconds_count", ""] == 2
    assert found["couplet_scoring_queue_wait_seconds_bucket", "+Inf"] == 2


def test_excluded_completions_and_retries_are_counted() -> None:
    scorer = Scorer(FakeSandbox(outcome(Outcome.INFRA)))
    scorer.score_group(TASK, [GOOD])
    found = scorer.metrics.collect()
    assert (found["scoring/excluded"], found["scoring/infra_retries"]) == (1, 1)
    assert scorer.metrics.verdicts()[Verdict.INFRA] == 2
    assert exported(scorer.metrics)["couplet_scoring_exclusions_total", "sandbox"] == 1


def test_groups_that_cannot_be_scored_are_counted_by_reason() -> None:
    functions = [RewardFunctionConfig(path=f"{composed_rewards.__name__}:level")]
    unknown = [RewardFunctionConfig(path=f"{composed_rewards.__name__}:unknown_of_a")]
    scorer = Scorer(FakeSandbox(value(3)), rule=RewardRule(functions=load_reward_functions(functions)))
    malformed = TASK.model_copy(update={"in_process": True})
    for task in (TASK, malformed):
        with pytest.raises(ValueError, match=r"level raised KeyError|in_process"):
            scorer.score_group(task, [GOOD])
    found = exported(scorer.metrics)
    lost = {label: count for (name, label), count in found.items() if name == "couplet_scoring_lost_total"}
    assert {label for label, count in lost.items() if count} == {"function_raised", "task"}
    assert {"function_late", "function_died", "function_no_number", "deliveries"} <= set(lost)
    scorer = Scorer(FakeSandbox(value(3)), rule=RewardRule(functions=load_reward_functions(unknown)))
    (score,) = scorer.score_group(TASK, ["a"])
    assert (score.excluded, score.reason) == (True, "unknown_of_a cannot tell: the judge is down")
    assert exported(scorer.metrics)["couplet_scoring_exclusions_total", "unknown_reward"] == 1


def test_every_declared_figure_is_there_from_the_start() -> None:
    metrics = ScoringMetrics(FakeSandbox(value(3)))
    assert set(metrics.collect()) == {metric.key for metric in (*SCORING_COUNTERS, *SCORING_GAUGES)}
    assert set(metrics.durations()) == {metric.key for metric in SCORING_SPANS}
    with pytest.raises(KeyError):
        metrics.count("scoring/nonsense")


def test_durations_fall_into_their_buckets() -> None:
    metrics = ScoringMetrics(FakeSandbox(value(3)))
    for seconds in (0.0, BOUNDS[0], 0.03, 1e6):
        metrics.time("scoring/group", seconds)
    span = metrics.durations()["scoring/group"]
    assert (span.buckets[0], span.buckets[4], span.buckets[-1]) == (2, 1, 1)
    assert span.total == pytest.approx(1e6 + BOUNDS[0] + 0.03)
