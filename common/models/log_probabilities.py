"""Log-probabilities of chosen tokens without the logits of a whole batch.

The output layer is by far the widest of the model. Here its logits exist for one chunk of rows at a time, in fp32;
the backward pass computes them again (:class:`TokenLogProbs`), or the loss is differentiated chunk by chunk while
they are at hand (:class:`ChunkedLoss`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from common.models.precision import operand_type

#: A function of hidden rows [m, H] and the output layer's weight [V, H].
HeadFunction = Callable[[Tensor, Tensor], Any]
#: The loss of a chunk of target tokens, given their log-probabilities.
ChunkLoss = Callable[[slice, Tensor], Tensor]

# Finite, as an entropy multiplies it by a probability of 0.
_NEVER = -1e30
#: On a CPU, passes over the vocabulary go over so much of a chunk that a core's cache holds it.
_CACHE_BYTES = 4 << 20


@dataclass(frozen=True)
class Span:
    """Consecutive target tokens, and the consecutive hidden rows whose distributions give them."""

    tokens: slice
    rows: slice


@dataclass(frozen=True)
class Targets:
    """The target tokens [m] and the ids that are never predicted; ``chunks`` are consecutive, and cover both.

    ``rows`` [m] says which hidden row each token is a target of; None: row i has target i and no other.
    """

    tokens: Tensor
    forbidden: Tensor
    chunks: Sequence[Span]
    rows: Tensor | None = None

    @classmethod
    def evenly(cls, tokens: Tensor, forbidden: Tensor, rows: int) -> Targets:
        """Give each row a target of its own, and cut into chunks of ``rows``."""
        return cls(tokens, forbidden, even_spans(tokens.numel(), rows))


def even_spans(count: int, rows: int) -> list[Span]:
    """Cut ``count`` rows of one target each into spans of at most ``rows``."""
    cuts = [slice(start, min(start + rows, count)) for start in range(0, count, rows)]
    return [Span(cut, cut) for cut in cuts]


class _Vocabulary:
    """The output layer over one chunk of rows at a time, its operands in the type that autocast asks for."""

    def __init__(self, weight: Tensor, targets: Targets, operand: Callable[[Tensor], Tensor]) -> None:
        self.weight = operand(weight)
        self._targets = targets
        self._operand = operand
        # Taken once: the system would take and clear memory of this size for every chunk.
        most = max((span.rows.stop - span.rows.start for span in targets.chunks), default=0)
        self._chunk = torch.empty(most, len(weight), device=weight.device)
        fits = max(1, _CACHE_BYTES // (self._chunk.element_size() * len(weight)))
        self._block_rows = most if weight.is_cuda else min(most, fits)

    def chunk(self, hidden: Tensor, span: Span, with_entropy: bool = False) -> _Chunk:
        """Compute the distributions of some rows; the chunk is valid until the next."""
        x, tokens = self._operand(hidden[span.rows]), self._targets.tokens[span.tokens]
        shares = self._chunk[: len(x)]
        if x.dtype == shares.dtype:
            torch.mm(x, self.weight.T, out=shares)
        else:
            shares.copy_(x @ self.weight.T)
        shares.index_fill_(1, self._targets.forbidden, _NEVER)
        of = self._targets.rows
        rows = torch.arange(len(x), device=x.device) if of is None else of[span.tokens] - span.rows.start
        places = rows * shares.shape[1] + tokens
        chosen = shares.view(-1).index_select(0, places)
        largest, total, mean = torch.zeros(3, len(x), device=x.device)
        for start in range(0, len(x), self._block_rows):
            block = slice(start, start + self._block_rows)
            logits = shares[block]
            torch.amax(logits, 1, out=largest[block])
            logits.sub_(largest[block].unsqueeze(1))
            share = logits.exp()
            total[block] = share.sum(1)
            if with_entropy:
                mean[block] = logits.mul_(share).sum(1)
            logits.copy_(share)
        logs = total.log()
        return _Chunk(
            x,
            rows,
            places,
            shares,
            total,
            log_probs=chosen - largest[rows] - logs[rows],
            entropies=(logs - mean / total)[rows],
        )

    def weight_gradient(self) -> Tensor:
        """Return zeros [V, H] to add up the weight's gradient in: in fp32, whatever type the weight is held in."""
        return torch.zeros(self.weight.shape, device=self.weight.device)

    def gradient(self, chunk: _Chunk, slope: Tensor) -> Tensor:
        """Return d loss / d logits [c, V] as an operand, given ``slope`` [t], d loss / d log-probabilities.

        It uses up the chunk's shares.
        """
        of_rows = torch.zeros_like(chunk.total).index_add_(0, chunk.rows, slope)
        chunk.shares.mul_((-of_rows / chunk.total).unsqueeze(1))
        chunk.shares.view(-1).scatter_add_(0, chunk.places, slope)
        return self._operand(chunk.shares)


