"""The passes over [rows, vocabulary] that sampling needs, compiled where that pays.

Compiled, each is one loop over memory; as plain torch operations they write several temporaries of that size. V is
the number of tokens whose logits this process has; where that is a part of the vocabulary, so are the sums.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from rollout_workers.compilation import WORTH_LOGITS, keep_compiled, warn_uncompiled
from rollout_workers.nucleus import LONG, TINY, Nucleus, among_largest, by_sorting
from rollout_workers.vocabulary import Vocabulary

_LOG = logging.getLogger(__name__)

#: Below this vocabulary the compiler's minute buys nothing.
_LARGE_VOCABULARY = 8192
#: Thresholds tried in one pass of the search; more are no longer free beside the memory traffic.
_WAYS = 8
#: The bit pattern of 1.0.
_BITS_OF_ONE = 0x3F800000
#: Tokens in one block of the two-level inverse CDF.
BLOCK = 256


def exponentials(logits: Tensor, temperature: float, largest: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Compute weights exp((x - max) / T) [n, V] of logits [n, V], the largest of a row 1, and their sums [n].

    ``largest`` [n, 1] are the rows' maxima where those of the logits given here are not.
    """
    if largest is None:
        largest = logits.amax(-1, keepdim=True)
    weights = ((logits - largest) / temperature).exp()
    return weights, weights.sum(-1)


def masses(weights: Tensor, floors: Tensor) -> Tensor:
    """Sum the weights [n, V] that are at least each of ``floors`` [n, k]: [n, k]."""
    columns = [torch.where(weights >= floors[:, k : k + 1], weights, 0.0).sum(-1) for k in range(floors.shape[1])]
    return torch.stack(columns, -1)


def entropy_sums(weights: Tensor, floor: Tensor) -> tuple[Tensor, Tensor]:
    """Sum the kept weights w of each row, those of at least ``floor`` [n], and their -w log w: two [n]."""
    kept = torch.where(weights >= floor.unsqueeze(-1), weights, 0.0)
    return kept.sum(-1), torch.special.entr(kept).sum(-1)


def block_masses(weights: Tensor, floor: Tensor) -> Tensor:
    """Sum the kept weights of each block of consecutive tokens in fp64: [n, V / BLOCK]."""
    kept = torch.where(weights >= floor.unsqueeze(-1), weights, 0.0)
    return kept.view(len(kept), -1, BLOCK).sum(-1, dtype=torch.float64)


def log_sums(logits: Tensor) -> Tensor:
    """Compute the logarithms [n] of the summed exponentials of logits [n, V]."""
    return logits.logsumexp(-1)


