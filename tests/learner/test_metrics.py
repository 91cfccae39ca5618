from __future__ import annotations

import math

import pytest

from common.metrics.registry import find
from common.records import Score, TrajectoryGroup, Verdict
from learner.metrics import batch_metrics
from tests.learner.learner_tools import END_ID, LENGTH, lost_group, make_group

GROUPS = [
    make_group(0, (0.0, 1.0, 1.0), version=4, excluded=[False, False, True], ends=[2, LENGTH, 1], seconds=1.0),
    make_group(1, (1.0, 1.0), version=3, ends=[3, LENGTH], seconds=2.0),
    make_group(2, (0.25, 0.5, 0.0), version=1, ends=[0, 4, 5], seconds=3.0, decoder="threshold"),
]


def kept_scores(groups: list[TrajectoryGroup]) -> list[Score]:
    found = []
    for group in groups:
        for score in group.scores:
            if not score.excluded:
                found.append(score)
    return found


def test_rewards_against_a_loop() -> None:
    metrics = batch_metrics(GROUPS, version=4)
    rewards, solved, passed, verdicts = [], 0, 0, 0
    for score in kept_scores(GROUPS):
        rewards.append(score.reward)
        solved += all(verdict == Verdict.PASSED for verdict in score.verdicts)
        for verdict in score.verdicts:
            verdicts += 1
            passed += verdict == Verdict.PASSED
    assert len(rewards) == 7
    mean = sum(rewards) / 7
    assert metrics["reward/mean"] == pytest.approx(mean)
    assert metrics["reward/std"] == pytest.approx(math.sqrt(sum((r - mean) ** 2 for r in rewards) / 7))
    assert metrics["reward/tests"] == pytest.approx(mean)
    assert metrics["reward/format"] == 1.0
    assert metrics["reward/solved"] == pytest.approx(solved / 7)
    assert metrics["reward/pass_rate"] == pytest.approx(passed / verdicts)
    assert metrics["reward/excluded"] == 1


def test_groups_staleness_and_lengths_against_a_loop() -> None:
    metrics = batch_metrics(GROUPS, version=4)
    assert metrics["groups/trained"] == 3
    assert metrics["groups/zero_variance"] == pytest.approx(1 / 3)
    assert metrics["staleness/mean"] == pytest.approx((0 + 1 + 3) / 3)
    assert metrics["staleness/max"] == 3
    assert metrics["response/length_mean"] == pytest.approx((2 + 6 + 1 + 3 + 6 + 0 + 4 + 5) / 8)
    assert metrics["response/truncated"] == pytest.approx(2 / 8)
    assert metrics["seconds/rollout"] == pytest.approx(12.0)
    assert metrics["seconds/reward"] == pytest.approx(6.0)


@pytest.mark.parametrize(("k", "suffix"), [(1, ""), (4, "_at_4")])
def test_ar_ness_against_a_loop(k: int, suffix: str) -> None:
    local, overall, samples = 0.0, 0.0, 0
    for group in GROUPS:
        assert group.rollouts is not None
        for rollout in group.rollouts.rollouts:
            steps = rollout.step_map[: rollout.end + 1]
            order = [k for step in range(LENGTH) for k in range(len(steps)) if steps[k] == step]
            hits = [set(order[i - k : i]) == set(range(order[i] - k, order[i])) for i in range(k, len(order))]
            local += sum(hits) / len(hits) if hits else 1.0
            leftmost = [order[i] in sorted(order[i:])[:k] for i in range(len(order))]
            overall += sum(leftmost) / len(leftmost)
            samples += 1
    metrics = batch_metrics(GROUPS, version=4)
    assert metrics[f"diffusion/ar_ness_local{suffix}"] == pytest.approx(local / samples)
    assert metrics[f"diffusion/ar_ness_global{suffix}"] == pytest.approx(overall / samples)
    assert 0 < metrics[f"diffusion/ar_ness_local{suffix}"] < 1


