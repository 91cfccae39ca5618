"""One denoising step: score the masked positions, commit a budget of them, and draw their tokens.

Only masked positions see the vocabulary; only committed ones are sampled, unless the decoder ranks by the drawn
token.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from common.models.packing import Queries
from common.records import Sampler
from common.sampler import DECODERS, DRAW_FIRST_DECODERS, RANDOM_DECODERS
from rollout_workers.approximate import BlockCache
from rollout_workers.approximation_meter import ApproximationMeter
from rollout_workers.batch import Batch, Places
from rollout_workers.chunks import CHUNK_LOGITS, PASS_LOGITS
from rollout_workers.decoders import (
    Candidates,
    confidence_of_draws,
    find_confidence,
    most_confident,
    perturb,
)
from rollout_workers.denoiser import Denoiser
from rollout_workers.kernels import Kernels
from rollout_workers.locking import LockedRows
from rollout_workers.sampling import Draws, TokenSampler


class Scores(NamedTuple):
    """What is known of candidates: confidence [m], and perhaps the smallest weights kept [m] and logits [n, V].

    The logits are those of all that were scored; the candidates' are the rows ``rows`` [m], if not all.
    """

    confidence: Tensor
    floors: Tensor | None
    logits: Tensor | None
    rows: Tensor | None = None

    def select(self, among: Tensor) -> Scores:
        """Take some of those that were scored, by their numbers."""
        floors = None if self.floors is None else self.floors[among]
        return Scores(self.confidence[among], floors, self.logits, None if self.logits is None else among)


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
        self._pass_rows = max(1, PASS_LOGITS[denoiser.device.type] // width)
        self._cache = _cache(denoiser, sampler)
        share = sampler.approximate_measured_share
        self._meter = ApproximationMeter(denoiser, share) if share else None
        self._by_draws = sampler.decoder in DRAW_FIRST_DECODERS
        self._by_chance = sampler.decoder in RANDOM_DECODERS
        if not self._by_draws and not self._by_chance:
            self._confidence_of = find_confidence(sampler.decoder)

    @torch.inference_mode()
    def __call__(self, batch: Batch, version: int = 0) -> None:
        """Make the next step of every row, with weights of ``version``."""
        if self._by_chance:
            chosen = batch.planned()
            hidden = self._hidden(batch, chosen, version)
            drawn = self._draw(batch, hidden, chosen)
        elif self._by_draws:
            candidates = batch.candidates()
            every_hidden = self._hidden(batch, candidates, version)
            every = self._draw(batch, every_hidden, candidates)
            confidence = confidence_of_draws(self._sampler.decoder, every)
            chosen, among = self._choose(batch, candidates, confidence)
            hidden, drawn = every_hidden[among], every.select(among)
        else:
            candidates = batch.candidates()
            every_hidden = self._hidden(batch, candidates, version)
            scored = self._score(every_hidden, candidates.flat % self._sampler.completion_length)
            chosen, among = self._choose(batch, candidates, scored.confidence)
            hidden = every_hidden[among]
            drawn = self._draw(batch, hidden, chosen, scored.select(among))
        if self._meter is not None:
            self._meter.measure(batch, chosen, hidden, drawn.tokens)
        batch.commit(chosen, drawn.tokens, drawn.logprobs, drawn.model_logprobs)

    def _hidden(self, batch: Batch, places: Places, version: int) -> Tensor:
        """Hidden rows [m, H] that predict the tokens at m positions of completions."""
        canvas = batch.canvas
        rows = self._denoiser.source_rows(canvas.positions.view(-1)[places.flat])
        if self._cache is not None:
            return self._cache.hidden(batch, version)[rows]
        return self._denoiser.hidden(canvas.ids, canvas.packing, Queries(rows, places.counts))

    def _choose(self, batch: Batch, candidates: Places, confidence: Tensor) -> tuple[Places, Tensor]:
        """Choose k positions to commit, given the confidence [m] of candidates; which of these they are [k]."""
        sampler = self._sampler
        table = torch.full((len(batch.rows), sampler.completion_length), -torch.inf, device=confidence.device)
        table.view(-1)[candidates.flat] = confidence.float()
        counts, known = batch.scheduled(), [row.count for row in batch.rows]
        if sampler.decoder == "threshold":
            counts = torch.maximum((table > sampler.threshold).sum(1), batch.due().clamp(min=1))
            known = counts.tolist()  # the one decoder whose counts are not known before its step
        if sampler.decoder_temperature:
            rows = batch.rows
            table = perturb(
                table, sampler.decoder_temperature, [row.request.key for row in rows], [row.step for row in rows]
            )
        marked = most_confident(table, counts)
        numbers = torch.zeros_like(marked, dtype=torch.long).view(-1)
        numbers[candidates.flat] = torch.arange(len(candidates.flat), device=numbers.device)
        chosen = batch.places(marked, known)
        return chosen, numbers[chosen.flat]

    def _score(self, hidden: Tensor, positions: Tensor) -> Scores:
        """Score the candidates with hidden rows [m, H] at ``positions`` [m] of their completions."""
        confidences, floors, logits = [], [], None
        for rows, places in zip(
            torch.split(hidden, self._chunk_rows), torch.split(positions, self._chunk_rows), strict=True
        ):
            logits = self._denoiser.local_logits(rows)
            for some, where in zip(
                torch.split(logits, self._pass_rows), torch.split(places, self._pass_rows), strict=True
            ):
                candidates = Candidates(some, where, self._tokens)
                confidences.append(self._confidence_of(candidates))
                floors.append(candidates.floor)
        found = [floor for floor in floors if floor is not None]
        return Scores(
            torch.cat(confidences),
            torch.cat(found) if len(found) == len(floors) else None,
            logits if len(hidden) <= self._chunk_rows else None,
        )

    def _draw(self, batch: Batch, hidden: Tensor, places: Places, scores: Scores | None = None) -> Draws:
        """Draw a token for each of m positions from its hidden row [m, H], or from what it was scored by."""
        uniforms = batch.uniforms().view(-1)[places.flat]
        known = scores or Scores(uniforms, None, None)
        parts = []
        for begin in range(0, len(hidden), self._chunk_rows):
            chunk = slice(begin, begin + self._chunk_rows)
            logits = self._denoiser.local_logits(hidden[chunk]) if known.logits is None else known.logits
            end = min(begin + self._chunk_rows, len(hidden))
            for at in range(begin, end, self._pass_rows):
                some = slice(at, min(at + self._pass_rows, end))
                floor = None if known.floors is None else known.floors[some]
                # Taken a pass at a time: memory that is used again costs less than that of all rows at once.
                ours = logits[at - begin : some.stop - begin] if known.rows is None else logits[known.rows[some]]
                parts.append(self._tokens.draw(ours, uniforms[some], floor))
        return Draws(*map(torch.cat, zip(*parts, strict=True)))


def _cache(denoiser: Denoiser, sampler: Sampler) -> BlockCache | LockedRows | None:
    """Make what an approximate sampler remembers of a batch; an exact one remembers nothing."""
    if sampler.approximate_locking:
        return LockedRows(denoiser, sampler)
    return BlockCache(denoiser, sampler) if sampler.approximate_cache != "none" else None
