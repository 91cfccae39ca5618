"""Score a completion again, token by token, in the canvas that each step saw."""

from __future__ import annotations

import torch

from common.models.packing import Packing
from rollout_workers.denoiser import Denoiser
from rollout_workers.requests import NOT_COMMITTED, Completion


@torch.inference_mode()
def replay(denoiser: Denoiser, prompt_ids: tuple[int, ...], completion: Completion) -> tuple[float, ...]:
    """The model's own log-probability of every committed token, by exact passes; 0 after the end of the text.

    Equals ``completion.model_logprobs`` up to rounding, unless a cache approximated them or the weights differ.
    """
    config = denoiser.config
    length, first = len(completion.ids), len(prompt_ids)
    cells = [
        (k, token, step) for k, (token, step) in enumerate(zip(completion.ids, completion.step_map, strict=True))
    ]
    cells = [cell for cell in cells if cell[2] != NOT_COMMITTED] + list(completion.overwritten)
    steps = sorted({step for step in completion.step_map if step != NOT_COMMITTED})
    canvases = []
    for step in steps:
        canvas = [*prompt_ids, *[config.mask_token_id] * length]
        for k, token, when in cells:
            if when < step:
                canvas[first + k] = token
        canvases.append(canvas)
    packing = Packing.of([first + length] * len(steps), denoiser.device)
    hidden = denoiser.hidden(packing.pack(canvases), packing)
    places = [(k, steps.index(step)) for k, step in enumerate(completion.step_map) if step != NOT_COMMITTED]
    rows = torch.tensor(
        [packing.starts[s] + first + k - int(config.shift) for k, s in places], device=denoiser.device
    )
    tokens = torch.tensor([completion.ids[k] for k, _ in places], device=denoiser.device)
    scores = denoiser.logits(hidden[rows]).log_softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    logprobs = [0.0] * length
    for (k, _), score in zip(places, scores.tolist(), strict=True):
        logprobs[k] = score
    return tuple(logprobs)
