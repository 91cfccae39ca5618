"""One denoising step: score the masked positions, commit a budget of them, and draw their tokens.

Only masked positions see the vocabulary; only committed ones are sampled, unless the decoder ranks by the drawn
token.
"""

from __future__ import annotations

import torch
from torch import Tensor

from common.records import Sampler
from common.sampler import DECODERS, DRAW_FIRST_DECODERS, RANDOM_DECODERS
from rollout_workers.approximate import BlockCache
from rollout_workers.batch import Batch
from rollout_workers.decoders import (
    Candidates,
    confidence_of_draws,
    find_confidence,
    most_confident,
    perturb,
)
from rollout_workers.denoiser import Denoiser
from rollout_workers.kernels import Kernels
from rollout_workers.sampling import Draws, TokenSampler

#: Logits held at once: 32 MiB on a CPU, where a cache should hold most of it; 1 GiB on a GPU.
CHUNK_LOGITS = {"cpu": 2**23, "cuda": 2**28}


class DenoisingStep:
    """Makes the steps of one batch: n rows of L completion tokens, in a packed row of N tokens.

    Raises PluginError for a decoder that cannot be loaded.
    """

    def __init__(self, denoiser: Denoiser, sampler: Sampler, kernels: Kernels) -> None:
        self._denoiser = denoiser
        self._sampler = sampler
        vocabulary = denoiser.vocabulary
        self._tokens = TokenSampler(sampler, kernels, vocabulary)
        # A decoder from outside may ask for whole rows of logits.
        width = vocabulary.size if sampler.decoder in DECODERS else vocabulary.total
        self._chunk_rows = max(1, CHUNK_LOGITS[denoiser.device.type] // width)
        self._cache = BlockCache(denoiser, sampler) if sampler.approximate_cache != "none" else None
        self._by_draws = sampler.decoder in DRAW_FIRST_DECODERS
        self._by_chance = sampler.decoder in RANDOM_DECODERS
        if not self._by_draws and not self._by_chance:
            self._confidence_of = find_confidence(sampler.decoder)

    @torch.inference_mode()
    def __call__(self, batch: Batch) -> None:
        """Make the next step of every row."""
        hidden = self._hidden(batch)
        candidates = self._candidates(batch)

        def draw(where: Tensor) -> Draws:
            return self._draw(self._rows(batch, hidden, where), batch.uniforms()[where])

        if self._by_chance:
            chosen = batch.cells.planned == batch.next_steps().unsqueeze(1)
            drawn = draw(chosen)
        elif self._by_draws:
            every = draw(candidates)
            chosen = self._choose(batch, candidates, confidence_of_draws(self._sampler.decoder, every))
            drawn = every.select(chosen[candidates])
        else:
            rows = self._rows(batch, hidden, candidates)
            chosen = self._choose(batch, candidates, self._confidence(rows, candidates.nonzero()[:, 1]))
            drawn = draw(chosen)
        batch.commit(chosen, drawn.tokens, drawn.logprobs, drawn.model_logprobs)

    def _hidden(self, batch: Batch) -> Tensor:
        """Hidden states [N, H] of the batch."""
        if self._cache is not None:
            return self._cache.hidden(batch)
        return self._denoiser.hidden(batch.canvas.ids, batch.canvas.packing)

    def _rows(self, batch: Batch, hidden: Tensor, where: Tensor) -> Tensor:
        """Hidden rows [m, H] that predict the tokens at the m positions that are set in ``where`` [n, L]."""
        return hidden[self._denoiser.source_rows(batch.canvas.positions[where])]

    def _candidates(self, batch: Batch) -> Tensor:
        """[n, L] masked positions of each row's first unfinished block."""
        masked = batch.masked()
        if not self._sampler.block_length:
            return masked
        blocks = torch.arange(masked.shape[1], device=masked.device) // self._sampler.block_length
        return masked & (blocks == batch.first_open().unsqueeze(1) // self._sampler.block_length)

    def _choose(self, batch: Batch, candidates: Tensor, confidence: Tensor) -> Tensor:
        """[n, L] positions to commit, given the confidence [m] of the m candidates that are set in [n, L]."""
        sampler = self._sampler
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

    def _confidence(self, rows: Tensor, positions: Tensor) -> Tensor:
        """Confidence [m] of the candidates with hidden rows [m, H] at ``positions`` [m] of their completions."""
        parts = [
            self._confidence_of(Candidates(self._denoiser.local_logits(part), places, self._tokens))
            for part, places in zip(self._chunks(rows), self._chunks(positions), strict=True)
        ]
        return torch.cat(parts)

    def _draw(self, rows: Tensor, uniforms: Tensor) -> Draws:
        """Draw a token from each of the hidden rows [m, H] with its number from ``uniforms`` [m]."""
        parts = [
            self._tokens.draw(self._denoiser.local_logits(part), numbers)
            for part, numbers in zip(self._chunks(rows), self._chunks(uniforms), strict=True)
        ]
        return Draws(*map(torch.cat, zip(*parts, strict=True)))

    def _chunks(self, rows: Tensor) -> tuple[Tensor, ...]:
        return torch.split(rows, self._chunk_rows)
