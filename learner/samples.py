"""Samples: completions with their advantages, as an update takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from common.config import LearnerConfig
from common.likelihood.views import SampleKey, Text
from common.records import TrajectoryGroup
from learner.approximation import approximation_weight
from learner.reward_advantages import carries_signal, normalized_over_step, score_advantages


@dataclass(frozen=True, kw_only=True)
class TrainingSample(Text):
    """One completion as the update sees it.

    ``group`` and ``sample`` key its masks. ``sampling_logprobs`` [L] are the estimated token log-likelihoods under
    the weights that sampled, for the masks of the first inner iteration; empty where nothing corrects for
    staleness.
    """

    group: int
    sample: int
    advantage: float
    reward: float = 0.0
    sampling_logprobs: tuple[float, ...] = ()

    def key(self, seed: int, iteration: int) -> SampleKey:
        return SampleKey(seed, self.group, self.sample, iteration)


def training_samples(groups: Sequence[TrajectoryGroup], config: LearnerConfig) -> list[TrainingSample]:
    """Make the samples of a step with their advantages.

    Excluded samples are left out; so are groups without a learning signal, unless they are to be scored.
    """
    samples: list[TrainingSample] = []
    weights: list[float] = []
    for group in groups:
        if group.rollouts is None:
            continue
        if config.zero_variance_groups != "score" and not carries_signal(group.scores, config.advantage):
            continue
        advantages = score_advantages(group.scores, config.advantage)
        for rollout, score, advantage in zip(group.rollouts.rollouts, group.scores, advantages, strict=True):
            if not score.excluded:
                weights.append(approximation_weight(rollout, config.approximation_cap))
                samples.append(
                    TrainingSample.of(
                        group.rollouts.prompt_ids,
                        rollout,
                        whole=config.positions == "all",
                        group=group.prompt.index,
                        sample=rollout.sample,
                        advantage=advantage,
                        reward=score.reward,
                        sampling_logprobs=rollout.sampling_logprobs,
                    )
                )
    if config.advantage == "per_reward":
        normalized = normalized_over_step([sample.advantage for sample in samples])
        samples = [replace(sample, advantage=one) for sample, one in zip(samples, normalized, strict=True)]
    return [
        replace(sample, advantage=weight * sample.advantage)
        for sample, weight in zip(samples, weights, strict=True)
    ]
