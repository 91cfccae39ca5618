"""Log-probabilities of a completion's tokens on any canvases of it."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from common.likelihood.views import Text
from common.models.log_probabilities import Targets, TokenLogProbs
from common.models.packing import Packing
from common.models.transformer import MaskedDiffusionModel

_TOKENS_AT_ONCE = 16384
_LOGITS_AT_ONCE = 2**23


@torch.inference_mode()
def token_scores(
    model: MaskedDiffusionModel, text: Text, canvases: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """log p [n, L] of the valid tokens that are masked on the canvases [n, P + L]; 0 elsewhere.

    A canvas that occurs several times is scored once.
    """
    distinct, which = np.unique(canvases, axis=0, return_inverse=True)
    at_once = max(1, _TOKENS_AT_ONCE // canvases.shape[1])
    parts = [_scored(model, text, distinct[at : at + at_once]) for at in range(0, len(distinct), at_once)]
    found: npt.NDArray[np.float64] = np.concatenate(parts)[which.reshape(-1)]
    return found


def _scored(model: MaskedDiffusionModel, text: Text, canvases: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    count, width = canvases.shape
    prompt, device = len(text.prompt_ids), model.forbidden.device
    masked = canvases[:, prompt:] == model.config.mask_token_id
    masked[:, text.valid_tokens :] = False
    canvas, position = np.nonzero(masked)
    table = np.zeros(masked.shape)
    if len(canvas):
        packing = Packing.of([width] * count, device)
        # Of equal length, the canvases lie in their order.
        rows = torch.from_numpy(canvas * width + prompt + position).to(device)
        tokens = torch.from_numpy(np.asarray(text.completion_ids)[position]).to(device)
        hidden = model.hidden(packing.pack(list(canvases)), packing, model.source_rows(rows))
        chunk = max(1, _LOGITS_AT_ONCE // model.config.vocab_size)
        targets = Targets.evenly(tokens, model.forbidden, chunk)
        scores: Tensor = model.apply_head(hidden, partial(TokenLogProbs.apply, targets))
        table[canvas, position] = scores.double().cpu().numpy()
    return table
