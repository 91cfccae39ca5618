"""The distribution of a decoder's completions on an enumerable toy: every way to get there, added up."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations, permutations, product

import torch

from common.models.packing import Packing
from common.models.transformer import MaskedDiffusionModel
from common.records import Sampler
from rollout_workers.schedule import budgets

Canvas = tuple[int, ...]
Law = dict[Canvas, float]


class ExactProcess:
    """Enumerates the published process of one sampler on one prompt, without early stop, then cuts at the end."""

    def __init__(self, model: MaskedDiffusionModel, prompt: tuple[int, ...], sampler: Sampler) -> None:
        self._model, self._prompt, self._sampler = model, prompt, sampler
        self._mask = model.config.mask_token_id
        self._known: dict[tuple[Canvas, int], Law] = {}
        self._rows: dict[Canvas, list[tuple[list[float], list[float]]]] = {}

    def texts(self) -> Law:
        """Probability of every text, its end-of-text token included."""
        law: Law = defaultdict(float)
        length = self._sampler.completion_length
        for canvas, probability in self._from((self._mask,) * length, 0).items():
            ends = [k for k, token in enumerate(canvas) if token in self._model.config.end_token_ids]
            law[canvas[: ends[0] + 1] if ends else canvas] += probability
        return dict(law)

    def _from(self, canvas: Canvas, step: int) -> Law:
        if self._mask not in canvas:
            return {canvas: 1.0}
        if (canvas, step) not in self._known:
            law: Law = defaultdict(float)
            for after, probability in self._moves(canvas, step):
                for final, rest in self._from(after, step + 1).items():
                    law[final] += probability * rest
            self._known[canvas, step] = dict(law)
        return self._known[canvas, step]

    def _moves(self, canvas: Canvas, step: int) -> list[tuple[Canvas, float]]:
        """Canvases after the step, each with its probability."""
        sampler = self._sampler
        masked = [k for k, token in enumerate(canvas) if token == self._mask]
        block = sampler.block_length or len(canvas)
        open_ = [k for k in masked if k // block == masked[0] // block]
        rows = self._distributions(canvas)
        count = budgets(sampler)[step]
        moves = []
        for chosen, weight in self._sets_by_chance(open_, step, count):
            moves += [(c, weight * p) for c, p in self._fill(canvas, rows, chosen)]
        if moves:
            return moves
        if sampler.decoder in ("entropy", "topk_margin"):
            confidence = {k: self._certainty(rows[k][0]) for k in open_}
            for chosen, weight in self._ranked(confidence, count):
                moves += [(c, weight * p) for c, p in self._fill(canvas, rows, chosen)]
            return moves
        for tokens in product(range(len(rows[0][0])), repeat=len(open_)):
            drawn = dict(zip(open_, tokens, strict=True))
            weight = 1.0
            for k, token in drawn.items():
                weight *= rows[k][0][token]
            if weight == 0:
                continue
            which = 0 if sampler.decoder == "maskgit_plus" else 1
            confidence = {k: rows[k][which][token] for k, token in drawn.items()}
            if sampler.decoder == "threshold":
                count = max(1, sum(c > sampler.threshold for c in confidence.values()))
            for chosen, share in self._ranked(confidence, count):
                after = list(canvas)
                for k in chosen:
                    after[k] = drawn[k]
                moves.append((tuple(after), weight * share))
        return moves

    def _sets_by_chance(self, open_: list[int], step: int, count: int) -> list[tuple[tuple[int, ...], float]]:
        """Sets of positions and their probabilities, for the decoders that ask no model."""
        sampler = self._sampler
        if sampler.decoder not in ("origin", "random"):
            return []
        if not (sampler.upstream and sampler.decoder == "origin"):
            sets = list(combinations(open_, count))
            return [(chosen, 1 / len(sets)) for chosen in sets]
        times = torch.linspace(1, 1e-3, sampler.denoising_steps + 1).tolist()
        share = 1.0 if step == sampler.denoising_steps - 1 else 1 - times[step + 1] / times[step]
        found = []
        for size in range(len(open_) + 1):
            weight = share**size * (1 - share) ** (len(open_) - size)
            found += [(chosen, weight) for chosen in combinations(open_, size) if weight]
        return found

    def _ranked(self, confidence: dict[int, float], count: int) -> list[tuple[tuple[int, ...], float]]:
        """The most confident positions, or draws without replacement where the decoder has a temperature."""
        temperature = self._sampler.decoder_temperature
        if not temperature:
            return [(tuple(sorted(confidence, key=lambda k: (-confidence[k], k))[:count]), 1.0)]
        weights = {
            k: float(torch.tensor(c / temperature, dtype=torch.float64).exp()) for k, c in confidence.items()
        }
        law: dict[tuple[int, ...], float] = defaultdict(float)
        for order in permutations(confidence, count):
            probability, left = 1.0, sum(weights.values())
            for k in order:
                probability *= weights[k] / left
                left -= weights[k]
            law[tuple(sorted(order))] += probability
        return list(law.items())

    def _certainty(self, row: list[float]) -> float:
        if self._sampler.decoder == "topk_margin":
            first, second = sorted(row, reverse=True)[:2]
            return first - second
        p = torch.tensor(row, dtype=torch.float64)
        return -float(torch.special.entr(p).sum())

    def _fill(self, canvas: Canvas, rows: list[tuple[list[float], list[float]]], chosen: tuple[int, ...]):
        for tokens in product(range(len(rows[0][0])), repeat=len(chosen)):
            after, probability = list(canvas), 1.0
            for k, token in zip(chosen, tokens, strict=True):
                after[k] = token
                probability *= rows[k][0][token]
            if probability:
                yield tuple(after), probability

    def _distributions(self, canvas: Canvas) -> list[tuple[list[float], list[float]]]:
        """Per position: probabilities under the sampler's temperature and filters, and the model's own."""
        if canvas in self._rows:
            return self._rows[canvas]
        sampler, first = self._sampler, len(self._prompt)
        ids = torch.tensor([*self._prompt, *canvas])
        places = self._model.source_rows(torch.arange(first, len(ids)))
        hidden = self._model.hidden(ids, Packing.of([len(ids)]))
        logits = self._model.logits(hidden[places]).double()
        tempered = (logits / sampler.temperature).softmax(-1)
        ordered, tokens = tempered.sort(descending=True)
        kept = ordered.cumsum(-1) - ordered < sampler.top_p
        if sampler.top_k:
            kept[:, sampler.top_k :] = False
        ordered = ordered * kept
        filtered = torch.zeros_like(tempered).scatter(-1, tokens, ordered / ordered.sum(-1, keepdim=True))
        self._rows[canvas] = list(zip(filtered.tolist(), logits.softmax(-1).tolist(), strict=True))
        return self._rows[canvas]