@dataclass(frozen=True)
class Kernels:
    """The five passes and the way to a nucleus: by sorting, or by ``searches`` for its smallest weight."""

    exponentials: Callable[[Tensor, float, Tensor | None], tuple[Tensor, Tensor]] = exponentials
    masses: Callable[[Tensor, Tensor], Tensor] = masses
    entropy_sums: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = entropy_sums
    block_masses: Callable[[Tensor, Tensor], Tensor] = block_masses
    log_sums: Callable[[Tensor], Tensor] = log_sums
    searches: bool = False
    compiled: bool = False

    @classmethod
    def choose(
        cls,
        vocabulary: Vocabulary,
        device: torch.device,
        mode: Literal["auto", "never"] = "auto",
        logits: int | None = None,
        said: Callable[[str], None] = _LOG.info,
    ) -> Kernels:
        """Compile and try kernels for a large vocabulary; plain ones otherwise, or without a compiler.

        ``logits`` are how many they will go over, where that is known: few are not worth compiling for. ``said``
        hears of it before the compiler begins, which may take minutes.
        """
        if mode == "never" or vocabulary.size < _LARGE_VOCABULARY:
            return cls()
        if logits is not None and logits < WORTH_LOGITS:
            return cls()
        kept = keep_compiled() or "the temporary folder"
        said(f"compiling the passes over the vocabulary: minutes at first, seconds once they are in {kept}")
        # The compiler takes seconds to import; with a small vocabulary nobody should wait for it.
        from torch._dynamo.exc import TorchDynamoException
        from torch._inductor import config as inductor

        # A pool of compiler processes would outlive a worker that is killed.
        inductor.compile_threads = 1
        kernels = cls(
            torch.compile(exponentials, dynamic=True),
            torch.compile(masses, dynamic=True),
            torch.compile(entropy_sums, dynamic=True),
            torch.compile(block_masses, dynamic=True),
            torch.compile(log_sums, dynamic=True),
            # A CPU finds the largest weights of a row in less time than a search takes; a GPU must not be asked
            # how many rows end among these.
            searches=device.type == "cuda" or not vocabulary.is_whole,
            compiled=True,
        )
        try:
            _try_out(kernels, vocabulary, device)
        except TorchDynamoException as error:
            warn_uncompiled("statistics over the vocabulary", error)
            return cls()
        return kernels

    def nucleus(self, weights: Tensor, totals: Tensor, top_p: float, vocabulary: Vocabulary) -> Nucleus:
        """Find each row's nucleus: the most likely tokens whose mass reaches ``top_p``.

        ``weights`` [n, V] are those of this process's tokens, the largest of a whole row 1, and ``totals`` [n] the
        sums over all tokens. Parts of a vocabulary cannot sort it: they search.
        """
        if self.searches or not vocabulary.is_whole:
            return Nucleus(self._by_search(weights, totals, top_p, vocabulary))
        needed = top_p * totals
        if weights.is_cuda or weights.shape[-1] < LONG:
            return Nucleus(by_sorting(weights, needed))

        def of_all(rows: Tensor) -> Tensor:
            if self.compiled:
                return self._by_search(weights[rows], totals[rows], top_p, vocabulary)
            return by_sorting(weights[rows], needed[rows])

        return among_largest(weights, needed, of_all)

    def _by_search(self, weights: Tensor, totals: Tensor, top_p: float, vocabulary: Vocabulary) -> Tensor:
        """Search for the largest floor whose mass is enough; bit patterns of positive floats are ordered as
        integers."""
        needed = top_p * totals
        # Weights below this cannot add up to what the nucleus may leave out.
        surely = (totals - needed).clamp(min=0) / (2 * vocabulary.total)
        low = surely.view(torch.int32).long()
        high = torch.full_like(low, _BITS_OF_ONE + 1)
        ways = torch.arange(1, _WAYS, device=weights.device)
        for _ in range(_passes(top_p, vocabulary.total)):
            grid = low.unsqueeze(-1) + (high - low).unsqueeze(-1) * ways // _WAYS
            found = vocabulary.sum(self.masses(weights, grid.int().view(torch.float32)))
            enough = found >= needed.unsqueeze(-1)
            bounds = torch.cat([low.unsqueeze(-1), grid, high.unsqueeze(-1)], -1)
            at = enough.sum(-1, keepdim=True)
            low, high = bounds.gather(-1, at).squeeze(-1), bounds.gather(-1, at + 1).squeeze(-1)
        return low.int().view(torch.float32).clamp(min=TINY)


def _passes(top_p: float, vocabulary: int) -> int:
    """Count the passes after which a search has one weight left.

    Known beforehand, so that nobody asks the device whether it is done: the largest weight is 1, so a row's sum is
    1 at least, and the search begins no lower than this says.
    """
    lowest = np.float32((1 - top_p) / (2 * vocabulary) * (1 - 1e-6))
    width, passes = _BITS_OF_ONE + 1 - int(lowest.view(np.int32)), 0
    while width > 1:
        width, passes = -(-width // _WAYS), passes + 1
    return passes


def _try_out(kernels: Kernels, vocabulary: Vocabulary, device: torch.device) -> None:
    """Compile now: the first batch should not have to, and a machine that cannot should say so at the start."""
    here = Vocabulary.whole(vocabulary.size)
    with torch.inference_mode():
        for rows in (3, 5, 1):  # two sizes make the row count a variable of the compiled code; one row is special
            logits = torch.randn(rows, here.size, device=device)
            largest = None if vocabulary.is_whole else logits.amax(-1, keepdim=True)
            weights, totals = kernels.exponentials(logits, 1.0, largest)
            floor = kernels.nucleus(weights, totals, 0.5, here).floor
            kernels.entropy_sums(weights, floor)
            kernels.masses(weights, floor.unsqueeze(-1))
            kernels.log_sums(logits)
            if not here.size % BLOCK:
                kernels.block_masses(weights, floor)
