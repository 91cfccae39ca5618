"""The micro-batches that the longest samples of a recipe make, for what is reckoned before a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.config import LearnerConfig
from common.likelihood.registry import make_estimator
from learner.objectives.draws import DrawByDraw
from learner.objectives.registry import make_objective
from learner.partition import Piece, micro_batches, tokens_of, units
from learner.samples import TrainingSample
from learner.traffic import pass_tokens


@dataclass(frozen=True)
class MicroBatch:
    """Tokens that the model sees, of all views and with their prompts, and rows that are scored."""

    tokens: int
    rows: int


def longest_micro_batches(
    config: LearnerConfig, prompt: int, completion: int, group_size: int, groups: int, ranks: int
) -> list[list[MicroBatch]]:
    """Return those of each rank in one pass over ``groups`` groups, as the learner makes them.

    All prompts have ``prompt`` tokens and all completions ``completion``. Raises PluginError for a part that
    cannot be loaded.
    """
    estimator = make_estimator(config.estimator, config.inner_iterations)
    objective = make_objective(config.objective)
    samples = [
        TrainingSample(
            group=number // group_size,
            sample=number,
            prompt_ids=(number // group_size,) * prompt,
            completion_ids=(0,) * completion,
            valid_tokens=completion,
            step_map=tuple(range(completion)),
            reward=float(number),
            advantage=float(number),
        )
        for number in range(groups * group_size)
    ]
    measured = estimator.views(samples[0].key(0, 0), samples[0]).measured(samples[0])
    by_draw = isinstance(objective, DrawByDraw)
    parts = units(objective.link(samples), estimator, 0, objective.by_token, by_draw)

    def rows(batch: Sequence[Piece]) -> int:
        own = sum(int(measured[list(p.views)].sum()) - p.blank * completion for p in batch)
        return own + completion * len({p.sample.prompt_ids for p in batch if p.blank})

    shares = micro_batches(parts, ranks, pass_tokens(config))
    return [[MicroBatch(tokens_of(batch), rows(batch)) for batch in share] for share in shares]
