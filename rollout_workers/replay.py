"""Compute a completion's log-probabilities again, each token in the canvas that its step saw."""

from __future__ import annotations

import numpy as np

from common.models.canvas_logprobs import TokenModel, token_logprobs
from common.records import NOT_COMMITTED, Completion


def replay(model: TokenModel, prompt_ids: tuple[int, ...], completion: Completion) -> tuple[float, ...]:
    """Compute the model's own log-probability of every committed token [L] by exact passes; 0 after the end.

    Equals ``completion.model_logprobs`` up to rounding, unless a cache approximated them or the weights differ.
    """
    when = np.asarray(completion.step_map)
    committed = when != NOT_COMMITTED
    steps = np.unique(when[committed])
    shown, shown_when = np.asarray(completion.completion_ids), when.copy()
    for position, token, step in completion.overwritten:
        shown[position], shown_when[position] = token, step
    visible = (shown_when != NOT_COMMITTED) & (shown_when < steps[:, None])
    texts = np.where(visible, shown, model.config.mask_token_id)
    canvases = np.concatenate([np.broadcast_to(np.asarray(prompt_ids), (len(steps), len(prompt_ids))), texts], 1)
    wanted = when == steps[:, None]
    logprobs = token_logprobs(model, canvases, len(prompt_ids), completion.completion_ids, wanted)
    return tuple(logprobs.sum(0).tolist())
