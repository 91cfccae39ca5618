"""Likelihoods of finished completions under the weights that sampled them."""

from __future__ import annotations

import torch

from common.likelihood.views import Text, Views
from common.models.canvas_logprobs import TokenModel, token_logprobs


def token_estimates(model: TokenModel, text: Text, views: Views) -> tuple[float, ...]:
    """Estimate the log-likelihoods of a completion's tokens [L] by these views of it.

    0 for tokens that are not valid. Takes one forward pass over all views, beside the many that sampled.
    """
    canvases = views.canvases(text, model.config.mask_token_id)
    logprobs = token_logprobs(model, canvases, len(text.prompt_ids), text.completion_ids, views.measured(text))
    estimates: list[float] = torch.from_numpy(logprobs * views.weights).sum(0).tolist()
    return tuple(estimates)