@dataclass(frozen=True)
class _Chunk:
    """c rows and their t target tokens: the rows as an operand ``x`` [c, H], and in ``shares`` [c, V]
    probabilities times ``total`` [c].

    ``rows`` [t] says which of the c rows a token is a target of, and ``places`` [t] where in the flat shares it
    is. ``log_probs`` [t] and ``entropies`` [t] are of the tokens; the latter say something only where they were
    asked for.
    """

    x: Tensor
    rows: Tensor
    places: Tensor
    shares: Tensor
    total: Tensor
    log_probs: Tensor
    entropies: Tensor


class TokenLogProbs(Function):
    """log p of the target tokens [m], fp32."""

    @staticmethod
    def forward(ctx: Any, targets: Targets, hidden: Tensor, weight: Tensor) -> Tensor:
        ctx.operand = operand_type(hidden.device)
        ctx.targets = targets
        ctx.save_for_backward(hidden, weight)
        log_probs = torch.empty(targets.tokens.shape, device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            vocabulary = _Vocabulary(weight, targets, ctx.operand)
            for span in targets.chunks:
                log_probs[span.tokens] = vocabulary.chunk(hidden, span).log_probs
        return log_probs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slopes: Tensor) -> tuple[None, Tensor, Tensor | None]:
        hidden, weight = ctx.saved_tensors
        to_hidden = torch.empty_like(hidden)
        vocabulary = _Vocabulary(weight, ctx.targets, ctx.operand)
        to_weight = vocabulary.weight_gradient() if ctx.needs_input_grad[2] else None
        for span in ctx.targets.chunks:
            chunk = vocabulary.chunk(hidden, span)
            gradient = vocabulary.gradient(chunk, slopes[span.tokens])
            to_hidden[span.rows] = gradient @ vocabulary.weight
            _accumulate(to_weight, gradient, chunk.x)
        return None, to_hidden, None if to_weight is None else to_weight.to(weight.dtype)


class ChunkedLoss(Function):
    """The sum of ``loss`` over all chunks, the log-probabilities [m] and the entropies [m], in nats.

    Only the sum can be differentiated. Its gradient is made in the forward pass, one product cheaper than making
    the logits again, so ``loss`` must be a sum over chunks and is called with gradients enabled.
    """

    @staticmethod
    def forward(
        ctx: Any, targets: Targets, loss: ChunkLoss, hidden: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        operand = operand_type(hidden.device)
        value = torch.zeros((), device=hidden.device)
        log_probs, entropies = torch.empty(2, targets.tokens.numel(), device=hidden.device)
        to_hidden = torch.empty_like(hidden)
        with torch.autocast(hidden.device.type, enabled=False):
            vocabulary = _Vocabulary(weight, targets, operand)
            to_weight = vocabulary.weight_gradient() if ctx.needs_input_grad[3] else None
            for span in targets.chunks:
                chunk = vocabulary.chunk(hidden, span, with_entropy=True)
                log_probs[span.tokens], entropies[span.tokens] = chunk.log_probs, chunk.entropies
                with torch.enable_grad():
                    leaf = chunk.log_probs.requires_grad_()
                    part = loss(span.tokens, leaf)
                    (slope,) = torch.autograd.grad(part, leaf)
                value += part.detach()
                gradient = vocabulary.gradient(chunk, slope)
                to_hidden[span.rows] = gradient @ vocabulary.weight
                _accumulate(to_weight, gradient, chunk.x)
        ctx.gradients = to_hidden, to_weight
        ctx.weight_type = weight.dtype
        ctx.mark_non_differentiable(log_probs, entropies)
        return value, log_probs, entropies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor, *_: Tensor) -> tuple[None, None, Tensor, Tensor | None]:
        to_hidden, to_weight = ctx.gradients
        del ctx.gradients  # scaled in place below: as wide as the output layer, they are not copied
        if to_weight is not None:
            to_weight = to_weight.mul_(slope).to(ctx.weight_type)
        return None, None, to_hidden.mul_(slope), to_weight


def _accumulate(total: Tensor | None, gradient: Tensor, x: Tensor) -> None:
    """total += gradient^T x, in the type of ``total``; nothing where the weight is not trained."""
    if total is None:
        return
    if gradient.dtype == total.dtype:
        total.addmm_(gradient.T, x)
    else:
        total += gradient.T @ x
