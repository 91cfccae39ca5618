"""The denoising loop: from a prompt and L mask tokens to a completion.

At each step every row scores its masked positions, commits its budget of them (those of lowest entropy) and
draws their tokens. Only masked positions see the vocabulary; only committed ones are sampled. A row whose text is
complete up to its first end-of-text leaves the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common import rng
from common.models.packing import Packing
from common.records import Sampler
from rollout_workers.denoiser import Denoiser
from rollout_workers.sampling import draw, nucleus_entropy, token_probabilities
from rollout_workers.schedule import budget

#: Step recorded for positions that no step committed, because the text ended before them.
NOT_COMMITTED = -1


@dataclass(frozen=True)
class Request:
    """One completion to denoise; (seed, purpose, indices) key its randomness."""

    prompt_ids: tuple[int, ...]
    seed: int
    purpose: str
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Completion:
    """Token ids [L], the step that committed each, its log-probability under the sampler, and the end index."""

    ids: tuple[int, ...]
    step_map: tuple[int, ...]
    logprobs: tuple[float, ...]
    end: int


@dataclass
class _Rows:
    """The unfinished rows of a batch: all tensors are [n, L]; ``order`` maps them to the requests."""

    order: Tensor
    tokens: Tensor
    step_map: Tensor
    logprobs: Tensor
    uniforms: Tensor

    def select(self, keep: Tensor) -> _Rows:
        return _Rows(*(t[keep] for t in (self.order, self.tokens, self.step_map, self.logprobs, self.uniforms)))


class DenoiseLoop:
    """Runs requests that share a sampler through a denoiser, in one batch."""

    def __init__(self, denoiser: Denoiser) -> None:
        self._denoiser = denoiser

    def run(self, requests: Sequence[Request], sampler: Sampler) -> list[Completion]:
        """The completions, in the order of the requests."""
        rows = self._start(requests, sampler)
        prompts = [request.prompt_ids for request in requests]
        finished: dict[int, Completion] = {}
        canvas = _Canvas(prompts, rows, self._denoiser.device)
        for step in range(sampler.denoising_steps):
            count = budget(step, sampler.denoising_steps, sampler.completion_length)
            if count:
                self._commit(rows, canvas, sampler, step, count)
            done = self._complete(rows)
            if step == sampler.denoising_steps - 1:
                done = torch.ones_like(done)
            if bool(done.any()):
                finished |= self._finish(rows.select(done))
                rows = rows.select(~done)
                if not len(rows.order):
                    break
                canvas = _Canvas(prompts, rows, self._denoiser.device)
        return [finished[i] for i in range(len(requests))]

    def _start(self, requests: Sequence[Request], sampler: Sampler) -> _Rows:
        shape = (len(requests), sampler.completion_length)
        noise = np.stack([rng.stream(r.seed, r.purpose, *r.indices).random(shape[1]) for r in requests])
        device = self._denoiser.device
        return _Rows(
            order=torch.arange(shape[0], device=device),
            tokens=torch.full(shape, self._denoiser.mask_token_id, device=device),
            step_map=torch.full(shape, NOT_COMMITTED, device=device),
            logprobs=torch.zeros(shape, device=device),
            uniforms=torch.from_numpy(noise).to(device),
        )

    def _commit(self, rows: _Rows, canvas: _Canvas, sampler: Sampler, step: int, count: int) -> None:
        masked = rows.tokens == self._denoiser.mask_token_id
        logits = self._denoiser.masked_logits(canvas.fill(rows.tokens), canvas.packing, canvas.positions[masked])
        probabilities = token_probabilities(logits, sampler.temperature)
        confidence = torch.full(masked.shape, -torch.inf, device=masked.device)
        confidence[masked] = -nucleus_entropy(probabilities, sampler.top_p)
        # Ties are common (a nucleus of one token has entropy 0); topk would break them as each device pleases.
        order = confidence.sort(dim=1, descending=True, stable=True).indices
        chosen = torch.zeros_like(masked).scatter_(1, order[:, :count], True)
        tokens, logprobs = draw(
            probabilities[chosen[masked]],
            sampler.top_p,
            rows.uniforms[chosen],
            greedy=sampler.temperature == 0,
        )
        rows.tokens[chosen] = tokens
        rows.logprobs[chosen] = logprobs
        rows.step_map[chosen] = step

    def _complete(self, rows: _Rows) -> Tensor:
        """[n] rows in which every position up to the first end-of-text is committed."""
        committed = rows.tokens != self._denoiser.mask_token_id
        prefix_committed = committed.int().cumprod(1).bool()
        return (prefix_committed & (rows.tokens == self._denoiser.eos_token_id)).any(1)

    def _finish(self, rows: _Rows) -> dict[int, Completion]:
        finished = {}
        eos = self._denoiser.eos_token_id
        for order, tokens, steps, logprobs in zip(
            rows.order.tolist(),
            rows.tokens.tolist(),
            rows.step_map.tolist(),
            rows.logprobs.tolist(),
            strict=True,
        ):
            end = tokens.index(eos) if eos in tokens else len(tokens)
            tail = max(0, len(tokens) - end - 1)
            finished[order] = Completion(
                ids=(*tokens[: end + 1], *[eos] * tail),
                step_map=(*steps[: end + 1], *[NOT_COMMITTED] * tail),
                logprobs=(*logprobs[: end + 1], *[0.0] * tail),
                end=end,
            )
        return finished


class _Canvas:
    """The packed token row of a batch; ``positions`` [n, L] are the flat places of the completions."""

    def __init__(self, prompts: Sequence[Sequence[int]], rows: _Rows, device: torch.device) -> None:
        length = rows.tokens.shape[1]
        own = [prompts[i] for i in rows.order.tolist()]
        self.packing = Packing.of([len(prompt) + length for prompt in own], device)
        self._ids = self.packing.pack([[*prompt, *[0] * length] for prompt in own])
        first = torch.tensor(
            [start + len(prompt) for start, prompt in zip(self.packing.starts, own, strict=True)],
            device=device,
        )
        self.positions = first.unsqueeze(1) + torch.arange(length, device=device)

    def fill(self, tokens: Tensor) -> Tensor:
        """The packed row with the completions [n, L] written in."""
        self._ids[self.positions] = tokens
        return self._ids
