"""What a sampler has its model compute, counted call by call: the same for any model of other dimensions."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from torch import Tensor

from common.models.config import ModelConfig
from common.models.packing import Packing, Queries
from common.models.transformer import Rows
from common.models.window import Memory, Window
from rollout_workers.denoiser import Denoiser


@dataclass(frozen=True)
class Work:
    """Rows that went through the layers, pairs of query and key, and rows that the output layer scored.

    ``last_rows`` and ``last_pairs`` are those of the last layer, which may leave out the rows nobody asks for but
    computes the keys and values of all ``rows``. The first layer counts whole, as on a GPU: a CPU leaves out its
    projections of tokens that did not change.
    """

    rows: int = 0
    pairs: int = 0
    last_rows: int = 0
    last_pairs: int = 0
    scored: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(*(one + more for one, more in zip(astuple(self), astuple(other), strict=True)))

    def flops(self, config: ModelConfig) -> int:
        """Count the operations of the matrix products, two for each multiplication and addition."""
        width, inner = config.hidden_size, config.intermediate_size
        keys = 4 * width * config.num_key_value_heads * config.head_dim
        others = 4 * width * width + 6 * width * inner
        before = (config.num_hidden_layers - 1) * (self.rows * (keys + others) + 4 * width * self.pairs)
        last = self.rows * keys + self.last_rows * others + 4 * width * self.last_pairs
        return before + last + 2 * width * config.vocab_size * self.scored


class CountingDenoiser:
    """A denoiser that adds up the ``work`` of its calls."""

    def __init__(self, model: Denoiser) -> None:
        self._model = model
        self.work = Work()
        self.config = model.config
        self.device = model.device
        self.vocabulary = model.vocabulary

    def hidden(self, ids: Tensor, packing: Packing, queries: Queries | None = None) -> Tensor:
        lengths = sorted(packing.lengths)
        pairs = sum(length * length for length in lengths)
        rows, asked = packing.total, pairs
        if queries is not None:
            rows = len(queries.rows)
            asked = sum(count * length for count, length in zip(queries.counts, lengths, strict=True))
        self.work += Work(packing.total, pairs, rows, asked)
        return self._model.hidden(ids, packing, queries)

    def refresh(self, ids: Tensor, packing: Packing, window: Window, memory: Memory) -> Tensor:
        rows = len(window.rows)
        pairs = sum(count * places.numel() for _, count, places in window.groups)
        self.work += Work(rows, pairs, rows, pairs)
        return self._model.refresh(ids, packing, window, memory)

    def logits(self, rows: Tensor) -> Tensor:
        self.work += Work(scored=len(rows))
        return self._model.logits(rows)

    def local_logits(self, rows: Tensor) -> Tensor:
        self.work += Work(scored=len(rows))
        return self._model.local_logits(rows)

    def source_rows(self, target_rows: Rows) -> Rows:
        return self._model.source_rows(target_rows)
