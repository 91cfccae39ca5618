"""What a batch of groups says about the policy, before it is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, pstdev

from common.ar_ness import decode_order, global_ar_ness, local_ar_ness
from common.records import TrajectoryGroup, Verdict
from learner.advantages import has_variance


def batch_metrics(groups: Sequence[TrajectoryGroup], version: int) -> dict[str, float]:
    """Flat metrics of a step's groups, which are to train weights of ``version``.

    Masked samples count neither in the rewards nor in a group's variance, only by their number; they were denoised
    like the others and count in the rest.
    ``staleness/`` goes by a group's version, the oldest that any of its completions started from, although
    completions may have started from newer weights or have met them on the way.
    """
    scores = [score for group in groups for score in group.scores if not score.masked]
    samples = sum(len(group.scores) for group in groups)
    rewards = [score.reward for score in scores] or [0.0]
    verdicts = [verdict for score in scores for verdict in score.verdicts]
    rolled = [group.rollouts for group in groups if group.rollouts is not None]
    rollouts = [rollout for rolled_group in rolled for rollout in rolled_group.rollouts]
    orders = [decode_order(rollout.step_map[: rollout.text_tokens]) for rollout in rollouts]
    forwards = [rollout.forwards for rollout in rollouts]
    surprisal = [-lp for rollout in rollouts for lp in rollout.model_logprobs[: rollout.text_tokens]]
    staleness = [version - rolled_group.version for rolled_group in rolled]
    flat = [
        not has_variance([s.reward for s in group.scores], [not s.masked for s in group.scores])
        for group in groups
    ]
    components = sorted({name for score in scores for name in score.components})
    return {
        "reward/mean": fmean(rewards),
        "reward/std": pstdev(rewards),
        **{f"reward/{name}": fmean(score.components[name] for score in scores) for name in components},
        "reward/solved": fmean([float(score.passed) for score in scores] or [0.0]),
        "reward/pass_rate": fmean([float(verdict is Verdict.PASSED) for verdict in verdicts] or [0.0]),
        "reward/masked": float(samples - len(scores)),
        "groups/trained": float(len(groups)),
        "groups/zero_variance": fmean(flat),
        "response/length_mean": fmean([float(rollout.end) for rollout in rollouts] or [0.0]),
        "response/truncated": fmean(
            [float(rollout.end == len(rollout.completion_ids)) for rollout in rollouts] or [0.0]
        ),
        "diffusion/ar_ness_local": fmean([local_ar_ness(order) for order in orders] or [1.0]),
        "diffusion/ar_ness_global": fmean([global_ar_ness(order) for order in orders] or [1.0]),
        "diffusion/ar_ness_local_at_4": fmean([local_ar_ness(order, 4) for order in orders] or [1.0]),
        "diffusion/ar_ness_global_at_4": fmean([global_ar_ness(order, 4) for order in orders] or [1.0]),
        "diffusion/steps": fmean(forwards or [0]),
        "diffusion/tokens_per_forward": sum(rollout.text_tokens for rollout in rollouts) / max(sum(forwards), 1),
        "diffusion/surprisal": fmean(surprisal or [0.0]),
        "diffusion/approximate": fmean([float(group.prompt.sampler.approximate) for group in groups]),
        "staleness/mean": fmean(staleness or [0]),
        "staleness/max": float(max(staleness, default=0)),
        "seconds/rollout": sum(rolled_group.seconds for rolled_group in rolled),
        "seconds/reward": sum(group.seconds for group in groups),
    }
