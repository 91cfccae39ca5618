"""The rows being denoised together: admitted under a token budget, retired when their text is complete."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Self

import numpy as np
import torch
from torch import Tensor

from common import rng
from common.models.config import ModelConfig
from common.models.packing import Packing
from common.records import NOT_COMMITTED, Completion, NoiseKey, Sampler
from common.sampler import DRAW_FIRST_DECODERS, RANDOM_DECODERS
from rollout_workers.requests import Request
from rollout_workers.schedule import budgets, random_steps


class Canvas:
    """n prompts, each followed by L completion tokens, side by side in one packed row of N tokens without padding.

    ``ids`` [N] is the row; ``positions`` [n, L] are the places of the completions in it.
    """

    def __init__(self, prompts: Sequence[Sequence[int]], length: int, device: torch.device) -> None:
        self.packing = Packing.of([len(prompt) + length for prompt in prompts], device)
        self.ids = self.packing.pack([[*prompt, *[0] * length] for prompt in prompts])
        first = [start + len(prompt) for start, prompt in zip(self.packing.starts, prompts, strict=True)]
        self.positions = torch.tensor(first, device=device).unsqueeze(1) + torch.arange(length, device=device)

    def write(self, tokens: Tensor) -> None:
        """Put the completions [n, L] in their places."""
        self.ids[self.positions] = tokens


@dataclass
class Row:
    """The host's side of a row: its steps (those that commit nothing are left out), and how many it has made."""

    request: Request
    steps: tuple[int, ...]
    forwards: int = 0
    versions: tuple[int, int] = (-1, -1)
    seconds: float = 0.0

    @property
    def step(self) -> int:
        """The denoising step that the next forward pass makes."""
        return self.steps[self.forwards]

    def advance(self, version: int, seconds: float) -> None:
        """Count a forward pass with weights of ``version``, and the row's share of the time it took."""
        self.versions = (self.versions[0] if self.forwards else version, version)
        self.forwards += 1
        self.seconds += seconds


@dataclass
class Cells:
    """The device's side of n rows, all [n, L]. ``planned`` is the step of each position under random order."""

    tokens: Tensor
    step_map: Tensor
    logprobs: Tensor
    model_logprobs: Tensor
    uniforms: Tensor
    planned: Tensor

    def select(self, keep: Tensor) -> Self:
        """Keep the rows that are set in ``keep`` [n]."""
        return type(self)(*(getattr(self, field.name)[keep] for field in fields(self)))

    def join(self, other: Self) -> Self:
        """Append the rows of another."""
        both = [(getattr(self, field.name), getattr(other, field.name)) for field in fields(self)]
        return type(self)(*(torch.cat(pair) for pair in both))