def test_ar_ness_of_right_to_left_decoding() -> None:
    group = make_group(0, (0.0, 1.0))
    assert group.rollouts is not None
    backwards = [r.model_copy(update={"step_map": tuple(range(LENGTH))[::-1]}) for r in group.rollouts.rollouts]
    rolled = group.rollouts.model_copy(update={"rollouts": tuple(backwards)})
    metrics = batch_metrics([group.model_copy(update={"rollouts": rolled})], version=0)
    assert metrics["diffusion/ar_ness_local"] == metrics["diffusion/ar_ness_local_at_4"] == 0
    assert metrics["diffusion/ar_ness_global"] == pytest.approx(1 / LENGTH)
    assert metrics["diffusion/ar_ness_global_at_4"] == pytest.approx(4 / LENGTH)


def committed_in(order: list[int], length: int, end: int) -> TrajectoryGroup:
    """A group whose completions commit one position after the other, those after the end too."""
    group = make_group(0, (0.0, 1.0))
    assert group.rollouts is not None
    step_of = {position: step for step, position in enumerate(order)}
    changes = {
        "completion_ids": (2,) * end + (END_ID,) * (length - end),
        "end": end,
        "step_map": tuple(step_of[k] if k <= end else -1 for k in range(length)),
        "logprobs": (0.0,) * length,
        "model_logprobs": (0.0,) * length,
        "overwritten": tuple((k, 7, step_of[k]) for k in range(end + 1, length) if k in step_of),
    }
    rollouts = tuple(rollout.model_copy(update=changes) for rollout in group.rollouts.rollouts)
    rolled = group.rollouts.model_copy(update={"rollouts": rollouts})
    return group.model_copy(update={"rollouts": rolled})


FROM_BOTH_SIDES = [0, 15, 1, 14, 2, 13, 3, 12, 4, 11, 5, 10, 6, 9, 7, 8]


@pytest.mark.parametrize(
    ("order", "length", "end"),
    [
        (FROM_BOTH_SIDES, 16, 8),
        ([*range(15, 3, -1), *range(4)], 16, 3),
        ([15, 9, 12, *range(4)], 16, 3),
        (list(range(8)), 8, 7),
        ([*range(3, 9), *range(3)], 9, 2),
        ([8, 0], 9, 0),
    ],
)
@pytest.mark.parametrize(("k", "suffix"), [(1, ""), (4, "_at_4")])
def test_the_executed_order_has_what_was_committed_after_the_end(
    order: list[int], length: int, end: int, k: int, suffix: str
) -> None:
    metrics = batch_metrics([committed_in(order, length, end)], version=0)
    assert metrics[f"diffusion/ar_ness_local{suffix}"] == metrics[f"diffusion/ar_ness_global{suffix}"] == 1
    local = [set(order[i - k : i]) == set(range(order[i] - k, order[i])) for i in range(k, len(order))]
    left_most, masked = [], set(range(length))
    for position in order:
        left_most.append(position in sorted(masked)[:k])
        masked.remove(position)
    expected = sum(local) / len(local) if local else 1.0
    assert metrics[f"diffusion/executed_ar_ness_local{suffix}"] == pytest.approx(expected)
    assert metrics[f"diffusion/executed_ar_ness_global{suffix}"] == pytest.approx(sum(left_most) / len(order))


def test_a_text_in_order_between_a_tail_from_the_right() -> None:
    metrics = batch_metrics([committed_in(FROM_BOTH_SIDES, 16, 8)], version=0)
    of_text = metrics["diffusion/ar_ness_local"], metrics["diffusion/ar_ness_global"]
    executed = metrics["diffusion/executed_ar_ness_local"], metrics["diffusion/executed_ar_ness_global"]
    assert of_text == (1, 1)
    assert [round(value, 2) for value in executed] == [0.07, 0.56]


def test_quantiles_of_rewards_and_components_against_a_sorted_list() -> None:
    metrics = batch_metrics(GROUPS, version=4)
    rewards = sorted(score.reward for score in kept_scores(GROUPS))
    for name, share in (("p10", 0.1), ("p50", 0.5), ("p90", 0.9)):
        place = share * (len(rewards) - 1)
        below = int(place)
        above = min(below + 1, len(rewards) - 1)
        quantile = rewards[below] + (place - below) * (rewards[above] - rewards[below])
        assert metrics[f"reward/total/{name}"] == pytest.approx(quantile)
        assert metrics[f"reward/tests/{name}"] == pytest.approx(quantile)  # the tests are all of these rewards
        assert metrics[f"reward/format/{name}"] == 1.0


