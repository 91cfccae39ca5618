"""What an evaluation needs of a model: completions of prompts, and in which order their tokens were written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from common.config import DeadlinesConfig
from evaluation.settings import AnySampler
from rollout_workers.requests import Request


@dataclass(frozen=True)
class TokenConfidence:
    """Mean and variance of log q over the tokens of a text, the one that ends it included.

    q is the probability that the model, at temperature 1 and unfiltered, gave a token when it was committed; its
    log is in nats (arXiv 2606.00997).
    """

    mean: float
    variance: float


@dataclass(frozen=True)
class Completed:
    """What a model wrote for a request.

    ``token_ids`` are the tokens of the text, the one that ends it included; ``ended`` says whether there is one.
    ``executed_step_map`` has the forward pass that committed each position, those behind the end of the text
    included, and -1 where none did. ``forwards`` counts the forward passes that the completion took part in.
    ``confidence`` is ``None`` of a causal model.
    """

    request: Request
    token_ids: tuple[int, ...]
    ended: bool
    executed_step_map: tuple[int, ...]
    forwards: int
    confidence: TokenConfidence | None = None

    @property
    def place(self) -> tuple[int, int]:
        """The task's index among those that are evaluated, and the number of the sample."""
        _, index, sample = self.request.key.indices
        return index, sample

    @property
    def text_ids(self) -> tuple[int, ...]:
        """The tokens of the text without the one that ends it."""
        return self.token_ids[:-1] if self.ended else self.token_ids


@dataclass(frozen=True)
class Loading:
    """What there is to know beside the settings when a model is loaded.

    Where other processes hold it, they are given ``start_seconds``, and ``check`` is called meanwhile, which may
    raise.
    """

    start_seconds: float = DeadlinesConfig().start_seconds
    check: Callable[[], None] = lambda: None


#: What every step finished, one after the other.
Steps = Generator[list[Completed], None, None]


#: Requests that are completed together, and apart from all others.
Batch = Sequence[Request]


class Completer(Protocol):
    """A model that completes prompts."""

    def batches(self, requests: Sequence[Request], sampler: AnySampler) -> list[Batch]:
        """Split requests, in their order, into batches; how depends on nothing but them and the sampler.

        The batch is the unit in which an evaluation goes on after it was killed.
        """

    def complete(self, batches: Sequence[Batch], sampler: AnySampler) -> Steps:
        """Complete the batches; yield after every step what it finished, which is often nothing.

        What a request gets is a function of its batch, bit by bit: each begins with an empty engine, so that the
        rounding of a forward pass does not depend on what was completed before. Requests that are not finished
        when it is closed are dropped.
        """

    def close(self) -> None:
        """Release the model, and end the processes that hold it."""


def left_to_right(request: Request, written: Sequence[int], ends: Collection[int]) -> Completed:
    """Make the record of tokens that were written one after the other, each by a forward pass of its own.

    What stands behind the first token of ``ends`` is left out.
    """
    end = next((place for place, token in enumerate(written) if token in ends), None)
    tokens = tuple(written if end is None else written[: end + 1])
    return Completed(
        request=request,
        token_ids=tokens,
        ended=end is not None,
        executed_step_map=tuple(range(len(tokens))),
        forwards=len(tokens),
    )
