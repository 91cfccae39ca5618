"""Tokens that a step computes, against the passes that the algorithms make."""

from __future__ import annotations

import pytest

from common.config import LearnerConfig
from orchestrator.reproduction.compute import learner_tokens, rollout_tokens
from tests.learner.learner_tools import LENGTH, lost_group, make_group

PROMPT = 3
GROUPS = [make_group(0, (0.0, 1.0, 0.5, 0.0)), make_group(1, (1.0, 1.0, 1.0, 0.0)), lost_group(2)]
SAMPLES = 8


def test_a_rollout_costs_its_whole_canvas_at_every_forward_pass() -> None:
    forwards = 2 * sum(LENGTH + i for i in range(4))
    assert rollout_tokens(GROUPS) == forwards * (PROMPT + LENGTH)


@pytest.mark.parametrize(
    ("preset", "passes"),
    [
        # Views of a sample, times: 3 for each pass with its gradient, 1 for each pass of the reference, and 1 for
        # the old estimates of each iteration but the first.
        ("diffucoder", 3 * (2 * 3 + 2 + 1)),
        ("d1", 1 * (12 * 3 + 12 + 11)),
        ("wd1", 1 * (12 * 3)),
        ("bgpo", 16 * 3),
        ("gdsd", 8 * (8 * 3 + 8 + 7)),
        ("justgrpo", LENGTH * 3),
    ],
)
def test_a_sample_costs_its_views_in_every_pass(preset: str, passes: int) -> None:
    config = LearnerConfig.model_validate({"preset": preset})
    assert learner_tokens(GROUPS, config, seed=0) == SAMPLES * passes * (PROMPT + LENGTH)


def test_minibatches_after_the_first_take_old_estimates() -> None:
    """Of the 4 minibatches of the one iteration, the first alone has none; no reference is held."""
    config = LearnerConfig.model_validate({"preset": "diffucoder", "inner_iterations": 1, "minibatches": 4})
    assert learner_tokens(GROUPS, config, seed=0) == SAMPLES * 3 * (3 + 1 + 0.75) * (PROMPT + LENGTH)


def test_groups_without_a_signal_cost_nothing_where_they_are_skipped() -> None:
    flat = make_group(3, (1.0, 1.0))
    for treated, count in (("score", 2), ("skip", 0)):
        config = LearnerConfig.model_validate({"preset": "diffucoder", "zero_variance_groups": treated})
        assert learner_tokens([flat], config, seed=0) == count * 27 * (PROMPT + LENGTH)
