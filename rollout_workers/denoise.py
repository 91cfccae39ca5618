"""The denoising loop: from a prompt and L mask tokens to a completion.

At each step every row scores its masked positions, commits its budget of them and draws their tokens. Only masked
positions see the vocabulary; only committed ones are sampled, unless the decoder ranks by the drawn token. A row
whose text is complete up to its end leaves the batch, and a waiting one takes its place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from common.records import DRAW_FIRST_DECODERS, RANDOM_DECODERS, Sampler
from rollout_workers.approximate import BlockCache
from rollout_workers.batch import Batch
from rollout_workers.decoders import (
    confidence_of_draws,
    confidence_of_logits,
    most_confident,
    perturb,
)
from rollout_workers.denoiser import Denoiser
from rollout_workers.kernels import Kernels
from rollout_workers.requests import Completion, Request, check_prompt
from rollout_workers.sampling import Draws, TokenSampler

#: Logits held at once: 32 MiB on a CPU, where a cache should hold most of it; 1 GiB on a GPU.
_CHUNK_LOGITS = {"cpu": 2**23, "cuda": 2**28}

#: Gives requests that should join the batch; none means that there are none now.
Supply = Callable[[], Sequence[Request]]
#: Holds the weights still for one step and tells their version.
Guard = Callable[[], AbstractContextManager[int]]


class DenoiseLoop:
    """Runs requests through a denoiser, about ``batch_tokens`` tokens (prompts included) at a time."""

    def __init__(self, denoiser: Denoiser, batch_tokens: int = 16384, kernels: Kernels | None = None) -> None:
        self._denoiser = denoiser
        self._batch_tokens = batch_tokens
        self._kernels = kernels or Kernels()

    def check(self, prompt_ids: tuple[int, ...], sampler: Sampler) -> None:
        """Raise RequestError for a prompt that cannot be denoised."""
        check_prompt(prompt_ids, sampler, self._denoiser.config)

    def run(self, requests: Sequence[Request], sampler: Sampler) -> list[Completion]:
        """The completions, in the order of the requests. Raises RequestError before anything is denoised."""
        for request in requests:
            self.check(request.prompt_ids, sampler)
        waiting = [list(requests)]
        done = self.stream(lambda: waiting.pop() if waiting else (), sampler, lambda: nullcontext(0))
        found = {request.key: completion for request, completion in done}
        return [found[request.key] for request in requests]

    def stream(self, supply: Supply, sampler: Sampler, guard: Guard) -> Iterator[tuple[Request, Completion]]:
        """Completions as they finish, until nothing is left and ``supply`` has no more.

        Requests must have passed :meth:`check`.
        """
        batch = Batch(sampler, self._denoiser.config, self._denoiser.device, self._batch_tokens)
        tokens = TokenSampler(sampler, self._kernels)
        cache = BlockCache(self._denoiser, sampler) if sampler.approximate_cache != "none" else None
        while True:
            while batch.hungry and (more := supply()):
                batch.enqueue(more)
                batch.admit()
            batch.admit()
            if not batch.rows:
                return
            with guard() as version:
                started = time.perf_counter()
                self._step(batch, tokens, cache)
                batch.advance(version, time.perf_counter() - started)
            yield from batch.retire()

    @torch.inference_mode()
    def _step(self, batch: Batch, tokens: TokenSampler, cache: BlockCache | None) -> None:
        """One denoising step of every row."""
        sampler = tokens.sampler
        hidden = cache.hidden(batch) if cache else self._denoiser.hidden(batch.canvas.ids, batch.canvas.packing)
        candidates = _current_block(batch, sampler)

        def rows(where: Tensor) -> Tensor:
            """Hidden rows [m, H] that predict the tokens at the positions [n, L] that are set."""
            return hidden[batch.canvas.positions[where] - int(self._denoiser.config.shift)]

        def draw(where: Tensor) -> Draws:
            return self._draw(rows(where), batch.uniforms()[where], tokens)

        if sampler.decoder in RANDOM_DECODERS:
            chosen = batch.cells.planned == batch.next_steps().unsqueeze(1)
            drawn = draw(chosen)
        elif sampler.decoder in DRAW_FIRST_DECODERS:
            every = draw(candidates)
            chosen = self._choose(batch, candidates, confidence_of_draws(sampler.decoder, every), sampler)
            drawn = every.select(chosen[candidates])
        else:
            chosen = self._choose(batch, candidates, self._confidence(rows(candidates), tokens), sampler)
            drawn = draw(chosen)
        batch.commit(chosen, drawn.tokens, drawn.logprobs, drawn.model_logprobs)

    def _choose(self, batch: Batch, candidates: Tensor, confidence: Tensor, sampler: Sampler) -> Tensor:
        """[n, L] positions to commit, given the confidence [m] of the candidates."""
        table = torch.full(candidates.shape, -torch.inf, device=candidates.device, dtype=confidence.dtype)
        table[candidates] = confidence
        counts = batch.scheduled()
        if sampler.decoder == "threshold":
            counts = torch.maximum((table > sampler.threshold).sum(1), batch.due().clamp(min=1))
        if sampler.decoder_temperature:
            rows = batch.rows
            table = perturb(
                table, sampler.decoder_temperature, [row.request.key for row in rows], [row.step for row in rows]
            )
        return most_confident(table, counts)

    def _confidence(self, rows: Tensor, tokens: TokenSampler) -> Tensor:
        parts = [confidence_of_logits(tokens, self._denoiser.logits(part)) for part in self._chunks(rows)]
        return torch.cat(parts)

    def _draw(self, rows: Tensor, uniforms: Tensor, tokens: TokenSampler) -> Draws:
        parts = [
            tokens.draw(self._denoiser.logits(part), numbers)
            for part, numbers in zip(self._chunks(rows), self._chunks(uniforms), strict=True)
        ]
        return Draws(*map(torch.cat, zip(*parts, strict=True)))

    def _chunks(self, rows: Tensor) -> tuple[Tensor, ...]:
        size = max(1, _CHUNK_LOGITS[self._denoiser.device.type] // self._denoiser.config.vocab_size)
        return torch.split(rows, size)


def _current_block(batch: Batch, sampler: Sampler) -> Tensor:
    """[n, L] masked positions of each row's first unfinished block."""
    masked = batch.masked()
    if not sampler.block_length:
        return masked
    blocks = torch.arange(sampler.completion_length, device=masked.device) // sampler.block_length
    return masked & (blocks == batch.first_open().unsqueeze(1) // sampler.block_length)