def test_the_order_of_tenths_against_a_loop() -> None:
    metrics = batch_metrics(GROUPS, version=4)
    ranks: dict[int, list[float]] = {}
    for group in GROUPS:
        assert group.rollouts is not None
        for rollout in group.rollouts.rollouts:
            steps = list(rollout.step_map[: rollout.text_tokens])
            order = sorted(range(len(steps)), key=lambda k: (steps[k], k))
            for rank, k in enumerate(order):
                if len(order) > 1:
                    ranks.setdefault(10 * k // len(order), []).append(rank / (len(order) - 1))
    found = {key: value for key, value in metrics.items() if key.startswith("diffusion/order/")}
    assert found == {f"diffusion/order/{t}": pytest.approx(sum(r) / len(r)) for t, r in ranks.items()}


@pytest.mark.parametrize(("backwards", "first", "last"), [(False, 0.0, 1.0), (True, 1.0, 0.0)])
def test_the_order_of_tenths_of_one_way_decoding(backwards: bool, first: float, last: float) -> None:
    group = make_group(0, (0.0, 1.0), ends=[LENGTH, LENGTH])
    assert group.rollouts is not None
    steps = tuple(range(LENGTH))[:: -1 if backwards else 1]
    turned = tuple(r.model_copy(update={"step_map": steps}) for r in group.rollouts.rollouts)
    rolled = group.rollouts.model_copy(update={"rollouts": turned})
    metrics = batch_metrics([group.model_copy(update={"rollouts": rolled})], version=0)
    tenths = sorted(key for key in metrics if key.startswith("diffusion/order/"))
    assert (metrics[tenths[0]], metrics[tenths[-1]]) == (first, last)


def test_forward_passes_and_surprisal_against_a_loop() -> None:
    metrics = batch_metrics(GROUPS, version=4)
    forwards, tokens, surprisals = [], 0, []
    for index, ends in enumerate(([2, LENGTH, 1], [3, LENGTH], [0, 4, 5])):
        for sample, end in enumerate(ends):
            forwards.append(LENGTH + sample)
            for k in range(LENGTH):
                if k <= end:  # the token that ends the text was sampled, those after it were not
                    tokens += 1
                    surprisals.append(0.25 * (1 + index + sample + k))
    assert metrics["diffusion/steps"] == pytest.approx(sum(forwards) / 8)
    assert metrics["diffusion/tokens_per_forward"] == pytest.approx(tokens / sum(forwards))
    assert metrics["diffusion/surprisal"] == pytest.approx(sum(surprisals) / tokens)
    assert metrics["diffusion/approximate"] == pytest.approx(1 / 3)


def test_staleness_goes_by_the_oldest_start_of_a_group() -> None:
    group = make_group(0, (0.0, 1.0, 2.0), version=2)
    assert group.rollouts is not None
    assert {rollout.versions for rollout in group.rollouts.rollouts} == {(2, 2), (3, 3), (4, 4)}
    metrics = batch_metrics([group], version=5)
    assert (metrics["staleness/mean"], metrics["staleness/max"]) == (3, 3)


def test_groups_without_completions_say_nothing_about_denoising() -> None:
    metrics = batch_metrics([lost_group(0)], version=0)
    assert (metrics["diffusion/steps"], metrics["diffusion/tokens_per_forward"]) == (0, 0)
    assert (metrics["diffusion/ar_ness_local_at_4"], metrics["diffusion/surprisal"]) == (1, 0)


@pytest.mark.parametrize(
    "groups",
    [[], [lost_group(0)], [make_group(0, excluded=[True, True])], GROUPS],
    ids=["none", "lost", "excluded", "some"],
)
def test_every_metric_is_finite_and_declared(groups: list[TrajectoryGroup]) -> None:
    metrics = batch_metrics(groups, version=2) if groups else {}
    for key in metrics:
        find(key)
    assert all(math.isfinite(value) for value in metrics.values())
