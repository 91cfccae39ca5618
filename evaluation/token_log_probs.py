"""Log-probabilities of a completion's tokens on any canvases of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from common.likelihood.views import Text
from common.models.canvas_logprobs import TokenModel, token_logprobs


def token_log_probs(
    model: TokenModel, text: Text, canvases: npt.NDArray[np.int64], tokens_at_once: int = 16384
) -> npt.NDArray[np.float64]:
    """Compute log p [n, L] of the valid tokens that are masked on the canvases [n, P + L]; 0 elsewhere.

    A canvas that occurs several times is computed once; a forward pass takes about ``tokens_at_once`` tokens.
    """
    distinct, which = np.unique(canvases, axis=0, return_inverse=True)
    prompt = len(text.prompt_ids)
    masked = distinct[:, prompt:] == model.config.mask_token_id
    masked[:, text.valid_tokens :] = False
    at_once = max(1, tokens_at_once // distinct.shape[1])
    parts = [
        token_logprobs(model, distinct[some], prompt, text.completion_ids, masked[some])
        for some in (slice(at, at + at_once) for at in range(0, len(distinct), at_once))
    ]
    found: npt.NDArray[np.float64] = np.concatenate(parts)[which.reshape(-1)]
    return found
