"""The rows being denoised together: admitted under a token budget, retired when their text is complete."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from common import rng
from common.models.config import ModelConfig
from common.models.packing import Packing
from common.records import NOT_COMMITTED, Completion, Mismatch, NoiseKey, Sampler
from common.sampler import DRAW_FIRST_DECODERS, RANDOM_DECODERS
from rollout_workers.cells import Cells, HostCopy, to_device
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
    """The host's side of a row: its steps (those that commit nothing are left out), and those it has made.

    ``counts`` are the tokens that its steps commit, ``number`` its place in the order of admission, ``versions``
    those of the weights of every step made, and ``committed`` counts the tokens that these have written.
    """

    request: Request
    number: int
    steps: tuple[int, ...]
    counts: tuple[int, ...]
    versions: list[int] = field(default_factory=list)
    committed: int = 0
    seconds: float = 0.0
    mismatch: Mismatch = field(default_factory=Mismatch)

    @property
    def step(self) -> int:
        """The denoising step that the next forward pass makes."""
        return self.steps[len(self.versions)]

    @property
    def count(self) -> int:
        """The tokens that the schedule commits at the next step."""
        return self.counts[len(self.versions)]

    @property
    def is_through(self) -> bool:
        """Whether all its steps are made."""
        return len(self.versions) == len(self.steps)

    @property
    def length(self) -> int:
        """Tokens of the prompt."""
        return len(self.request.prompt_ids)


@dataclass(frozen=True)
class Places:
    """Positions of completions: ``flat`` [m] places in [n, L], ascending, and how many of them each row has."""

    flat: Tensor
    counts: tuple[int, ...]


class Batch:
    """Rows that share a sampler, together at most ``tokens`` long, prompts included; a longer row runs alone.

    Where positions are is known on the device alone, and how many they are on the host too: no step waits for the
    device to be told a size. ``deferred`` also lets the host learn one step late that a text is complete, while
    the device makes the next step, which leaves such a row as it is.
    """

    def __init__(
        self, sampler: Sampler, config: ModelConfig, device: torch.device, tokens: int, deferred: bool = False
    ) -> None:
        self.sampler = sampler
        self._config = config
        self._device = device
        self._room = tokens
        self._deferred = deferred
        self._verdict: HostCopy | None = None
        self._waiting: deque[Request] = deque()
        self._admitted = 0
        counts = budgets(sampler)
        self._steps = tuple(step for step, count in enumerate(counts) if count)
        self._counts = tuple(counts[step] for step in self._steps)
        self._is_random = sampler.decoder in RANDOM_DECODERS
        self._table = torch.tensor([self._steps, self._counts, [*accumulate(self._counts)]], device=device)
        self._ending = torch.tensor(config.end_token_ids, device=device)
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
        self.rows += self._rows(new, cells)
        self.cells = self.cells.join(cells)
        self._lay_out()

    def masked(self) -> Tensor:
        """Mark the positions that are not committed yet: [n, L] bool."""
        return self.cells.tokens == self._config.mask_token_id

    def first_open(self) -> Tensor:
        """Find each row's first position that is not committed yet, or L: [n]."""
        length = self.sampler.completion_length
        return torch.where(self.masked(), torch.arange(length, device=self._device), length).amin(1)

    def candidates(self) -> Places:
        """Find the masked positions of each row's first unfinished block."""
        masked, block = self.masked(), self.sampler.block_length
        if not block:
            length = self.sampler.completion_length
            return self.places(masked, [length - row.committed for row in self.rows])
        blocks = torch.arange(masked.shape[1], device=self._device) // block
        within = masked & (blocks == self.first_open().unsqueeze(1) // block)
        return self.places(within, [block - row.committed % block for row in self.rows])

    def planned(self) -> Places:
        """Find the positions that are committed next under random order."""
        due = self.cells.planned == self.next_steps().unsqueeze(1)
        return self.places(due, [row.count for row in self.rows])

    def places(self, marked: Tensor, counts: Sequence[int]) -> Places:
        """List the positions that are set in ``marked`` [n, L]; the host knows how many each row has."""
        flat = torch.nonzero_static(marked.view(-1), size=sum(counts)).squeeze(1)
        return Places(flat, tuple(counts))

    def next_steps(self) -> Tensor:
        """Return the step that each row makes next: [n]."""
        if self._is_random:
            return torch.where(self.masked(), self.cells.planned, self.sampler.denoising_steps).amin(1)
        return self._table[0][self.cells.made]

    def scheduled(self) -> Tensor:
        """Count the tokens that the schedule commits at each row's next step: [n]."""
        return self._table[1][self.cells.made]

    def due(self) -> Tensor:
        """Count the tokens that each row must commit next so as not to fall behind the schedule: [n]."""
        return self._table[2][self.cells.made] - (~self.masked()).sum(1)

    def uniforms(self) -> Tensor:
        """Return the fp64 numbers in [0, 1) for the draws of the next step: [n, L].

        A position that is drawn once has one number for all steps. A decoder that draws all candidates and commits
        some needs fresh ones at every step: the numbers that remain are no longer uniform.
        """
        if self.sampler.decoder not in DRAW_FIRST_DECODERS:
            return self.cells.uniforms
        length = self.sampler.completion_length
        numbers = [_stream(row.request.key, "", row.step).random(length) for row in self.rows]
        return to_device(np.stack(numbers), self._device)

    def commit(self, chosen: Places, tokens: Tensor, logprobs: Tensor, model_logprobs: Tensor) -> None:
        """Write what was drawn [m] to the m positions ``chosen``."""
        steps = self.next_steps()[chosen.flat // self.sampler.completion_length]
        self.cells.write(
            chosen.flat, tokens=tokens, logprobs=logprobs, model_logprobs=model_logprobs, step_map=steps
        )
        self.cells.made += ~self.cells.done
        self.canvas.write(self.cells.tokens)
        for row, count in zip(self.rows, chosen.counts, strict=True):
            row.committed += count

    def advance(self, version: int, seconds: float) -> None:
        """Count a forward pass of every row with weights of ``version``, which took ``seconds``."""
        for row in self.rows:
            row.versions.append(version)
            row.seconds += seconds / len(self.rows)

    def retire(self) -> list[tuple[Row, Completion]]:
        """Remove and return the rows in which every position up to the end of the text is committed.

        With ``deferred``, those of the step before; but those of this one where a row has no further step to make.
        Raises FloatingPointError for a model whose logits are not finite.
        """
        verdict, self._verdict = self._verdict, self._judge()
        if not self._deferred or any(row.is_through for row in self.rows):
            verdict, self._verdict = self._verdict, None
        if verdict is None:
            return []
        finished, ends, sound = verdict.read()
        if not sound.all():
            raise FloatingPointError("the model's logits are not finite: its weights have diverged or are damaged")
        if not finished.any():
            return []
        return self._remove(finished.nonzero()[0].tolist(), ends)

    def _judge(self) -> HostCopy:
        """Mark the rows that are done; have a copy made of them, the ends of texts, and which rows are finite."""
        length = self.sampler.completion_length
        places = torch.arange(length, device=self._device)
        first_open = self.first_open()
        first_end = torch.where(torch.isin(self.cells.tokens, self._ending), places, length).amin(1)
        done = (first_end < first_open) | (first_open == length)
        self.cells.done = done
        sound = self.cells.model_logprobs.isfinite().all(1)
        return HostCopy(torch.stack([done.long(), first_end, sound.long()]))

    def _remove(self, gone: list[int], ends: npt.NDArray[np.int64]) -> list[tuple[Row, Completion]]:
        """Take rows out, and make records of them in the order in which they were admitted."""
        gone = sorted(gone, key=lambda place: self.rows[place].number)
        rows = [self.rows[place] for place in gone]
        cells = self.cells.select(torch.tensor(gone, device=self._device))
        completions = _completions(rows, cells, ends[gone].tolist(), self._config.pad_token_id)
        left = [place for place in range(len(self.rows)) if place not in set(gone)]
        self.rows = [self.rows[place] for place in left]
        self.cells = self.cells.select(torch.tensor(left, dtype=torch.long, device=self._device))
        self._room += sum(self._size(row.request) for row in rows)
        self._lay_out()
        return list(zip(rows, completions, strict=True))

    def _size(self, request: Request) -> int:
        return len(request.prompt_ids) + self.sampler.completion_length

    def _start(self, requests: Sequence[Request]) -> Cells:
        shape = (len(requests), self.sampler.completion_length)
        uniforms = np.empty(shape)
        planned = np.zeros(shape, dtype=np.int64)
        for i, request in enumerate(requests):
            uniforms[i] = _stream(request.key, "").random(shape[1])
            if self._is_random:
                planned[i] = random_steps(self.sampler, _stream(request.key, "-order").random(shape[1]))
        return Cells(
            tokens=torch.full(shape, self._config.mask_token_id, device=self._device),
            step_map=torch.full(shape, NOT_COMMITTED, device=self._device),
            logprobs=torch.zeros(shape, device=self._device),
            model_logprobs=torch.zeros(shape, device=self._device),
            uniforms=to_device(uniforms, self._device),
            planned=to_device(planned, self._device),
            made=torch.zeros(shape[:1], dtype=torch.long, device=self._device),
            done=torch.zeros(shape[:1], dtype=torch.bool, device=self._device),
        )

    def _rows(self, requests: Sequence[Request], cells: Cells) -> list[Row]:
        """Make the host's side of new rows."""
        plans = [(self._steps, self._counts)] * len(requests)
        if self._is_random:
            tables = (np.unique(planned, return_counts=True) for planned in cells.planned.cpu().numpy())
            plans = [(tuple(steps.tolist()), tuple(counts.tolist())) for steps, counts in tables]
        first = self._admitted
        self._admitted += len(requests)
        return [
            Row(request, number, steps, counts)
            for number, (request, (steps, counts)) in enumerate(zip(requests, plans, strict=True), first)
        ]

    def _lay_out(self) -> None:
        """Put the rows in the order in which a packing has them, and write them into a canvas."""
        self._verdict = None
        if not self.rows:
            return
        order = sorted(range(len(self.rows)), key=lambda place: (self.rows[place].length, self.rows[place].number))
        self.rows = [self.rows[place] for place in order]
        self.cells = self.cells.select(torch.tensor(order, device=self._device))
        prompts = [row.request.prompt_ids for row in self.rows]
        self.canvas = Canvas(prompts, self.sampler.completion_length, self._device)
        self.canvas.write(self.cells.tokens)
        if self._deferred:
            self._verdict = self._judge()


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
        cells.made.tolist(),
        strict=True,
    )
    completions = []
    for row, end, tokens, steps, logprobs, model_logprobs, made in tables:
        tail = max(0, len(tokens) - end - 1)
        completions.append(
            Completion(
                completion_ids=(*tokens[: end + 1], *[pad] * tail),
                step_map=(*steps[: end + 1], *[NOT_COMMITTED] * tail),
                logprobs=(*logprobs[: end + 1], *[0.0] * tail),
                model_logprobs=(*model_logprobs[: end + 1], *[0.0] * tail),
                end=end,
                overwritten=tuple((k, tokens[k], steps[k]) for k in range(end + 1, len(tokens)) if steps[k] >= 0),
                forwards=made,
                versions=(row.versions[0], row.versions[made - 1]),
                mismatch=row.mismatch,
            )
        )
    return completions
