"""The estimator of TraceRL, which follows the steps of the rollout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.likelihood.views import SampleKey, Text, Views

_NOT_COMMITTED = -1


@dataclass(frozen=True)
class TraceEstimator:
    """TraceRL's estimator (arXiv 2509.06949): every token where the rollout decided it.

    ``merged_steps`` consecutive denoising steps that committed some of the text share one view, in which all that
    they and later steps commit is masked. With 1, each view is the canvas of its step, and the estimate is the
    exact log-likelihood of the rollout's choice of tokens (CJ-GRPO, arXiv 2509.23924).
    """

    merged_steps: int = 1

    complete = True

    def views(self, key: SampleKey, text: Text) -> Views:
        length = len(text.completion_ids)
        steps = np.asarray(text.step_map[: text.valid_tokens])
        if len(steps) < text.valid_tokens or (steps == _NOT_COMMITTED).any():
            raise ValueError(f"group {key.group}, sample {key.sample}: its rollout has no step for every token")
        when = np.full(length, np.iinfo(np.int64).max)
        tokens = np.asarray(text.completion_ids)
        when[: text.valid_tokens] = steps
        for position, token, step in text.overwritten:
            when[position], tokens[position] = step, token
        # Dense numbers: a step that committed nothing takes no place in a group.
        distinct, rank = np.unique(steps, return_inverse=True)
        group = np.full(length, -1)
        group[: text.valid_tokens] = rank // self.merged_steps
        firsts = distinct[:: self.merged_steps, None]
        masks = when >= firsts
        weights = (group == np.arange(len(firsts))[:, None]).astype(float)
        return Views(masks, weights, visible=np.broadcast_to(tokens, masks.shape))
