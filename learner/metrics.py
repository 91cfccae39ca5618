"""Metrics of a batch of groups, before it is trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev

import numpy as np

from common.ar_ness import decode_order, global_ar_ness, local_ar_ness, never_committed
from common.metrics.step import QUANTILES, TENTHS, TOTAL
from common.records import Mismatch, TrajectoryGroup, Verdict
from learner.advantages import has_variance


def batch_metrics(groups: Sequence[TrajectoryGroup], version: int) -> dict[str, float]:
    """Compute the flat metrics of a step's groups, which are to train weights of ``version``.

    Excluded samples count neither in the rewards nor in a group's variance, only by their number; they were
    denoised like the others and count in the rest.
    ``staleness/`` goes by a group's version, the oldest that any of its completions started from, although
    completions may have started from newer weights or have met them on the way.
    """
    scores = [score for group in groups for score in group.scores if not score.excluded]
    samples = sum(len(group.scores) for group in groups)
    rewards = [score.reward for score in scores] or [0.0]
    verdicts = [verdict for score in scores for verdict in score.verdicts if verdict is not Verdict.SKIPPED]
    rolled = [group.rollouts for group in groups if group.rollouts is not None]
    rollouts = [rollout for rolled_group in rolled for rollout in rolled_group.rollouts]
    step_maps = [rollout.step_map[: rollout.text_tokens] for rollout in rollouts]
    forwards = [rollout.forwards for rollout in rollouts]
    surprisal = [-lp for rollout in rollouts for lp in rollout.model_logprobs[: rollout.text_tokens]]
    staleness = [version - rolled_group.version for rolled_group in rolled]
    flat = [
        not has_variance([s.reward for s in group.scores], [not s.excluded for s in group.scores])
        for group in groups
    ]
    names = sorted({name for score in scores for name in score.components})
    components = {name: [score.components[name] for score in scores] for name in names}
    measured = sum((rollout.mismatch for rollout in rollouts), Mismatch())
    return {
        "reward/mean": fmean(rewards),
        "reward/std": pstdev(rewards),
        **{f"reward/{name}": fmean(values) for name, values in components.items()},
        **_quantiles({TOTAL: rewards, **components}),
        "reward/solved": fmean([float(score.passed) for score in scores] or [0.0]),
        "reward/pass_rate": fmean([float(verdict is Verdict.PASSED) for verdict in verdicts] or [0.0]),
        "reward/excluded": float(samples - len(scores)),
        "groups/trained": float(len(groups)),
        "groups/zero_variance": fmean(flat),
        "response/length_mean": fmean([float(rollout.end) for rollout in rollouts] or [0.0]),
        "response/truncated": fmean(
            [float(rollout.end == len(rollout.completion_ids)) for rollout in rollouts] or [0.0]
        ),
        **_ar_ness("", step_maps),
        **_ar_ness("executed_", [rollout.executed_step_map for rollout in rollouts]),
        "diffusion/steps": fmean(forwards or [0]),
        "diffusion/tokens_per_forward": sum(rollout.text_tokens for rollout in rollouts) / max(sum(forwards), 1),
        "diffusion/surprisal": fmean(surprisal or [0.0]),
        **_order_by_tenth([decode_order(step_map) for step_map in step_maps]),
        "diffusion/approximate": fmean([float(group.prompt.sampler.approximate) for group in groups]),
        **_of_approximation(measured),
        "staleness/mean": fmean(staleness or [0]),
        "staleness/max": float(max(staleness, default=0)),
        "seconds/rollout": sum(rolled_group.seconds for rolled_group in rolled),
        "seconds/reward": sum(group.seconds for group in groups),
    }


def _of_approximation(measured: Mismatch) -> dict[str, float]:
    """Compute the means of a step's measured tokens: none where none was measured."""
    if not measured.tokens:
        return {}
    return {
        "approximation/log_ratio": measured.log_ratio / measured.tokens,
        "approximation/kl": measured.kl / measured.tokens,
        "approximation/tokens": float(measured.tokens),
    }


def _ar_ness(of: str, step_maps: Sequence[Sequence[int]]) -> dict[str, float]:
    """Compute the mean AR-ness of decoding orders; what was never committed stayed masked throughout."""
    orders = [(decode_order(step_map), never_committed(step_map)) for step_map in step_maps]
    return {
        f"diffusion/{of}ar_ness_{kind}{'' if k == 1 else f'_at_{k}'}": fmean(values or [1.0])
        for k in (1, 4)
        for kind, values in (
            ("local", [local_ar_ness(order, k) for order, _ in orders]),
            ("global", [global_ar_ness(order, k, never) for order, never in orders]),
        )
    }


def _quantiles(parts: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {
        f"reward/{part}/{name}": float(value)
        for part, values in parts.items()
        for name, value in zip(QUANTILES, np.quantile(values, list(QUANTILES.values())), strict=True)
    }


def _order_by_tenth(orders: Sequence[Sequence[int]]) -> dict[str, float]:
    """Compute the mean rank of the tokens in each tenth of their text; tenths without a token are left out.

    Decoded from left to right, tenth 0 is near 0 and tenth 9 near 1; in random order all are near 0.5.
    """
    sums, counts = np.zeros(TENTHS), np.zeros(TENTHS)
    for order in orders:
        if len(order) < 2:
            continue
        tenths = np.asarray(order) * TENTHS // (max(order) + 1)
        np.add.at(sums, tenths, np.arange(len(order)) / (len(order) - 1))
        np.add.at(counts, tenths, 1)
    return {f"diffusion/order/{tenth}": sums[tenth] / counts[tenth] for tenth in range(TENTHS) if counts[tenth]}
