"""Samples: completions with their advantages, as an update takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.config import LearnerConfig
from common.likelihood.views import SampleKey, Text
from common.records import TrajectoryGroup
from learner.advantages import group_advantages, has_variance


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
    samples = []
    for group in groups:
        rewards = [score.reward for score in group.scores]
        valid = [not score.excluded for score in group.scores]
        if group.rollouts is None:
            continue
        if config.zero_variance_groups != "score" and not has_variance(rewards, valid):
            continue
        advantages = group_advantages(rewards, valid, config.advantage)
        for rollout, reward, advantage, ok in zip(
            group.rollouts.rollouts, rewards, advantages, valid, strict=True
        ):
            if ok:
                samples.append(
                    TrainingSample.of(
                        group.rollouts.prompt_ids,
                        rollout,
                        whole=config.positions == "all",
                        group=group.prompt.index,
                        sample=rollout.sample,
                        advantage=advantage,
                        reward=reward,
                        sampling_logprobs=rollout.sampling_logprobs,
                    )
                )
    return samples
