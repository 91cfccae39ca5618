"""What a step computes: tokens that went through the model.

A token of a forward pass counts 1, one of a forward and backward pass 3, as the backward pass has two products for
each of the forward pass. That is the count of :mod:`common.flops` but for attention and the output layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from common.config import LearnerConfig
from common.likelihood.registry import make_estimator
from common.records import TrajectoryGroup
from learner.objectives.registry import make_objective
from learner.samples import training_samples

FORWARD, FORWARD_BACKWARD = 1, 3


def rollout_tokens(groups: Sequence[TrajectoryGroup]) -> int:
    """Count what rollouts computed: every forward pass runs over the prompt and the whole canvas."""
    rolled = [group.rollouts for group in groups if group.rollouts is not None]
    return sum(
        FORWARD * rollout.forwards * (len(group.prompt_ids) + len(rollout.completion_ids))
        for group in rolled
        for rollout in group.rollouts
    )


def learner_tokens(groups: Sequence[TrajectoryGroup], config: LearnerConfig, seed: int) -> int:
    """Count what the learner computes on a step's groups: all views of every sample that has a part in the loss.

    They go through the model once an inner iteration with their gradient, once under the reference where the
    objective has one, and once under the weights that the step began with, but for its first update, whose old
    estimates are its new ones.
    """
    estimator = make_estimator(config.estimator, config.inner_iterations)
    objective = make_objective(config.objective)
    linked = objective.link(training_samples(groups, config))
    views = sum(
        len(estimator.views(sample.key(seed, 0), sample).masks)
        * (len(sample.prompt_ids) + len(sample.completion_ids))
        for sample in chain.from_iterable(linked)
    )
    shares = min(config.minibatches, max(1, len(linked)))
    iterations = config.inner_iterations
    passes = iterations * (FORWARD_BACKWARD + FORWARD * objective.needs_reference)
    old = FORWARD * objective.needs_old * (iterations - 1 / shares)
    return round(views * (passes + old))
