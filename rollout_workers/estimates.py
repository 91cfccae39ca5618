"""The learner's likelihood estimates under the weights that sampled, by the very masks that it will use."""

from __future__ import annotations

import torch

from common.likelihood.views import Estimator, SampleKey, Text
from common.models.packing import Packing
from rollout_workers.denoiser import Denoiser

_ROWS_AT_ONCE = 64


@torch.inference_mode()
def token_estimates(denoiser: Denoiser, estimator: Estimator, key: SampleKey, text: Text) -> tuple[float, ...]:
    """Estimated log-likelihoods of the completion's tokens, 0 where they are not valid, for the masks of ``key``.

    Takes one forward pass over all views of the completion, beside the many that sampled it.
    """
    config, device = denoiser.config, denoiser.device
    views = estimator.views(key, text)
    canvases = views.canvases(text, config.mask_token_id)
    count, length = canvases.shape
    packing = Packing.of([length] * count, device)
    hidden = denoiser.hidden(packing.pack(list(canvases)), packing)
    scored = torch.from_numpy(views.measured(text))
    view, position = scored.nonzero(as_tuple=True)
    rows = (view * length + len(text.prompt_ids) + position - int(config.shift)).to(device)
    targets = torch.tensor(text.completion_ids)[position].to(device)
    scores = [
        denoiser.logits(hidden[part]).log_softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
        for part, tokens in zip(torch.split(rows, _ROWS_AT_ONCE), torch.split(targets, _ROWS_AT_ONCE), strict=True)
    ]
    table = torch.zeros(scored.shape, dtype=torch.float64)
    table[view, position] = torch.cat(scores).double().cpu()
    return tuple((table * torch.from_numpy(views.weights)).sum(0).tolist())