class Batch:
    """Rows that share a sampler, together at most ``tokens`` long, prompts included; a longer row runs alone."""

    def __init__(self, sampler: Sampler, config: ModelConfig, device: torch.device, tokens: int) -> None:
        self.sampler = sampler
        self._config = config
        self._device = device
        self._room = tokens
        self._waiting: deque[Request] = deque()
        self._budgets = budgets(sampler)
        self._totals = tuple(accumulate(self._budgets))
        self.rows: list[Row] = []
        self.cells = self._start(())
        self.canvas: Canvas  # of the rows; there is none while there are no rows

    @property
    def room(self) -> int:
        """Tokens that rows added now may have; 0 while a request waits."""
        return 0 if self._waiting else max(0, self._room)

    def add(self, requests: Iterable[Request]) -> None:
        """Queue requests, and admit those that fit."""
        self._waiting.extend(requests)
        self.admit()

    def admit(self) -> None:
        """Make rows of waiting requests while they fit."""
        new: list[Request] = []
        while self._waiting:
            size = self._size(self._waiting[0])
            if size > self._room and (self.rows or new):
                break
            self._room -= size
            new.append(self._waiting.popleft())
        if not new:
            return
        cells = self._start(new)
        self.rows += [Row(request, steps) for request, steps in zip(new, self._steps(cells), strict=True)]
        self.cells = self.cells.join(cells)
        self._lay_out()

    def masked(self) -> Tensor:
        """Mark the positions that are not committed yet: [n, L] bool."""
        return self.cells.tokens == self._config.mask_token_id

    def first_open(self) -> Tensor:
        """Find each row's first position that is not committed yet, or L: [n]."""
        length = self.sampler.completion_length
        return torch.where(self.masked(), torch.arange(length, device=self._device), length).amin(1)

    def next_steps(self) -> Tensor:
        """Return the step that each row makes next: [n]."""
        return torch.tensor([row.step for row in self.rows], device=self._device)

    def scheduled(self) -> Tensor:
        """Count the tokens that the schedule commits at each row's next step: [n]."""
        return torch.tensor([self._budgets[row.step] for row in self.rows], device=self._device)

    def due(self) -> Tensor:
        """Count the tokens that each row must commit next so as not to fall behind the schedule: [n]."""
        totals = torch.tensor([self._totals[row.step] for row in self.rows], device=self._device)
        return totals - (~self.masked()).sum(1)

    def uniforms(self) -> Tensor:
        """Return the fp64 numbers in [0, 1) for the draws of the next step: [n, L].

        A position that is drawn once has one number for all steps. A decoder that draws all candidates and commits
        some needs fresh ones at every step: the numbers that remain are no longer uniform.
        """
        if self.sampler.decoder not in DRAW_FIRST_DECODERS:
            return self.cells.uniforms
        length = self.sampler.completion_length
        numbers = [_stream(row.request.key, "", row.step).random(length) for row in self.rows]
        return torch.from_numpy(np.stack(numbers)).to(self._device)

    def commit(self, chosen: Tensor, tokens: Tensor, logprobs: Tensor, model_logprobs: Tensor) -> None:
        """Write what was drawn [m] to the m positions that are set in ``chosen`` [n, L], in row-major order."""
        self.cells.tokens[chosen] = tokens
        self.cells.logprobs[chosen] = logprobs
        self.cells.model_logprobs[chosen] = model_logprobs
        self.cells.step_map[chosen] = self.next_steps().unsqueeze(1).expand_as(chosen)[chosen]
        self.canvas.write(self.cells.tokens)

    def advance(self, version: int, seconds: float) -> None:
        """Count a forward pass of every row with weights of ``version``, which took ``seconds``."""
        for row in self.rows:
            row.advance(version, seconds / len(self.rows))

    def retire(self) -> list[tuple[Row, Completion]]:
        """Remove and return the rows in which every position up to the end of the text is committed."""
        length = self.sampler.completion_length
        places = torch.arange(length, device=self._device)
        ending = torch.tensor(self._config.end_token_ids, device=self._device)
        first_open = self.first_open()
        first_end = torch.where(torch.isin(self.cells.tokens, ending), places, length).amin(1)
        done = (first_end < first_open) | (first_open == length)
        finished = done.tolist()
        if not any(finished):
            return []
        gone = [row for row, is_done in zip(self.rows, finished, strict=True) if is_done]
        completions = _completions(
            gone, self.cells.select(done), first_end[done].tolist(), self._config.pad_token_id
        )
        self.rows = [row for row, is_done in zip(self.rows, finished, strict=True) if not is_done]
        self.cells = self.cells.select(~done)
        self._room += sum(self._size(row.request) for row in gone)
        self._lay_out()
        return list(zip(gone, completions, strict=True))

    def _size(self, request: Request) -> int:
        return len(request.prompt_ids) + self.sampler.completion_length

    def _start(self, requests: Sequence[Request]) -> Cells:
        shape = (len(requests), self.sampler.completion_length)
        uniforms = np.empty(shape)
        planned = np.zeros(shape, dtype=np.int64)
        for i, request in enumerate(requests):
            uniforms[i] = _stream(request.key, "").random(shape[1])
            if self.sampler.decoder in RANDOM_DECODERS:
                planned[i] = random_steps(self.sampler, _stream(request.key, "-order").random(shape[1]))
        return Cells(
            tokens=torch.full(shape, self._config.mask_token_id, device=self._device),
            step_map=torch.full(shape, NOT_COMMITTED, device=self._device),
            logprobs=torch.zeros(shape, device=self._device),
            model_logprobs=torch.zeros(shape, device=self._device),
            uniforms=torch.from_numpy(uniforms).to(self._device),
            planned=torch.from_numpy(planned).to(self._device),
        )

    def _steps(self, cells: Cells) -> list[tuple[int, ...]]:
        """List the steps that each new row makes."""
        if self.sampler.decoder in RANDOM_DECODERS:
            return [tuple(sorted(set(planned))) for planned in cells.planned.tolist()]
        return [tuple(step for step, count in enumerate(self._budgets) if count)] * len(cells.tokens)

    def _lay_out(self) -> None:
        if not self.rows:
            return
        prompts = [row.request.prompt_ids for row in self.rows]
        self.canvas = Canvas(prompts, self.sampler.completion_length, self._device)
        self.canvas.write(self.cells.tokens)


def _stream(key: NoiseKey, use: str, *steps: int) -> np.random.Generator:
    return rng.stream(key.seed, key.purpose + use, *key.indices, *steps)


def _completions(rows: Sequence[Row], cells: Cells, ends: Sequence[int], pad: int) -> list[Completion]:
    """Make records of finished rows. After the end of the text everything is defined, not sampled."""
    tables = zip(
        rows,
        ends,
        cells.tokens.tolist(),
        cells.step_map.tolist(),
        cells.logprobs.tolist(),
        cells.model_logprobs.tolist(),
        strict=True,
    )
    completions = []
    for row, end, tokens, steps, logprobs, model_logprobs in tables:
        tail = max(0, len(tokens) - end - 1)
        completions.append(
            Completion(
                completion_ids=(*tokens[: end + 1], *[pad] * tail),
                step_map=(*steps[: end + 1], *[NOT_COMMITTED] * tail),
                logprobs=(*logprobs[: end + 1], *[0.0] * tail),
                model_logprobs=(*model_logprobs[: end + 1], *[0.0] * tail),
                end=end,
                overwritten=tuple((k, tokens[k], steps[k]) for k in range(end + 1, len(tokens)) if steps[k] >= 0),
                forwards=row.forwards,
                versions=row.versions,
            )
        )
    return completions
